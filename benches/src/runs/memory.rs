//! What a manager keeps in memory.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::Problem;
use crate::process::{Process, READY, SLACK};
use crate::report::{Figures, Samples, Table, shown};
use crate::settings::Settings;
use crate::systems::{Programs, Server};

const MIB: f64 = 1024.0 * 1024.0;
/// Memory is read when it has not changed for this long.
const STILL: Duration = Duration::from_millis(300);

pub(super) fn run(settings: &Settings, programs: &Programs) -> Result<Figures, Problem> {
    let mut figures = Figures::default();
    let mut table = Table::new(&["a manager's resident memory", "MiB", "bytes each"]);
    let mut idle = Samples::default();
    for _ in 0..settings.reps {
        let server = programs.manager(&[])?;
        idle.add(settled(&server.process)? as f64 / MIB);
    }
    table.row("idle", &[&idle]);
    figures.add("idle MiB", idle);
    let queued: &[usize] = match settings.quick {
        true => &[1_000],
        false => &[100_000, 1_000_000],
    };
    for &tasks in queued {
        let (mut all, mut each) = (Samples::default(), Samples::default());
        let reps = if tasks > 100_000 { 1 } else { settings.reps };
        for _ in 0..reps {
            let (before, after) = fill(programs, tasks)?;
            all.add(after as f64 / MIB);
            each.add(after.saturating_sub(before) as f64 / tasks as f64);
        }
        table.row(format!("{tasks} tasks of 64 bytes queued"), &[&all, &each]);
        figures.add(format!("bytes a task, {tasks} queued"), each);
    }
    let connections: &[usize] = match settings.quick {
        true => &[100],
        false => &[1_000, 10_000],
    };
    for &count in connections {
        let server = programs.manager(&[])?;
        let before = settled(&server.process)?;
        let number = count.to_string();
        let idle = programs.part(&["argon-idle", &server.address, &number])?;
        if let Err(problem) = idle.wait_for("connected", SLACK) {
            println!("{count} connections: {problem}; is the limit on open files too low?");
            continue;
        }
        let after = settled(&server.process)?;
        let each = after.saturating_sub(before) as f64 / count as f64;
        let all = after as f64 / MIB;
        table.row(
            format!("{count} idle connections"),
            &[&shown(all), &shown(each)],
        );
        figures.add(format!("MiB with {count} connections"), all);
        figures.add(format!("bytes a connection, {count}"), each);
    }
    table.print();
    Ok(figures)
}

/// Memory before and after so many tasks are queued, behind one that does not end.
fn fill(programs: &Programs, tasks: usize) -> Result<(u64, u64), Problem> {
    let room = (tasks + 1_000).to_string();
    let options = ["--queue-size", &room, "--client-tasks", &room];
    let server = programs.manager(&options)?;
    let _worker = programs.part(&["argon-waiters", &server.address, "1", "1"])?;
    server.wait_capacity(1)?;
    let before = settled(&server.process)?;
    let number = tasks.to_string();
    let load = programs.part(&["argon-fill", &server.address, &number])?;
    load.wait_for("submitted", SLACK)?;
    wait_queued(&server, tasks as u64 - 1)?;
    Ok((before, settled(&server.process)?))
}

/// Waits until so many tasks are queued.
pub(super) fn wait_queued(server: &Server, tasks: u64) -> Result<(), Problem> {
    server.wait("all tasks", SLACK, |status| status.manager.queued >= tasks)
}

/// Resident memory when it has come to rest.
fn settled(process: &Process) -> Result<u64, Problem> {
    let until = Instant::now() + READY;
    let mut memory = process.memory()?;
    while Instant::now() < until {
        sleep(STILL);
        let now = process.memory()?;
        if now == memory {
            break;
        }
        memory = now;
    }
    Ok(memory)
}
