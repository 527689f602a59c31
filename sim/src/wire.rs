//! Messages: through the codec, into words for the trace, and into the history.

use argon_core::codec;
use argon_core::event::Event;
use argon_core::ids::TaskId;
use argon_core::message::{
    Control, FromClient, FromWorker, Message, Submit, ToClient, ToManager, ToPeer, ToWorker,
};
use argon_core::name::Name;
use argon_core::task::RejectReason;
use bytes::BytesMut;

use crate::history::WireWhat;
use crate::rng::mix;
use argon_core::message::Said;

/// The frame of a message.
///
/// # Panics
/// If it has none.
#[must_use]
pub(crate) fn encoded(message: &Message<Said>) -> BytesMut {
    let mut bytes = BytesMut::new();
    codec::encode(message, &mut bytes).expect("what a machine sends can be encoded");
    bytes
}

/// Encodes and decodes a message, which must come out as it went in.
///
/// # Panics
/// If it does not.
#[must_use]
pub(crate) fn through_codec(message: &Message<Said>) -> Message<Said> {
    let mut bytes = encoded(message);
    let back = codec::decode(&mut bytes, usize::MAX >> 1)
        .expect("what was encoded can be decoded")
        .expect("the frame is whole");
    assert!(bytes.is_empty(), "a frame is taken off whole");
    assert_eq!(&back, message, "the codec changes nothing");
    back
}

/// What a message is about, if it is about one task. `peer` is the client at the other end.
#[must_use]
pub(crate) fn task_of(body: &Said, peer: Option<u64>) -> Option<(u64, u64)> {
    match body {
        Said::ToManager(ToManager::Client(FromClient::Submit(submit))) => Some((peer?, submit.seq)),
        Said::ToManager(ToManager::Client(FromClient::Cancel { seq }))
        | Said::FromManager(ToPeer::Client(ToClient::Outcome { seq, .. }))
        | Said::FromManager(ToPeer::Client(ToClient::Reject { seq, .. })) => Some((peer?, *seq)),
        Said::FromManager(ToPeer::Worker(ToWorker::Assign(assign))) => {
            Some((assign.task.client.0, assign.task.seq))
        }
        Said::ToManager(ToManager::Worker(FromWorker::Finished(finished))) => {
            Some((finished.task.client.0, finished.task.seq))
        }
        _ => None,
    }
}

/// What the history keeps of a submission; `same` tells whether two of one task say the same.
#[must_use]
pub(crate) fn submitted(submit: &Submit) -> WireWhat {
    let name = hash_of(&submit.name);
    let priority = submit.priority.level() as u8;
    let kept = [
        u64::from(priority),
        u64::from(submit.max_attempts),
        u64::from(submit.at_most_once),
        submit.max_wait.0,
        submit.time_limit.0,
    ];
    WireWhat::Submitted {
        priority,
        marked: submit.may_have_run,
        name,
        deadline: submit.deadline.0,
        max_wait: submit.max_wait.0,
        waits: submit.deadline.0.min(submit.max_wait.0),
        same: mix(name, &kept),
    }
}

/// A number that stands for a name.
fn hash_of(name: &Name) -> u64 {
    let bytes = name.as_str().bytes();
    bytes.fold(0, |hash, byte| mix(hash, &[u64::from(byte)]))
}

/// Whether a message is only a heartbeat, which traces leave out.
#[must_use]
pub(crate) fn is_beat(body: &Said) -> bool {
    matches!(
        body,
        Said::ToManager(ToManager::Ping(_))
            | Said::FromManager(ToPeer::Control(Control::Pong(_)))
            | Said::FromManager(ToPeer::Control(Control::Paused))
    )
}

/// The names of rejections, by their reason.
pub(crate) const REJECTIONS: [&str; 7] = [
    "task-rejected",
    "task-displaced",
    "no-runner",
    "no-workers",
    "rejected-in-drain",
    "too-slow",
    "in-flight-full",
];

/// Of how many tasks an event tells.
#[must_use]
pub(crate) fn count_of(event: &Event) -> u64 {
    match event {
        Event::TasksRejected { count, .. } => u64::from(*count),
        _ => 1,
    }
}

/// The task, or the first of several, and the name of an event.
#[must_use]
pub(crate) fn event_of(event: &Event) -> (Option<TaskId>, &'static str) {
    match event {
        Event::PeerJoined { resumed: true, .. } => (None, "peer-resumed"),
        Event::PeerJoined { .. } => (None, "peer-joined"),
        Event::PeerDisconnected { .. } => (None, "peer-disconnected"),
        Event::PeerGone { .. } => (None, "peer-gone"),
        Event::AllWait { .. } => (None, "all-wait"),
        Event::PeerRefused { .. } => (None, "peer-refused"),
        Event::WorkerDoubted { .. } => (None, "worker-doubted"),
        Event::GroupRefused { .. } => (None, "group-refused"),
        Event::WorkerLost { .. } => (None, "worker-lost"),
        Event::NameTaken { .. } => (None, "name-taken"),
        Event::ConnClosed { .. } => (None, "conn-closed"),
        Event::TasksRejected { first, reason, .. } => (
            Some(*first),
            match reason {
                RejectReason::Displaced => "task-displaced",
                RejectReason::NoRunner => "no-runner",
                RejectReason::NoWorkers => "no-workers",
                RejectReason::Draining => "rejected-in-drain",
                RejectReason::TooSlow => "too-slow",
                RejectReason::InFlightFull => "in-flight-full",
                _ => "task-rejected",
            },
        ),
        Event::AttemptCharged { task, .. } => (Some(*task), "attempt-charged"),
        Event::TaskReturned { task } => (Some(*task), "task-returned"),
        Event::AttemptAdopted { task, .. } => (Some(*task), "attempt-adopted"),
        Event::OrphanKept { task, .. } => (Some(*task), "orphan-kept"),
        Event::OrphanMatched { task, .. } => (Some(*task), "orphan-matched"),
        Event::StaleIgnored { task, .. } => (Some(*task), "stale-ignored"),
        Event::Recalled { task, .. } => (Some(*task), "recalled"),
        Event::TaskUnclaimed { task } => (Some(*task), "task-unclaimed"),
        Event::PoisonStopped { task } => (Some(*task), "poison-stopped"),
        Event::TaskLost { task } => (Some(*task), "task-lost"),
        Event::SessionResumed { .. } => (None, "session-resumed"),
        Event::ResultReleasedEarly { task } => (Some(*task), "result-released-early"),
        Event::DrainStarted => (None, "drain-started"),
        Event::LinkUp { resumed: true, .. } => (None, "link-resumed"),
        Event::LinkUp { address: 1.., .. } => (None, "failed-over"),
        Event::LinkUp { .. } => (None, "link-up"),
        Event::LinkDown { .. } => (None, "link-down"),
        Event::LinkRefused { .. } => (None, "link-refused"),
        Event::SlotReady { .. } => (None, "slot-ready"),
        Event::SlotExited { .. } => (None, "slot-exited"),
        Event::TimeLimitHit { task } => (Some(*task), "time-limit-hit"),
        Event::MemoryLimitHit { task, .. } => (Some(*task), "memory-limit-hit"),
        Event::Retrying { task, .. } => (Some(*task), "retrying"),
        Event::Unavailable { .. } => (None, "unavailable"),
        Event::ResultsFull => (None, "results-full"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use argon_core::task::Priority;
    use argon_core::time::Nanos;

    #[test]
    fn a_task_surely_waits_for_the_shorter_of_its_deadline_and_its_longest_wait() {
        let waits = |deadline, max_wait| {
            let what = submitted(&Submit {
                seq: 0,
                priority: Priority::NORMAL,
                max_attempts: 1,
                at_most_once: false,
                may_have_run: false,
                deadline,
                max_wait,
                time_limit: Nanos::NONE,
                name: Name::new("work").expect("valid"),
            });
            match what {
                WireWhat::Submitted { waits, .. } => waits,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(waits(Nanos(5), Nanos(9)), 5);
        assert_eq!(waits(Nanos(9), Nanos(5)), 5);
        assert_eq!(waits(Nanos::NONE, Nanos(5)), 5);
        assert_eq!(waits(Nanos::NONE, Nanos::NONE), u64::MAX);
    }
}
