//! Any message to a manager, with contents at random.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::{Draw, MS, named};
use crate::capabilities::Capabilities;
use crate::ids::{Attempt, Epoch, PeerId, PoolProcess, SlotId, TaskId};
use crate::message::{
    AttemptEnd, Beat, End, Ends, Finished, FromClient, FromWorker, Hello, MAGIC, Query, Report,
    ReportedAttempt, Role, Run, Submit, ToManager, VERSION, Version,
};
use crate::task::{ExitCause, Priority};
use crate::time::Nanos;

/// A hello, most often one that a manager takes.
pub fn hello(rng: &mut impl Draw, id: u64, index: u64) -> Hello {
    Hello {
        magic: if rng.percent(95) { MAGIC } else { *b"HTTP" },
        version: if rng.percent(90) {
            VERSION
        } else {
            Version {
                major: rng.up_to(3) as u16,
                minor: rng.up_to(3) as u16,
            }
        },
        role: match rng.up_to(4) {
            0 | 1 => Role::Client,
            2 | 3 => Role::Worker {
                capacity: rng.pick(&[0, 1, 3, 4_096, u32::MAX]),
            },
            _ => Role::Observer,
        },
        peer: PeerId(id),
        connection: rng.pick(&[index, 0, 7, u64::MAX]),
        session: rng.percent(30).then(|| Epoch(rng.draw())),
        name: named(rng.pick(&["x", "stranger", "y"])),
    }
}

fn attempt(rng: &mut impl Draw) -> Attempt {
    Attempt {
        epoch: Epoch(rng.up_to(2)),
        number: rng.up_to(5),
    }
}

fn task(rng: &mut impl Draw, id: u64) -> TaskId {
    TaskId {
        client: PeerId(if rng.percent(50) { id } else { rng.up_to(2) }),
        seq: rng.pick(&[0, 1, 2, 3, u64::MAX]),
    }
}

fn seqs(rng: &mut impl Draw) -> Vec<u64> {
    (0..rng.up_to(5))
        .map(|_| rng.pick(&[0, 1, 2, 3, 4, u64::MAX]))
        .collect()
}

fn reported(rng: &mut impl Draw, id: u64) -> Vec<ReportedAttempt> {
    (0..rng.up_to(3))
        .map(|_| ReportedAttempt {
            attempt: attempt(rng),
            task: task(rng, id),
        })
        .collect()
}

fn nanos(rng: &mut impl Draw) -> Nanos {
    Nanos(rng.pick(&[0, 1, MS, 1_000 * MS, u64::MAX - 1, u64::MAX]))
}

/// Sizes of the payloads of a run, true if there are none.
pub(super) fn sizes(rng: &mut impl Draw) -> Vec<u32> {
    let sizes: &[u32] = rng.pick(&[&[], &[0], &[0, 0], &[0, 0, 0, 0], &[1, 2], &[u32::MAX, 1]]);
    sizes.to_vec()
}

fn submit(rng: &mut impl Draw) -> Submit {
    Submit {
        seq: rng.pick(&[0, 1, 2, 3, 4, u64::MAX]),
        priority: Priority::new(rng.up_to(7) as u8).unwrap_or_default(),
        max_attempts: rng.pick(&[0, 1, 3, 16, 255]),
        at_most_once: rng.percent(50),
        may_have_run: rng.percent(50),
        deadline: nanos(rng),
        max_wait: nanos(rng),
        time_limit: nanos(rng),
        name: named("x"),
    }
}

/// Any message to a manager, of a peer that calls itself `id`, as the `index`-th on its connection.
/// It says nothing about the tasks of others that could be true.
pub fn to_manager(rng: &mut impl Draw, id: u64, index: u64) -> ToManager {
    match rng.up_to(21) {
        0 => ToManager::Hello(hello(rng, id, index)),
        1 => ToManager::Ping(Beat {
            nonce: rng.draw(),
            received: rng.pick(&[0, 1, u64::MAX]),
        }),
        2 => ToManager::Goodbye,
        3..=6 => ToManager::Client(FromClient::Submit(submit(rng))),
        7 => ToManager::Client(FromClient::Cancel {
            seq: rng.pick(&[0, 1, 2, u64::MAX]),
        }),
        8 => ToManager::Client(FromClient::Resume { seqs: seqs(rng) }),
        9 => ToManager::Client(FromClient::AckOutcomes {
            floor: rng.pick(&[0, 1, 2, u64::MAX]),
            seqs: seqs(rng),
        }),
        10 => ToManager::Query(Query::StatusQuery {
            page: rng.pick(&[0, 1, u32::MAX]),
        }),
        11 => ToManager::Worker(FromWorker::Report(Report {
            running: reported(rng, id),
            finished: reported(rng, id),
            last: rng.percent(70),
        })),
        12 => ToManager::Worker(FromWorker::Finished(Finished {
            attempt: attempt(rng),
            task: task(rng, id),
            ran: nanos(rng),
            end: match rng.up_to(3) {
                0 => AttemptEnd::Completed,
                1 => AttemptEnd::Crashed(ExitCause::Signal(9), String::new()),
                2 => AttemptEnd::Killed,
                _ => AttemptEnd::Expired,
            },
        })),
        13 => ToManager::Worker(FromWorker::Returned {
            not_started: vec![attempt(rng)],
            started: vec![attempt(rng)],
        }),
        14 => ToManager::Worker(FromWorker::Draining),
        // It may claim any window only for nothing: what it was given it would never run.
        15 => ToManager::Worker(FromWorker::Capabilities(Capabilities::anything())),
        16 => ToManager::Query(Query::RunningQuery { page: 0 }),
        17 => ToManager::Client(FromClient::Within(PoolProcess {
            worker: PeerId(if rng.percent(50) { id } else { rng.up_to(2) }),
            slot: SlotId(rng.pick(&[0, 1, u32::MAX])),
            life: rng.up_to(2),
        })),
        18 => ToManager::Worker(FromWorker::Gone {
            slot: SlotId(rng.pick(&[0, 1, u32::MAX])),
            life: rng.up_to(2),
        }),
        19 => ToManager::Client(FromClient::SubmitRun(Box::new(Run {
            first: submit(rng),
            sizes: sizes(rng),
        }))),
        20 => {
            let first = ReportedAttempt {
                attempt: attempt(rng),
                task: task(rng, id),
            };
            let end = |size| End {
                offset: size as u16,
                ran: 1,
                size,
            };
            let ends = sizes(rng).into_iter().map(end).collect();
            ToManager::Worker(FromWorker::FinishedRun(Box::new(Ends { first, ends })))
        }
        _ => ToManager::Worker(FromWorker::Grant { window: 0 }),
    }
}
