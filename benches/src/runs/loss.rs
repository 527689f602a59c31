//! A worker that is killed while it runs fifty tasks.

use std::time::Duration;

use crate::Problem;
use crate::clock::now;
use crate::process::{READY, SLACK};
use crate::report::{Figures, Samples, Table};
use crate::settings::Settings;
use crate::systems::Programs;

/// Tasks that the worker holds.
const TASKS: u64 = 50;
/// How long a manager lets a closed connection's tasks wait for the worker to come back.
const GRACE: Duration = argon_core::limits::RECONNECT_GRACE;

pub(super) fn run(settings: &Settings, programs: &Programs) -> Result<Figures, Problem> {
    let reps = if settings.quick {
        1
    } else {
        settings.reps.max(10)
    };
    let mut figures = Figures::default();
    let mut table = Table::new(&[
        "kill -9 of a worker with 50 tasks",
        "grace ms",
        "beyond it ms",
    ]);
    for grace in [GRACE, Duration::ZERO] {
        let mut beyond = Samples::default();
        for _ in 0..reps {
            let all = once(programs, grace)?;
            beyond.add((all.as_secs_f64() - grace.as_secs_f64()) * 1e3);
        }
        table.row("until all have run again", &[&grace.as_millis(), &beyond]);
        let name = format!("ms beyond a grace of {} ms", grace.as_millis());
        figures.add(name, beyond);
    }
    table.print();
    Ok(figures)
}

/// From the kill until the last result of the others is at the client.
fn once(programs: &Programs, grace: Duration) -> Result<Duration, Problem> {
    let grace = format!("{}ms", grace.as_millis());
    let server = programs.manager(&["--reconnect-grace", &grace])?;
    let tasks = TASKS.to_string();
    let mut lost = programs.part(&["argon-waiters", &server.address, "1", &tasks])?;
    server.wait_capacity(TASKS)?;
    let load = programs.part(&["argon-batch", &server.address, &tasks])?;
    load.wait_for("submitted", READY)?;
    server.wait("all tasks running", READY, |status| {
        status.manager.assigned == TASKS
    })?;
    let _other = programs.part(&["argon-echo", &server.address, &tasks])?;
    server.wait_capacity(2 * TASKS)?;
    let killed = now();
    lost.kill()?;
    let report = load.report(SLACK)?;
    let last = report["last"].as_u64().ok_or("no time")?;
    Ok(Duration::from_nanos(last.saturating_sub(killed)))
}
