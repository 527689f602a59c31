//! What the tests share: many seeds on all cores, and reports that can be acted upon.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use sim::minimise::minimise;
use sim::{Failure, Plan, Report, Trace, run};

/// Runs every plan of `plans` on two threads.
///
/// # Panics
/// At the first broken promise, with a smaller plan, its timeline, and how to replay it.
pub fn all_hold(count: u64, plan: impl Fn(u64) -> Plan + Sync) -> Report {
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
                    let report = run(&plan(number), &mut Trace::off());
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
        explain(&plan(number), &failure);
    }
    report
}

/// Runs one plan, which must keep every promise.
pub fn holds(plan: &Plan) -> Report {
    let report = run(plan, &mut Trace::off());
    if let Some(failure) = &report.failure {
        explain(plan, failure);
    }
    report
}

fn explain(plan: &Plan, failure: &Failure) -> ! {
    // Whoever only asks whether it fails need not wait for the smallest plan.
    let small = match std::env::var("SIM_MINIMISE").as_deref() {
        Ok("0") => plan.clone(),
        _ => minimise(plan, failure),
    };
    let mut trace = Trace::on();
    let again = run(&small, &mut trace);
    let text = serde_json::to_string(&small).expect("a plan is plain data");
    panic!(
        "\n{}\n{}\nthe smallest plan that fails so:\n{text}\n\
         cargo run -p sim -- replay {} --minimise\n",
        trace.around(again.failure.and_then(|failure| failure.task), 60),
        failure,
        plan.seed,
    );
}
