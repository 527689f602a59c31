//! Where the manager's bounds lie exactly, what it counts, and what waits for whom how long.

use super::bench::*;
use argon_core::codec;
use argon_core::ids::PeerId;
use argon_core::message::{AttemptEnd, FromClient, Message, ToClient, ToManager, ToPeer};
use argon_core::task::{ErrorKind, TaskError};
use bytes::BytesMut;

#[test]
fn a_faster_worker_gets_more_and_a_failing_one_less() {
    let mut bench = Bench::new();
    let client = bench.client(9);
    let workers = [bench.worker(1, 4), bench.worker(2, 4)];
    let mut got = [0; 2];
    for seq in 0..400 {
        bench.submit(client, submit(seq));
        for (index, worker) in workers.iter().enumerate() {
            for assign in bench.assigned(*worker) {
                got[index] += 1;
                if index == 0 {
                    let error = TaskError::new(ErrorKind::Raised("E".into()), "no");
                    bench.finish_with(*worker, &assign, AttemptEnd::Failed(error.into()));
                } else {
                    bench.complete(*worker, &assign);
                }
            }
        }
    }
    assert!(got[0] < 20, "{got:?}");
    let status = bench.manager.status(bench.now, 0);
    let slowness: Vec<u32> = status
        .workers
        .iter()
        .map(|worker| worker.slowness)
        .collect();
    assert!(slowness[0] > slowness[1], "{slowness:?}");
    assert_eq!(status.workers[0].id, PeerId(1));
}

/// Bytes of all frames in `messages`.
fn frames(messages: &[Message<ToPeer>]) -> usize {
    let bytes = |message: &Message<ToPeer>| {
        let mut frame = BytesMut::new();
        codec::encode(message, &mut frame).expect("it fits");
        frame.len()
    };
    messages.iter().map(bytes).sum()
}

#[test]
fn outcomes_with_long_texts_wait_for_acknowledgements_like_those_with_long_payloads() {
    const TEXT: usize = 10_000;
    const WINDOW: usize = 100_000;
    let error = TaskError {
        kind: ErrorKind::Raised("t".repeat(TEXT)),
        message: "m".repeat(TEXT),
        backtrace: "b".repeat(TEXT),
        stderr: "s".repeat(TEXT),
    };
    let mut bench = Bench::with(|config| {
        config.inner.outcome_window = WINDOW as u64;
        config.client_result_bytes = 2 * WINDOW as u64;
    });
    let worker = bench.worker(1, 64);
    let client = bench.client(2);
    for seq in 0..200 {
        bench.submit(client, submit(seq));
    }
    let (mut ended, mut floor) = (0, 0);
    while floor < 200 {
        loop {
            let assigned = bench.assigned(worker);
            if assigned.is_empty() {
                break;
            }
            for assign in assigned {
                bench.finish_with(worker, &assign, AttemptEnd::Failed(Box::new(error.clone())));
                ended += 1;
            }
        }
        let messages = bench.inbox(client);
        let bytes = frames(&messages);
        assert!(bytes <= WINDOW + 5 * TEXT, "{bytes} bytes on their way");
        let outcomes = messages
            .iter()
            .filter(|message| matches!(message.body, ToPeer::Client(ToClient::Outcome { .. })));
        floor += outcomes.count() as u64;
        // 64 may have been on their way when the client had too much to read.
        assert!((ended - floor) as usize <= 2 * WINDOW / (4 * TEXT) + 1 + 64);
        bench.send(
            client,
            ToManager::Client(FromClient::AckOutcomes {
                floor,
                seqs: Vec::new(),
            }),
        );
    }
}
