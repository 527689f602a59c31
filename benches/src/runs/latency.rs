//! One task in flight.

use std::time::Duration;

use crate::Problem;
use crate::report::{Figures, Table, shown};
use crate::settings::Settings;
use crate::systems::Programs;

use super::lane::{System, by_turns, of, ratio};

const SYSTEMS: [System; 6] = [
    System::Relay,
    System::Least,
    System::Threads,
    System::LeastPool,
    System::Pool(1),
    System::Gearman(1, 1),
];

pub(super) fn run(settings: &Settings, programs: &Programs) -> Result<Figures, Problem> {
    let mut figures = Figures::default();
    let mut table = Table::new(&[
        "one in flight",
        "cores",
        "p50 us",
        "p99 us",
        "p99.9 us",
        "p50 of the floor",
    ]);
    for (cores, programs) in [("all", programs.clone()), ("one", programs.pinned())] {
        let lanes = by_turns(settings, &programs, &SYSTEMS, 1, Duration::ZERO)?;
        let p50 = |system| of(&lanes, system).map(|measured| &measured.p50);
        for lane in &lanes {
            let measured = &lane.measured;
            let floor = match lane.system {
                System::Pool(_) | System::LeastPool => System::LeastPool,
                _ => System::Least,
            };
            let over = ratio(Some(&measured.p50), p50(floor));
            table.row(
                lane.system.name(),
                &[
                    &cores,
                    &measured.p50,
                    &measured.p99,
                    &measured.p999,
                    &shown(over),
                ],
            );
            let name = format!("{}, {cores} cores", lane.system.name());
            figures.add(format!("{name}: p50 us"), measured.p50.clone());
            figures.add(format!("{name}: p99 us"), measured.p99.clone());
            figures.add(format!("{name}: p99.9 us"), measured.p999.clone());
            match lane.system {
                System::Pool(_) => figures.add(format!("pool latency, {cores} cores"), over),
                System::Threads => figures.add(format!("thread latency, {cores} cores"), over),
                _ => {}
            }
        }
    }
    table.print();
    println!("(a pool is compared with the floor's pool, all else with its least manager)");
    Ok(figures)
}
