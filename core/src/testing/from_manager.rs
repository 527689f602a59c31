//! Anything that may be said in a manager's place, with contents at random.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use super::to_manager::sizes;
use super::{Draw, MS, named};
use crate::ids::{Attempt, Epoch, PeerId, TaskId};
use crate::message::{
    Assign, AttemptEnd, Beat, Completed, Control, End, Ends, Finished, FromWorker, Hello, MAGIC,
    RefuseReason, Rejections, Role, Run, Said, ToClient, ToManager, ToPeer, ToWorker, VERSION,
    Version, Welcome,
};
use crate::task::{Outcome, RejectReason};
use crate::time::Nanos;

const S: u64 = 1_000 * MS;

fn version(rng: &mut impl Draw) -> Version {
    if rng.percent(80) {
        return VERSION;
    }
    Version {
        major: rng.up_to(3) as u16,
        minor: rng.up_to(3) as u16,
    }
}

fn nanos(rng: &mut impl Draw) -> Nanos {
    Nanos(rng.pick(&[0, 1, MS, S, 100 * S, u64::MAX - 1, u64::MAX]))
}

/// A welcome, most often one that a client takes.
pub fn welcome(rng: &mut impl Draw) -> Welcome {
    Welcome {
        version: version(rng),
        epoch: Epoch(rng.draw()),
        resumed: rng.percent(30),
        lease: nanos(rng),
        payload_max: rng.pick(&[0, 8, 1_000, u32::MAX]),
    }
}

/// Attempts and tasks that nobody has.
fn attempt(rng: &mut impl Draw) -> Attempt {
    Attempt {
        epoch: Epoch(rng.up_to(2)),
        number: rng.pick(&[0, 1, 2, u64::MAX]),
    }
}

fn beat(rng: &mut impl Draw) -> Beat {
    Beat {
        nonce: rng.draw(),
        received: rng.pick(&[0, 0, 1, u64::MAX]),
    }
}

fn reject_run(rng: &mut impl Draw, seq: u64) -> ToClient {
    ToClient::RejectRun(Rejections {
        first: rng.pick(&[0, 1, 2, seq]),
        count: rng.pick(&[0, 1, 2, 3, 64, 1_024, 1_025]),
        reason: rng.pick(&[RejectReason::QueueFull, RejectReason::NoWorkers]),
        retry_after: nanos(rng),
        may_have_run: rng.percent(50),
    })
}

/// Anything that somebody who calls itself `id` may say in a manager's place, messages that only
/// others may say among it. It tells of no task that there is.
pub fn from_manager(rng: &mut impl Draw, id: u64) -> Said {
    let task = TaskId {
        client: PeerId(id),
        seq: rng.up_to(3),
    };
    let seq = u64::MAX - rng.up_to(3);
    match rng.up_to(16) {
        0 => Said::FromManager(ToPeer::Control(Control::Welcome(welcome(rng)))),
        1 => Said::FromManager(ToPeer::Control(Control::Refuse(rng.pick(&[
            RefuseReason::Version(VERSION),
            RefuseReason::OldConnection,
            RefuseReason::Full,
            RefuseReason::BadHello,
            RefuseReason::NotAllowed,
            RefuseReason::OtherHolder,
        ])))),
        2 => Said::ToManager(ToManager::Ping(beat(rng))),
        3 => Said::FromManager(ToPeer::Control(Control::Pong(beat(rng)))),
        4 => Said::ToManager(ToManager::Goodbye),
        5..=7 => {
            let first = Assign {
                attempt: attempt(rng),
                task,
                at_most_once: rng.percent(50),
                deadline: nanos(rng),
                time_limit: nanos(rng),
                name: named("x"),
            };
            let run = rng.percent(25);
            let said = if run {
                let sizes = sizes(rng);
                ToWorker::AssignRun(Box::new(Run { first, sizes }))
            } else {
                ToWorker::Assign(first)
            };
            Said::FromManager(ToPeer::Worker(said))
        }
        8 => Said::FromManager(ToPeer::Worker(ToWorker::Recall {
            attempts: vec![attempt(rng)],
        })),
        9 => Said::FromManager(ToPeer::Worker(ToWorker::Kill {
            attempt: attempt(rng),
        })),
        10 => Said::FromManager(ToPeer::Worker(ToWorker::AckResults {
            attempts: vec![attempt(rng)],
        })),
        11 => Said::FromManager(ToPeer::Worker(ToWorker::Resend {
            attempt: attempt(rng),
        })),
        12 if rng.percent(30) => {
            let first = Completed {
                seq,
                waited: nanos(rng),
                charged: 0,
                worker: named("x"),
            };
            let end = |size| End {
                offset: 0,
                ran: 1,
                size,
            };
            let ends = sizes(rng).into_iter().map(end).collect();
            let said = ToClient::OutcomeRun(Box::new(Ends { first, ends }));
            Said::FromManager(ToPeer::Client(said))
        }
        12 => Said::FromManager(ToPeer::Client(ToClient::Outcome {
            seq,
            outcome: Outcome::Expired {
                may_have_run: false,
            },
        })),
        13 if rng.percent(30) => Said::FromManager(ToPeer::Client(reject_run(rng, seq))),
        13 => Said::FromManager(ToPeer::Client(ToClient::Reject {
            seq: rng.pick(&[0, 1, 2, seq]),
            reason: rng.pick(&[RejectReason::QueueFull, RejectReason::NoWorkers]),
            similar: Vec::new(),
            retry_after: nanos(rng),
            may_have_run: rng.percent(50),
        })),
        14 => Said::FromManager(ToPeer::Client(ToClient::Unknown { seqs: vec![seq] })),
        15 => Said::ToManager(ToManager::Worker(FromWorker::Finished(Finished {
            attempt: attempt(rng),
            task,
            ran: nanos(rng),
            end: AttemptEnd::Completed,
        }))),
        _ => Said::ToManager(ToManager::Hello(Hello {
            magic: MAGIC,
            version: version(rng),
            role: Role::Client,
            peer: PeerId(id),
            connection: 1,
            session: None,
            name: named("x"),
        })),
    }
}
