//! Who drains takes nothing new, and hands back what has not begun. So a manager sends out nothing that first came after it was told to, and a worker gives nothing more to its processes.

use std::collections::BTreeMap;

use crate::history::{History, WireWhat};
use crate::report::{Class, Failure};

/// Judges what happened after drains began.
pub(super) fn check(history: &History) -> Result<(), Failure> {
    let mut begun: BTreeMap<usize, u64> = BTreeMap::new();
    for (at, life) in &history.drains {
        begun.entry(*life).or_insert(*at);
    }
    if begun.is_empty() {
        return Ok(());
    }
    let broken = |text| Err(Failure::new(Class::Safety, "drain", text));
    let mut came: BTreeMap<(usize, u64, u64), u64> = BTreeMap::new();
    for wire in &history.wire {
        let id = (wire.life, wire.client, wire.seq);
        match wire.what {
            // What may have run is matched with what workers report, whenever it comes.
            WireWhat::Submitted { marked, .. } => {
                came.entry(id).or_insert(if marked { 0 } else { wire.at });
            }
            WireWhat::Assigned => {
                let drained = begun.get(&wire.life);
                let late = came
                    .get(&id)
                    .zip(drained)
                    .is_some_and(|(came, at)| came > at);
                if late {
                    let text = format!("number {} came after a drain began and was run", wire.seq);
                    return broken(text);
                }
            }
            WireWhat::Cancelled
            | WireWhat::Rejected { .. }
            | WireWhat::Returned
            | WireWhat::Left
            | WireWhat::Ended => {}
        }
    }
    for run in &history.executions {
        if begun.get(&run.life).is_some_and(|at| run.given > *at) {
            let text = format!(
                "number {} was given to a process {} ns after its worker was told to drain",
                run.seq,
                run.given - begun[&run.life]
            );
            return broken(text);
        }
    }
    Ok(())
}
