//! Pool programs that do not do what a pool program must. Each is what one worker runs, beside one that
//! is as it should be: the bad one names its program and what that did in its log, a few times, and
//! clients get what they asked for.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use argon::Error;
use argon::blocking::Client;
use argon_core::capabilities::Capabilities;
use argon_core::codec;
use argon_core::message::{MAGIC, POOL_VERSION, PoolBody, PoolMessage};
use argon_core::payload::Payload;
use argon_core::time::Nanos;
use bytes::BytesMut;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::common::{DEADLINE, Server, argon, status, until, until_capacity, wait};
use crate::stage::{Written, memory};

/// Tasks of the client, enough that both workers are asked.
const TASKS: u64 = 40;
/// Longer than echoing takes on the busiest machine; ends what a program sits on.
const LIMIT: Duration = Duration::from_secs(2);
/// Lines of one sort in a worker's log: three in ten seconds, and how many more there were.
const LINES_MAX: usize = 12;
/// What a program prints that prints too much, and how many lines of it are passed on: 100 a second.
const FLOOD: &str = "this is a flood";
const FLOOD_MAX: usize = 2_000;
/// What a worker of one process holds at most, in MiB, as tests build it.
const MEMORY_MAX: u64 = 48;

/// Frames of the pool protocol as files, for scripts to print.
struct Frames(TempDir);

impl Frames {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let capabilities = Capabilities::anything();
        let ready = frame(PoolBody::Ready {
            magic: MAGIC,
            version: POOL_VERSION,
            capabilities,
        });
        let answer = |id| {
            frame(PoolBody::Completed {
                id,
                ran: Nanos::ZERO,
            })
        };
        for (name, bytes) in [
            ("half", &ready[..ready.len() / 2]),
            ("ready", &ready[..]),
            ("ready-and-answer", &[&ready[..], &answer(0)[..]].concat()),
            ("answer7", &answer(7)[..]),
        ] {
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A program that runs this script there.
    fn program(&self, script: &str) -> String {
        let path = self.path("program");
        let folder = self.0.path().display();
        let text = format!("#!/bin/sh\ncd {folder}\n{script}\n");
        fs::write(&path, text).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&path, mode).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

fn frame(body: PoolBody) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    let payload = Payload::empty();
    codec::encode(&PoolMessage { body, payload }, &mut bytes).unwrap();
    bytes.to_vec()
}

/// A worker of one process that runs a bad program.
struct Bad {
    child: Child,
    log: Written,
}

impl Bad {
    fn start(manager: &str, program: &str) -> Self {
        let args = [
            "worker",
            "--manager",
            manager,
            "--workers",
            "1",
            "--name",
            "bad",
        ];
        let more = ["--kill-grace", "200ms", "--", program];
        let mut command = argon(&[&args[..], &more[..]].concat());
        let mut child = command.stdout(Stdio::null()).spawn().unwrap();
        let log = Written::of(child.stderr.take().unwrap());
        Self { child, log }
    }

    fn says(&self, part: &str) {
        until(&format!("{part:?} in the worker's log"), || {
            self.log.count(part) > 0
        });
        assert!(self.log.count(part) <= LINES_MAX, "{}", self.log.text());
    }

    /// It ends at a second signal at the latest, and takes all its processes with it.
    fn leaves(mut self, program: &str) {
        for _ in 0..2 {
            let _ = kill(
                Pid::from_raw(self.child.id().cast_signed()),
                Signal::SIGTERM,
            );
        }
        wait(&mut self.child);
        until("the end of all processes", || !runs(program));
        assert!(!self.log.text().contains("panicked"), "{}", self.log.text());
    }
}

impl Drop for Bad {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether any process has this among its arguments.
fn runs(program: &str) -> bool {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let mut lines = processes.map(|process| fs::read(process.path().join("cmdline")));
    lines.any(|line| line.is_ok_and(|line| String::from_utf8_lossy(&line).contains(program)))
}

/// How tasks ended that a bad worker may have had.
struct Ends {
    completed: u64,
    failed: u64,
}

/// Echoes numbers; each ends as itself, or as failed where that may be.
fn echo(manager: &str) -> Ends {
    let client = Client::connect(manager).unwrap();
    let payload = |number: u64| Payload::from(number.to_le_bytes().to_vec());
    let call = |number| {
        let call = argon::Call::raw("echo", payload(number));
        call.time_limit(LIMIT).deadline(DEADLINE)
    };
    let mut ends = Ends {
        completed: 0,
        failed: 0,
    };
    for (number, result) in (0..).zip(client.map((0..TASKS).map(call)).in_flight(8)) {
        match result {
            Ok(result) => {
                assert_eq!(result, payload(number));
                ends.completed += 1;
            }
            Err(Error::Failed(_) | Error::Lost { .. }) => ends.failed += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(ends.completed + ends.failed, TASKS);
    ends
}

/// Runs the script as a worker's program beside a good worker; what its log has to say; and how the
/// tasks of a client end.
fn beside_a_good_worker(script: &str, says: &[&str]) -> Ends {
    let frames = Frames::new();
    let program = frames.program(script);
    let manager = Server::listening(&["manager"]);
    let _good = Server::worker(&manager.address, "good");
    until_capacity(&manager.address, 2);
    let bad = Bad::start(&manager.address, &program);
    bad.says("connected to the manager at");
    for part in says {
        bad.says(part);
    }
    if !says.is_empty() {
        bad.says(&format!("program={program}"));
    }
    let ends = echo(&manager.address);
    let (_, peak) = memory(bad.child.id());
    println!(
        "| {} | {}, {} | worker: peak {peak} MiB |",
        script.replace('\n', "; "),
        ends.completed,
        ends.failed
    );
    assert!(peak <= MEMORY_MAX, "{peak} MiB");
    let printed = bad.log.count(FLOOD);
    assert!(
        printed <= FLOOD_MAX,
        "{printed} lines of a flood were passed on"
    );
    assert_eq!(status(&manager.address)["manager"]["queued"], 0);
    bad.leaves(&program);
    ends
}

/// The same of a program that is of no use from the start: no task is lost to it.
fn is_of_no_use(script: &str, says: &[&str]) {
    let ends = beside_a_good_worker(script, says);
    assert_eq!(ends.failed, 0);
}

const NEVER_READY: &str = "ended before it said that it is ready";

#[test]
fn a_program_that_ends_at_once_is_named() {
    is_of_no_use("exit 0", &[NEVER_READY, "exited with code 0"]);
}

#[test]
fn a_program_that_fails_at_once_is_named_with_what_it_said() {
    let said = ["no such module", NEVER_READY, "exited with code 3"];
    is_of_no_use("echo no such module >&2; exit 3", &said);
}

#[test]
fn a_program_that_never_speaks_is_named() {
    is_of_no_use("exec sleep 86400", &["has not said that it is ready"]);
}

#[test]
fn garbage_from_a_program_is_shown() {
    is_of_no_use("head -c 100000 /dev/zero; sleep 86400", &[NEVER_READY]);
    is_of_no_use("while :; do echo garbage; done", &["it wrote \\\"garbage"]);
}

#[test]
fn a_flood_on_standard_error_is_bounded() {
    is_of_no_use(
        &format!("yes {FLOOD} >&2 & wait"),
        &["has not said that it is ready"],
    );
}

#[test]
fn half_a_frame_is_not_taken_for_a_whole_one() {
    is_of_no_use("cat half; exit 0", &[NEVER_READY]);
    is_of_no_use("cat half; exec sleep 86400", &["has not said"]);
}

#[test]
fn a_program_that_forks_away_is_ended_with_all_that_it_left() {
    is_of_no_use("setsid sleep 86400 & exit 0", &[NEVER_READY]);
}

#[test]
fn a_program_that_is_ready_and_goes_at_once_costs_no_task() {
    beside_a_good_worker(
        "cat ready; exit 0",
        &["ended without having run a task", "exited with code 0"],
    );
}

#[test]
fn answers_that_nobody_waits_for_are_named() {
    beside_a_good_worker(
        "cat ready-and-answer; exec sleep 86400",
        &["it answered run 0, which waits for none"],
    );
}

#[test]
fn answers_of_other_tasks_are_no_results() {
    // The first 16 bytes of what it is given are there when it answers.
    beside_a_good_worker(
        "cat ready; head -c 16 >/dev/null; cat answer7; sleep 86400",
        &[],
    );
}

#[test]
fn a_program_that_never_answers_loses_only_tasks_that_say_how_long_they_may_take() {
    beside_a_good_worker("cat ready; exec sleep 86400", &[]);
}

#[test]
fn a_program_that_ignores_the_polite_signal_is_killed() {
    beside_a_good_worker(
        "trap '' TERM INT HUP; cat ready; while :; do sleep 1; done",
        &[],
    );
}

#[test]
fn a_program_that_stops_itself_is_killed() {
    beside_a_good_worker("cat ready; kill -STOP $$", &[]);
}

#[test]
fn a_program_that_floods_standard_error_while_it_works_is_bounded() {
    beside_a_good_worker(&format!("cat ready; yes {FLOOD} >&2"), &[]);
}

#[test]
fn a_program_that_closes_its_output_is_ended() {
    beside_a_good_worker(
        "cat ready; exec sleep 86400 >&-",
        &["it closed its pipes and did not end"],
    );
}
