//! What a client says again: the same task, and not sooner than it was told.

use std::collections::BTreeMap;

use super::order::scaled;
use crate::history::{History, WireWhat};
use crate::plan::Plan;
use crate::process::EVEN;
use crate::report::{Class, Failure};

/// Judges what was submitted more than once.
pub(super) fn check(plan: &Plan, history: &History) -> Result<(), Failure> {
    submitted_as_before(history)?;
    waits_as_told(plan, history)
}

/// Promise 2: a task that is submitted again is the same task, and has no more time left.
fn submitted_as_before(history: &History) -> Result<(), Failure> {
    let promise = "2 (submitted as before)";
    let mut first: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    // By life of a manager: on the way to two of them, the later may overtake the earlier.
    let mut left: BTreeMap<(usize, u64, u64), u64> = BTreeMap::new();
    for wire in &history.wire {
        let WireWhat::Submitted { same, deadline, .. } = wire.what else {
            continue;
        };
        if history.hostile.contains(&wire.client) {
            continue;
        }
        if *first.entry((wire.client, wire.seq)).or_insert(same) != same {
            let text = format!("number {} came again as another task", wire.seq);
            return Err(Failure::new(Class::Safety, promise, text));
        }
        let before = left.insert((wire.life, wire.client, wire.seq), deadline);
        if before.is_some_and(|before| deadline > before) {
            let text = format!("number {} came again with more time left", wire.seq);
            return Err(Failure::new(Class::Safety, promise, text));
        }
    }
    Ok(())
}

/// Promise 6: nobody tries again sooner than the manager said. After a cut a client may not have
/// heard of it.
fn waits_as_told(plan: &Plan, history: &History) -> Result<(), Failure> {
    if !history.disturbances.is_empty() {
        return Ok(());
    }
    // The fastest clock that a client may have.
    let rate = EVEN + plan.options.drift;
    let mut again: BTreeMap<(usize, u64, u64), u64> = BTreeMap::new();
    for wire in &history.wire {
        let id = (wire.life, wire.client, wire.seq);
        match wire.what {
            WireWhat::Rejected { after, .. } => {
                again.insert(id, wire.at.saturating_add(scaled(after, rate)));
            }
            WireWhat::Submitted { .. } => {
                let early = again.remove(&id).filter(|again| wire.at + 1 < *again);
                if let Some(again) = early.filter(|_| !history.hostile.contains(&wire.client)) {
                    let early = again - wire.at;
                    let text = format!("number {} came again {early} ns too soon", wire.seq);
                    return Err(Failure::new(Class::Safety, "6 (retries)", text));
                }
            }
            WireWhat::Assigned
            | WireWhat::Cancelled
            | WireWhat::Returned
            | WireWhat::Left
            | WireWhat::Ended => {}
        }
    }
    Ok(())
}
