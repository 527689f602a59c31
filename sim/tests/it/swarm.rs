//! What the tests share: many seeds on all cores, and reports that can be acted upon.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use sim::minimise::minimise_by;
use sim::{Failure, Level, Plan, Report, Trace};

/// Runs every plan of `plans` on two threads.
///
/// # Panics
/// At the first broken promise, with a smaller plan, its timeline, and how to replay it.
pub(crate) fn all_hold(level: Level, count: u64, plan: impl Fn(u64) -> Plan + Sync) -> Report {
    let next = AtomicU64::new(0);
    let total = Mutex::new((Report::default(), None::<(u64, Failure)>));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count || total.lock().expect("no thread panicked").1.is_some() {
                        return;
                    }
                    let report = level.run(&plan(number), &mut Trace::off());
                    let mut total = total.lock().expect("no thread panicked");
                    total.0.add(&report);
                    if let Some(failure) = report.failure
                        && total.1.as_ref().is_none_or(|(first, _)| number < *first)
                    {
                        total.1 = Some((number, failure));
                    }
                }
            });
        }
    });
    let (report, failure) = total.into_inner().expect("no thread panicked");
    if let Some((number, failure)) = failure {
        explain(level, &plan(number), &failure);
    }
    report
}

/// Runs one plan, which must keep every promise.
pub(crate) fn holds(level: Level, plan: &Plan) -> Report {
    let report = level.run(plan, &mut Trace::off());
    if let Some(failure) = &report.failure {
        explain(level, plan, failure);
    }
    report
}

fn explain(level: Level, plan: &Plan, failure: &Failure) -> ! {
    // Whoever only asks whether it fails need not wait for the smallest plan.
    let small = match std::env::var("SIM_MINIMISE").as_deref() {
        Ok("0") => plan.clone(),
        _ => minimise_by(plan, failure, &|plan| level.run(plan, &mut Trace::off())),
    };
    let mut trace = Trace::on();
    let again = level.run(&small, &mut trace);
    let text = serde_json::to_string(&small).expect("a plan is plain data");
    panic!(
        "\n{}\n{}\nthe smallest plan that fails so:\n{text}\n\
         cargo run -p sim -- replay {} --level {} --minimise\n",
        trace.around(again.failure.and_then(|failure| failure.task), 60),
        failure,
        plan.seed,
        level.name(),
    );
}
