//! No-op tasks of 64 bytes, many at a time.

use std::time::Duration;

use crate::Problem;
use crate::process::SLACK;
use crate::report::{Figures, Table, shown};
use crate::settings::Settings;
use crate::systems::Programs;

use super::lane::{System, by_turns, of, ratio};

const SYSTEMS: [System; 9] = [
    System::Relay,
    System::Least,
    System::Threads,
    System::Gearman(2, 64),
    System::LeastChildren(2, 64),
    System::Pool(2),
    System::LeastChildren(2, 1),
    System::LeastChildren(8, 1),
    System::Gearman(1, 64),
];
/// Of these, how many are measured with other numbers in flight than the one that counts.
const MAIN: usize = 6;
const COUNTS: usize = 1_000;

pub(super) fn run(settings: &Settings, programs: &Programs) -> Result<Figures, Problem> {
    let mut figures = Figures::default();
    let levels: &[usize] = match settings.quick {
        true => &[COUNTS],
        false => &[1, 100, COUNTS, 10_000],
    };
    let mut table = Table::new(&[
        "no-op tasks, 64 bytes",
        "in flight",
        "tasks/s",
        "of least manager",
        "of gearmand",
        "manager us/task",
    ]);
    for &in_flight in levels {
        let systems = match in_flight == COUNTS {
            true => &SYSTEMS[..],
            false => &SYSTEMS[..MAIN],
        };
        let lanes = by_turns(settings, programs, systems, in_flight, Duration::ZERO)?;
        let rate = |system| of(&lanes, system).map(|measured| &measured.rate);
        for lane in &lanes {
            let measured = &lane.measured;
            let floor = match lane.system {
                System::Pool(_) => System::LeastChildren(2, 64),
                _ => System::Least,
            };
            let of_floor = ratio(Some(&measured.rate), rate(floor));
            let of_gearmand = ratio(Some(&measured.rate), rate(System::Gearman(2, 64)));
            table.row(
                lane.system.name(),
                &[
                    &in_flight,
                    &measured.rate,
                    &shown(of_floor),
                    &shown(of_gearmand),
                    &measured.cpu,
                ],
            );
            let name = format!("{}, {in_flight} in flight", lane.system.name());
            figures.add(format!("{name}: tasks/s"), measured.rate.clone());
            figures.add(format!("{name}: manager us/task"), measured.cpu.clone());
            if lane.system == System::Threads && in_flight == COUNTS {
                figures.add("threads over gearmand", of_gearmand);
                figures.add("threads over the floor", of_floor);
                figures.add("manager us a task", measured.cpu.clone());
            }
            if lane.system == System::Pool(2) && in_flight == COUNTS {
                figures.add("pool over the floor", of_floor);
            }
        }
    }
    table.print();
    println!("(pools are compared with the floor's 2 children of 64)\n");
    bytes(settings, programs, &mut figures)?;
    Ok(figures)
}

/// What tasks cost on the wire.
fn bytes(settings: &Settings, programs: &Programs, figures: &mut Figures) -> Result<(), Problem> {
    let tasks = if settings.quick { "2000" } else { "200000" };
    let mut table = Table::new(&[
        "bytes a task, both sides of the manager",
        "in flight",
        "bytes",
    ]);
    for in_flight in ["1", "1000"] {
        let tasks = if in_flight == "1" { "2000" } else { tasks };
        let server = programs.manager(&[])?;
        let load = programs.part(&["argon-bytes", &server.address, in_flight, tasks])?;
        let report = load.report(SLACK)?;
        let bytes = report["bytes"].as_f64().unwrap_or(f64::NAN);
        table.row("argon", &[&in_flight, &shown(bytes)]);
        figures.add(format!("bytes a task, {in_flight} in flight"), bytes);
    }
    // A length and the task each way between client and manager, and a number more beyond it.
    table.row("floor: least manager", &[&"any", &(2 * 68 + 2 * 76)]);
    table.print();
    Ok(())
}
