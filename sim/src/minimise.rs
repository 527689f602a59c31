//! Makes a failing plan smaller: leaves out faults and tasks for as long as it fails alike.

use crate::plan::Plan;
use crate::report::{Class, Failure, Report};
use crate::run::run;
use crate::trace::Trace;

/// Most runs that may be spent.
const RUNS_MAX: u32 = 1_000;

/// The smallest plan found that fails in the same way.
#[must_use]
pub fn minimise(plan: &Plan, failure: &Failure) -> Plan {
    minimise_by(plan, failure, &|plan| run(plan, &mut Trace::off()))
}

/// The same with another way to run a plan.
#[must_use]
pub fn minimise_by(plan: &Plan, failure: &Failure, run: &dyn Fn(&Plan) -> Report) -> Plan {
    let mut best = plan.clone();
    let mut runs = 0;
    loop {
        let before = (best.faults.len(), best.tasks.len());
        best = without_parts(best, failure, run, &mut runs, |plan| &mut plan.faults);
        best = without_parts(best, failure, run, &mut runs, |plan| &mut plan.tasks);
        if (best.faults.len(), best.tasks.len()) == before || runs >= RUNS_MAX {
            return best;
        }
    }
}

fn without_parts<T: Clone>(
    mut best: Plan,
    failure: &Failure,
    run: &dyn Fn(&Plan) -> Report,
    runs: &mut u32,
    part: impl Fn(&mut Plan) -> &mut Vec<T>,
) -> Plan {
    let mut size = part(&mut best).len();
    while size > 0 {
        let mut from = 0;
        while from < part(&mut best).len() && *runs < RUNS_MAX {
            let mut smaller = best.clone();
            let list = part(&mut smaller);
            let end = (from + size).min(list.len());
            list.drain(from..end);
            *runs += 1;
            if fails_alike(&run(&smaller), failure) {
                best = smaller;
            } else {
                from += size;
            }
        }
        size /= 2;
    }
    best
}

fn fails_alike(report: &Report, failure: &Failure) -> bool {
    report.failure.as_ref().is_some_and(|other| {
        other.class == failure.class
                && other.promise == failure.promise
                // Panics are told apart by where they happen.
                && (other.class != Class::Panic || place(&other.text) == place(&failure.text))
    })
}

fn place(text: &str) -> &str {
    text.rsplit_once('(').map_or(text, |(_, place)| place)
}
