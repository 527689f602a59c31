//! More workers: on the real manager, and in the simulator.

use std::time::Duration;

use serde_json::Value;

use crate::Problem;
use crate::process::SLACK;
use crate::report::{Figures, Samples, Table, shown};
use crate::settings::Settings;
use crate::systems::Programs;

const SLOTS: usize = 8;
const TASK: Duration = Duration::from_millis(10);
/// Tasks of the simulator: long, so that a second of many workers is not too many events.
const SIMULATED_TASK: Duration = Duration::from_secs(1);

pub(super) fn run(settings: &Settings, programs: &Programs) -> Result<Figures, Problem> {
    let mut figures = Figures::default();
    real(settings, programs, &mut figures)?;
    simulated(settings, programs, &mut figures)?;
    Ok(figures)
}

fn real(settings: &Settings, programs: &Programs, figures: &mut Figures) -> Result<(), Problem> {
    let steps: &[usize] = match settings.quick {
        true => &[1, 8],
        false => &[1, 2, 4, 8, 16, 32, 64],
    };
    let mut worst = f64::INFINITY;
    let mut table = Table::new(&[
        "workers of 8 slots, tasks of 10 ms",
        "ideal tasks/s",
        "tasks/s",
        "over ideal",
        "manager us/task",
    ]);
    for &workers in steps {
        let slots = workers * SLOTS;
        let ideal = slots as f64 / TASK.as_secs_f64();
        let (mut rate, mut share, mut cpu) =
            (Samples::default(), Samples::default(), Samples::default());
        let server = programs.manager(&[])?;
        let (count, each) = (workers.to_string(), SLOTS.to_string());
        let _workers = programs.part(&["argon-waiters", &server.address, &count, &each])?;
        server.wait_capacity(slots as u64)?;
        for _ in 0..settings.reps {
            // As much again waits at the manager.
            let in_flight = (2 * slots).to_string();
            let micros = settings.span.as_micros().to_string();
            let wait = TASK.as_micros().to_string();
            let before = server.process.cpu()?;
            let load =
                programs.part(&["argon-client", &server.address, &in_flight, &micros, &wait])?;
            let report = load.report(settings.span + SLACK)?;
            let spent = server.process.cpu()? - before;
            let number = |name: &str| report[name].as_f64().unwrap_or(f64::NAN);
            rate.add(number("rate"));
            share.add(number("rate") / ideal);
            cpu.add(spent.as_secs_f64() * 1e6 / number("all"));
        }
        table.row(workers.to_string(), &[&shown(ideal), &rate, &share, &cpu]);
        worst = worst.min(share.median());
        figures.add(format!("{workers} workers over ideal"), share);
    }
    figures.add("scaling, worst", worst);
    table.print();
    println!();
    Ok(())
}

fn simulated(
    settings: &Settings,
    programs: &Programs,
    figures: &mut Figures,
) -> Result<(), Problem> {
    let steps: &[usize] = match settings.quick {
        true => &[1, 10],
        false => &[1, 10, 100, 1_000, 10_000],
    };
    let mut table = Table::new(&[
        "workers of 8 slots, simulated, tasks of 1 s",
        "ideal tasks/s",
        "tasks/s",
        "over ideal",
    ]);
    for &workers in steps {
        let ideal = (workers * SLOTS) as f64 / SIMULATED_TASK.as_secs_f64();
        // A little more than they can run, so that there is always a next task.
        let offered = ideal * 1.02;
        let output = programs
            .command(&programs.argon)
            .args(["sim", "--json", "--duration", "6s", "--warmup", "2s"])
            .args(["--workers", &format!("{workers}x{SLOTS}")])
            .args(["--arrivals", &format!("even:{offered}/s")])
            .args(["--service", "fixed:1s", "--client-tasks", "1000000"])
            .output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("argon sim of {workers} workers: {said}").into());
        }
        let found: Value = serde_json::from_slice(&output.stdout)?;
        let number = |name: &str| found[name].as_f64().unwrap_or(f64::NAN);
        let share = number("goodput_per_second") / ideal;
        table.row(
            workers.to_string(),
            &[
                &shown(ideal),
                &shown(number("goodput_per_second")),
                &shown(share),
            ],
        );
        figures.add(format!("{workers} simulated workers over ideal"), share);
    }
    table.print();
    Ok(())
}
