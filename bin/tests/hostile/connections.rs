//! Strangers that send bytes which are no messages, too many, too few, or none, and that do not read.

use std::io::Write as _;
use std::net::TcpStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

use argon::command::CommandSpec;
use argon_core::codec::frame_max;
use argon_core::limits::{HANDSHAKE, HELLO_FRAME_MAX, LEASE, PENDING_PEERS_MAX};
use argon_core::message::{Beat, FromClient, Query, Role, ToManager};
use argon_core::payload::Payload;

use crate::common::until;
use crate::raw::{Raw, frame, hello, name, noise, submit};
use crate::stage::{RESTING, Stage, memory, virtual_memory};

/// Options of a manager whose bounds are near, in MiB: of a payload, and of what it holds for all.
const PAYLOAD: u64 = 1;
const MEMORY: u64 = 16;
const TIGHT: &[&str] = &["--max-payload", "1MiB", "--memory", "16MiB"];
/// What it takes for that: what it holds for all peers, the same of results that clients have yet to
/// acknowledge, and a half for what allocators leave unused.
const TIGHT_MAX: u64 = RESTING + (2 * MEMORY + PAYLOAD) * 3 / 2;

#[test]
fn garbage_is_closed_and_said_a_few_times() {
    let stage = Stage::new("garbage on 300 connections", &[], RESTING);
    stage.bears(|stage| {
        for seed in 0..300 {
            let mut raw = Raw::connect(&stage.address);
            // The manager may have closed it before all was written.
            let _ = raw.stream.write_all(&noise(seed, 8_000));
            raw.until_closed();
        }
        stage
            .log
            .says("closed a connection: its peer sent a frame of");
        let said = &stage.log.text();
        assert!(said.contains("from=127.0.0.1:"), "{said}");
    });
}

#[test]
fn another_protocol_is_named() {
    let stage = Stage::new("HTTP and TLS", &[], RESTING);
    stage.bears(|stage| {
        for words in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
        ] {
            let mut raw = Raw::connect(&stage.address);
            raw.stream.write_all(words).unwrap();
            raw.until_closed();
        }
        stage.log.says("spoken=\"HTTP\"");
        stage.log.says("its peer sent TLS");
    });
}

#[test]
fn frames_that_end_early_leave_nothing() {
    let stage = Stage::new("frames cut at every byte", &[], RESTING);
    stage.bears(|stage| {
        let whole = frame(ToManager::Hello(hello(Role::Client)), Payload::empty());
        for length in 1..whole.len() {
            let mut raw = Raw::connect(&stage.address);
            raw.stream.write_all(&whole[..length]).unwrap();
            raw.hang_up();
            raw.until_closed();
        }
        let whole = frame(FromClient::Submit(submit(0, "echo")), vec![1; 100].into());
        for length in (1..whole.len()).step_by(7) {
            let mut raw = Raw::client(&stage.address);
            raw.stream.write_all(&whole[..length]).unwrap();
            raw.hang_up();
            raw.until_closed();
        }
    });
}

#[test]
fn frames_that_are_too_long_are_closed_when_they_say_so() {
    let stage = Stage::new("frames longer than allowed", TIGHT, TIGHT_MAX);
    stage.bears(|stage| {
        let allowed = frame_max(PAYLOAD as usize * 1024 * 1024);
        for _ in 0..50 {
            for length in [HELLO_FRAME_MAX + 1, u32::MAX as usize] {
                let mut raw = Raw::connect(&stage.address);
                raw.stream
                    .write_all(&(length as u32).to_le_bytes())
                    .unwrap();
                raw.until_closed();
            }
            let mut raw = Raw::client(&stage.address);
            raw.stream
                .write_all(&(allowed as u32 + 1).to_le_bytes())
                .unwrap();
            raw.until_closed();
        }
        for limit in [HELLO_FRAME_MAX, allowed] {
            let said = format!("where at most {limit} are allowed");
            stage.log.says(&said);
        }
    });
}

#[test]
fn a_length_without_bytes_takes_no_memory_and_ends_with_the_lease() {
    let stage = Stage::new("64 MiB announced on 300 connections", &[], RESTING + 16);
    stage.bears(|stage| {
        let mut open: Vec<Raw> = (0..300).map(|_| Raw::client(&stage.address)).collect();
        for raw in &mut open {
            let length = 64 * 1024 * 1024_u32;
            raw.stream.write_all(&length.to_le_bytes()).unwrap();
        }
        for mut raw in open {
            raw.until_closed();
        }
        let asked_for = virtual_memory(stage.manager.child.id());
        assert!(asked_for < 2_048, "{asked_for} MiB were asked for");
    });
}

#[test]
fn a_hello_that_comes_byte_by_byte_is_not_waited_for() {
    let stage = Stage::new("hellos, a byte now and then", &[], RESTING);
    stage.bears(|stage| {
        let whole = frame(ToManager::Hello(hello(Role::Client)), Payload::empty());
        let mut open: Vec<Raw> = (0..100).map(|_| Raw::connect(&stage.address)).collect();
        let begun = Instant::now();
        for byte in whole.chunks(1) {
            for raw in &mut open {
                let _ = raw.stream.write_all(byte);
            }
            sleep(Duration::from_millis(50));
            if begun.elapsed() > HANDSHAKE {
                break;
            }
        }
        for mut raw in open {
            raw.until_closed();
        }
        stage.log.says("no whole hello came in time");
    });
}

#[test]
fn messages_that_come_byte_by_byte_hold_up_nobody() {
    let stage = Stage::new("large tasks, a few bytes now and then", TIGHT, TIGHT_MAX);
    stage.bears(|stage| {
        let payload = vec![0; 1024 * 1024];
        let whole = frame(FromClient::Submit(submit(0, "echo")), payload.into());
        let mut open: Vec<Raw> = (0..50).map(|_| Raw::client(&stage.address)).collect();
        // Longer than the lease: bytes that move are a sign of life, and cost what came of them.
        let begun = Instant::now();
        let mut parts = whole.chunks(100);
        while begun.elapsed() < LEASE * 3 / 2 {
            let part = parts.next().unwrap();
            for raw in &mut open {
                raw.stream.write_all(part).unwrap();
            }
            sleep(Duration::from_millis(50));
        }
    });
}

#[test]
fn large_messages_that_never_end_are_held_within_bounds_and_closed_with_the_lease() {
    let stage = Stage::new("8 large tasks without their last byte", TIGHT, TIGHT_MAX);
    stage.bears(|stage| {
        let payload = vec![0; 1024 * 1024];
        let whole = frame(FromClient::Submit(submit(0, "echo")), payload.into());
        let mut open = Vec::new();
        for _ in 0..8 {
            let raw = Raw::client(&stage.address);
            // What the manager does not read in time is not written.
            let quick = Some(Duration::from_millis(50));
            raw.stream.set_write_timeout(quick).unwrap();
            let _ = (&raw.stream).write_all(&whole[..whole.len() - 1]);
            open.push(raw);
        }
        for mut raw in open {
            raw.until_closed();
        }
    });
}

#[test]
fn who_asks_and_never_reads_is_cut_off() {
    let mut args = TIGHT.to_vec();
    // It has no time to be taken for one that is gone.
    args.extend(["--lease", "20s"]);
    let what = "an observer that asks on and never reads";
    let stage = Stage::new(what, &args, TIGHT_MAX);
    stage.bears(|stage| {
        let mut raw = Raw::observer(&stage.address);
        let queries = frame(Query::StatusQuery { page: 0 }, Payload::empty()).repeat(1_000);
        // The manager holds no more answers than it may.
        raw.say_until_closed(|_| queries.clone());
        stage.log.says("peers that do not read");
    });
}

#[test]
fn who_takes_nothing_in_is_gone_after_a_lease() {
    let stage = Stage::new("a client that only writes", &["-v"], RESTING + 8);
    stage.bears(|stage| {
        let mut raw = Raw::client(&stage.address);
        // Busy, and deaf.
        let ping = frame(
            ToManager::Ping(Beat {
                nonce: 1,
                received: 0,
            }),
            Payload::empty(),
        );
        raw.say_until_closed(|seq| {
            sleep(Duration::from_millis(10));
            let task = frame(FromClient::Submit(submit(seq, "noop")), Payload::empty());
            [&task[..], &ping[..]].concat()
        });
        stage.log.says("took nothing in");
    });
}

#[test]
fn results_that_nobody_reads_have_a_bound() {
    let mut args = TIGHT.to_vec();
    args.extend(["--client-result-bytes", "4MiB"]);
    // What is at workers when a client has left enough unread still comes.
    args.extend(["--in-flight-size", "16"]);
    let what = "3 clients that read none of their 130 MiB of results";
    let stage = Stage::new(what, &args, TIGHT_MAX);
    stage.bears(|stage| {
        // Small to ask for and large to keep.
        let task = CommandSpec::new(["head", "-c", "900000", "/dev/zero"]).encode();
        let mut open: Vec<Raw> = (0..3).map(|_| Raw::client(&stage.address)).collect();
        for seq in 0..50 {
            for raw in &mut open {
                let said = FromClient::Submit(submit(seq, "run"));
                raw.say_with(said, task.clone()).unwrap();
            }
        }
        // They live on for a while, as far as the manager can tell; then their sessions do.
        let begun = Instant::now();
        while begun.elapsed() < LEASE * 2 {
            for raw in &mut open {
                let _ = raw.ping();
            }
            sleep(LEASE / 8);
        }
    });
}

#[test]
fn a_storm_of_connections_passes() {
    let stage = Stage::new(
        "4,596 silent connections, then 10,000 that say hello and go",
        &[],
        RESTING + 40,
    );
    stage.bears_and(
        |stage| {
            // Those that say nothing: more than may.
            let silent = (0..PENDING_PEERS_MAX + 500).map(|_| knock(stage));
            let silent: Vec<TcpStream> = silent.collect();
            // On a busy machine the first have had their time before the last come.
            until("the reason", || {
                stage.log.count("reason=Full") + stage.log.count("no whole hello") > 0
            });
            drop(silent);
            // Counted, since what is kept of each has a size, and a fast machine makes more in a time.
            for _ in 0..10_000 {
                let mut stream = knock(stage);
                let hello = frame(ToManager::Hello(hello(Role::Client)), Payload::empty());
                let _ = stream.write_all(&hello);
            }
        },
        |stage| {
            until("room for others", || {
                Raw::is_let_in(&stage.address, hello(Role::Observer))
            });
        },
    );
}

fn knock(stage: &Stage) -> TcpStream {
    TcpStream::connect(&stage.address).unwrap()
}

#[test]
fn a_flood_of_workers_that_come_and_go_does_not_fill_the_log() {
    let stage = Stage::new("500 workers under one name, with -v", &["-v"], RESTING);
    stage.bears(|stage| {
        for _ in 0..500 {
            let mut hello = hello(Role::Worker { capacity: 1 });
            hello.name = name("fleeting");
            drop(Raw::with_hello(&stage.address, hello));
        }
        until("the news", || stage.log.count("peer joined") >= 50);
        let joined = stage.log.count("peer joined");
        assert!(joined <= 220, "{joined} of 500 were said");
        let taken = stage.log.count("two workers have one name");
        assert!(taken <= 22, "{taken} of 499 were said");
    });
}

#[test]
fn a_second_hello_is_closed() {
    let stage = Stage::new("a second hello", &[], RESTING);
    stage.bears(|stage| {
        for role in [Role::Client, Role::Observer, Role::Worker { capacity: 1 }] {
            let mut raw = Raw::with_hello(&stage.address, hello(role));
            raw.say(ToManager::Hello(hello(role))).unwrap();
            raw.until_closed();
        }
        stage.log.says("its peer said hello twice");
    });
}

#[test]
fn what_is_said_before_the_hello_is_closed() {
    let stage = Stage::new("messages before the hello", &[], RESTING);
    stage.bears(|stage| {
        for said in [
            ToManager::Goodbye,
            FromClient::Submit(submit(0, "echo")).into(),
            FromClient::Cancel { seq: 0 }.into(),
            argon_core::message::FromWorker::Draining.into(),
            Query::StatusQuery { page: 0 }.into(),
        ] {
            let mut raw = Raw::connect(&stage.address);
            raw.say(said).unwrap();
            raw.until_closed();
        }
        let mut raw = Raw::connect(&stage.address);
        raw.ping().unwrap();
        raw.until_closed();
        stage.log.says("its peer spoke before its hello");
        let (now, _) = memory(stage.manager.child.id());
        assert!(now <= RESTING);
    });
}
