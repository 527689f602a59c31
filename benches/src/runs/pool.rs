//! Commands, and pools that run one task a child at a time.

use std::fs::{self, File};
use std::io::{Seek, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::Problem;
use crate::process::{Process, SLACK};
use crate::report::{Figures, Samples, Table, shown};
use crate::settings::Settings;
use crate::systems::{Programs, find};

use super::lane::{System, by_turns, of, ratio};

/// Long enough that a worker queues nothing in a child (its bound is one millisecond), and short
/// enough that what is around it can be seen.
const LONG: Duration = Duration::from_millis(2);
/// Tasks in flight: more than any pool runs.
const IN_FLIGHT: usize = 1_000;

pub(super) fn run(settings: &Settings, programs: &Programs) -> Result<Figures, Problem> {
    let mut figures = Figures::default();
    commands(settings, programs, &mut figures)?;
    ahead(settings, programs, &mut figures)?;
    strict(settings, programs, &mut figures)?;
    Ok(figures)
}

/// `true` for each item, two at a time.
fn commands(
    settings: &Settings,
    programs: &Programs,
    figures: &mut Figures,
) -> Result<(), Problem> {
    let tasks = if settings.quick { 50 } else { 2_000 };
    let items: String = (0..tasks).map(|item| format!("{item}\n")).collect();
    let truth = find("true").ok_or("there is no `true`")?;
    let truth = truth.to_string_lossy();
    let mut ways: Vec<(&str, Vec<&str>, usize)> = Vec::new();
    let argon = programs.argon.to_string_lossy();
    ways.push((
        "argon map",
        vec![&argon, "map", "--workers", "2", &truth],
        tasks,
    ));
    for (name, arguments, share) in [
        ("xargs", vec!["-P2", "-n1"], 1),
        // A fifth as fast: a fifth of the items.
        ("parallel", vec!["-j2"], 5),
    ] {
        if find(name).is_none() {
            println!("{name} is not installed: no comparison with it");
            continue;
        }
        let mut all = vec![name];
        all.extend(arguments);
        all.push(&truth);
        ways.push((name, all, tasks / share));
    }
    let mut rates = vec![Samples::default(); ways.len()];
    for _ in 0..settings.reps {
        for ((_, arguments, tasks), rate) in ways.iter().zip(&mut rates) {
            let mut command = programs.command(Path::new(arguments[0]));
            command.args(&arguments[1..]).stdin(file(&items, *tasks)?);
            let begun = Instant::now();
            Process::start_fed(&mut command)?.finish(SLACK)?;
            rate.add(*tasks as f64 / begun.elapsed().as_secs_f64());
        }
    }
    let mut table = Table::new(&["commands (`true`), 2 at a time", "commands/s", "of xargs"]);
    let xargs = ways.iter().position(|way| way.0 == "xargs");
    for ((name, ..), rate) in ways.iter().zip(&rates) {
        let over = ratio(Some(rate), xargs.map(|index| &rates[index]));
        table.row(*name, &[rate, &shown(over)]);
        figures.add(format!("{name}: commands/s"), rate.clone());
        if *name == "argon map" {
            figures.add("map over xargs", over);
        }
    }
    table.print();
    println!();
    Ok(())
}

/// So many of the items, as a file without a name that ends with its handle.
fn file(items: &str, count: usize) -> Result<File, Problem> {
    let path = std::env::temp_dir().join(format!("argon-bench-items-{}", std::process::id()));
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(&path)?;
    fs::remove_file(path)?;
    for line in items.lines().take(count) {
        writeln!(file, "{line}")?;
    }
    file.rewind()?;
    Ok(file)
}

/// Tasks of no time, queued ahead in two children as their measured service time asks.
fn ahead(settings: &Settings, programs: &Programs, figures: &mut Figures) -> Result<(), Problem> {
    let systems = [System::LeastChildren(2, 64), System::Pool(2)];
    let lanes = by_turns(settings, programs, &systems, IN_FLIGHT, Duration::ZERO)?;
    let mut table = Table::new(&["no-op tasks through 2 children", "tasks/s", "of the floor"]);
    for lane in &lanes {
        let rate = &lane.measured.rate;
        let over = ratio(Some(rate), of(&lanes, systems[0]).map(|floor| &floor.rate));
        table.row(lane.system.name(), &[rate, &shown(over)]);
        if lane.system == systems[1] {
            figures.add("pool over the floor", over);
            figures.add("round trips/s through 2 children", rate.clone());
        }
    }
    table.print();
    println!();
    Ok(())
}

/// Tasks that are too long to be queued in a child: what is lost between two of them.
fn strict(settings: &Settings, programs: &Programs, figures: &mut Figures) -> Result<(), Problem> {
    let mut table = Table::new(&[
        "one task of 2 ms a child",
        "tasks/s",
        "lost us/task",
        "of the floor",
    ]);
    for children in [2, 8] {
        let systems = [
            System::LeastChildren(children, 1),
            System::Pool(children as u32),
        ];
        let lanes = by_turns(settings, programs, &systems, IN_FLIGHT, LONG)?;
        // A child has a task every so often; what is not the task's own time is lost.
        let lost = |system| {
            let measured = of(&lanes, system)?;
            let turn = children as f64 / measured.rate.median();
            Some((turn - measured.waited.median()) * 1e6)
        };
        let floor = lost(systems[0]).unwrap_or(f64::NAN);
        for lane in &lanes {
            let lost = lost(lane.system).unwrap_or(f64::NAN);
            let rate = &lane.measured.rate;
            table.row(
                lane.system.name(),
                &[rate, &shown(lost), &shown(lost / floor)],
            );
            if lane.system == systems[1] {
                figures.add(format!("strict pool of {children}"), lost / floor);
            }
            figures.add(format!("{}: lost us a task", lane.system.name()), lost);
        }
    }
    table.print();
    println!();
    Ok(())
}
