//! More tasks than the cluster can run, and back.

mod rows;

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::Problem;
use crate::argon_side::{Load, Phase};
use crate::process::{READY, SLACK};
use crate::report::{Figures, Table, shown};
use crate::settings::Settings;
use crate::systems::Programs;
use sim::chart::{Band, Chart, Curve, Panel, Scale};

use self::rows::{Rows, Select};
use super::memory::wait_queued;

const WORKERS: usize = 8;
const SLOTS: usize = 8;
const TASK: Duration = Duration::from_millis(10);
/// The bound of the queue: a fifth of a second of work.
const BOUND: usize = 1_280;
/// A bound that is never reached.
const NO_BOUND: usize = 10_000_000;
/// Important tasks, as a share of what can be run: few, since the others wait for them too.
const IMPORTANT: f64 = 0.01;
const CLIENTS: usize = 8;
/// How often the manager is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// What can be run in a second.
fn capacity() -> f64 {
    (WORKERS * SLOTS) as f64 / TASK.as_secs_f64()
}

/// What the manager said at a time.
struct Look {
    seconds: f64,
    queued: u64,
    rejected: u64,
}

/// A run: what became of the tasks, and how the manager was meanwhile.
struct Run {
    rows: Rows,
    looks: Vec<Look>,
}

pub(super) fn run(settings: &Settings, programs: &Programs) -> Result<Figures, Problem> {
    let phases: &[(f64, f64)] = match settings.quick {
        true => &[(0.5, 0.5), (5.0, 0.5), (0.5, 0.5)],
        false => &[
            (0.5, 4.0),
            (1.0, 3.0),
            (2.0, 3.0),
            (5.0, 4.0),
            (10.0, 4.0),
            (0.5, 8.0),
        ],
    };
    let phase = |&(times, seconds)| Phase { times, seconds };
    let load = |held| Load {
        clients: CLIENTS,
        capacity: capacity(),
        wait: TASK,
        held,
        important: IMPORTANT,
        phases: phases.iter().map(phase).collect(),
    };
    // Beyond what the manager and the workers hold, clients hold a fortieth of the bound, so that
    // there is always somebody who is refused and comes again. What they hold has to be run after
    // the spike as well.
    let held = BOUND + WORKERS * SLOTS + BOUND / 40;
    let bounded = once(programs, &load(held), BOUND)?;
    let unbounded = once(programs, &load(NO_BOUND), NO_BOUND)?;
    let mut figures = Figures::default();
    for (name, run) in [("bounded", &bounded), ("unbounded", &unbounded)] {
        println!("{name} queue, {} tasks/s can be run\n", shown(capacity()));
        phases_table(&load(held), run).print();
        println!();
    }
    judge(&load(held), &bounded, &unbounded, &mut figures);
    picture(settings, &load(held), &bounded, &unbounded)?;
    rejections(settings, programs, &mut figures)?;
    Ok(figures)
}

/// Runs the load against a manager with such a bound.
fn once(programs: &Programs, load: &Load, bound: usize) -> Result<Run, Problem> {
    let bound = bound.to_string();
    let server = programs.manager(&["--queue-size", &bound, "--client-tasks", &bound])?;
    let (workers, slots) = (WORKERS.to_string(), SLOTS.to_string());
    let _workers = programs.part(&["argon-waiters", &server.address, &workers, &slots])?;
    server.wait_capacity((WORKERS * SLOTS) as u64)?;
    let json = load.json().to_string();
    let open = programs.part(&["argon-open", &server.address, &json])?;
    open.wait_for("begin", READY)?;
    let begun = Instant::now();
    let mut looks = Vec::new();
    while begun.elapsed().as_secs_f64() < load.span() {
        let manager = server.status()?.manager;
        looks.push(Look {
            seconds: begun.elapsed().as_secs_f64(),
            queued: manager.queued,
            rejected: manager.rejected,
        });
        sleep(LOOK);
    }
    let mut rows = Rows::default();
    loop {
        let line = open.line(SLACK)?;
        if line == "end" {
            break;
        }
        rows.take(&line)?;
    }
    Ok(Run { rows, looks })
}

/// Each phase with its beginning and its end.
fn spans(load: &Load) -> impl Iterator<Item = (Phase, f64, f64)> + '_ {
    let mut from = 0.0;
    load.phases.iter().map(move |phase| {
        let begun = from;
        from += phase.seconds;
        (*phase, begun, from)
    })
}

fn phases_table(load: &Load, run: &Run) -> Table {
    let mut table = Table::new(&[
        "offered",
        "goodput/s",
        "of capacity",
        "refused/s",
        "turned away/s",
        "admitted p50 ms",
        "p99 ms",
        "high p99 ms",
        "end to end p99 ms",
    ]);
    for (phase, from, to) in spans(load) {
        let rows = &run.rows;
        let goodput = rows.goodput(from, to);
        let refused = rejected_at(run, to) - rejected_at(run, from);
        let ms = |latency: Option<f64>| shown(latency.unwrap_or(f64::NAN) * 1e3);
        let admitted = rows.latencies(Select::Admitted, from, to);
        let high = rows.latencies(Select::Important, from, to);
        let all = rows.latencies(Select::EndToEnd, from, to);
        table.row(
            format!("{}x for {} s", phase.times, phase.seconds),
            &[
                &shown(goodput),
                &shown(goodput / load.capacity),
                &shown(refused / phase.seconds),
                &shown(rows.turned_away(from, to) / phase.seconds),
                &ms(admitted.quantile(0.5)),
                &ms(admitted.quantile(0.99)),
                &ms(high.quantile(0.99)),
                &ms(all.quantile(0.99)),
            ],
        );
    }
    table
}

/// Rejections until then.
fn rejected_at(run: &Run, seconds: f64) -> f64 {
    let before = run.looks.iter().take_while(|look| look.seconds <= seconds);
    before.last().map_or(0.0, |look| look.rejected as f64)
}

/// The figures that say whether overload is handled.
fn judge(load: &Load, bounded: &Run, unbounded: &Run, figures: &mut Figures) {
    let mut table = Table::new(&["in the spike and after it", "bounded", "unbounded"]);
    let (quiet_from, quiet_to) = (0.0, load.phases[0].seconds);
    let span = BOUND as f64 / load.capacity;
    let mut both = |name: &str, key: &str, figure: &dyn Fn(&Run) -> f64| {
        let (this, that) = (figure(bounded), figure(unbounded));
        table.row(name, &[&shown(this), &shown(that)]);
        figures.add(key, this);
        figures.add(format!("{key}, unbounded"), that);
    };
    for (phase, from, to) in spans(load).filter(|(phase, ..)| phase.times >= 5.0) {
        let times = phase.times;
        both(
            &format!("goodput at {times}x over capacity"),
            &format!("goodput at {times}x"),
            // The first moments of a phase still belong to the one before.
            &|run| run.rows.goodput(from + span.min(phase.seconds / 2.0), to) / load.capacity,
        );
    }
    let spike = |select| {
        move |run: &Run| {
            let mut spans = spans(load).filter(|(phase, ..)| phase.times >= 5.0);
            let (_, from, mut to) = spans.next()?;
            if let Some((_, _, later)) = spans.last() {
                to = later;
            }
            run.rows.latencies(select, from, to).quantile(0.99)
        }
    };
    both(
        "p99 of admitted tasks over (bound / capacity + task)",
        "admitted p99",
        &|run| spike(Select::Admitted)(run).unwrap_or(f64::NAN) / (span + TASK.as_secs_f64()),
    );
    both(
        "high priority, p99 over that without load",
        "high p99",
        &|run| {
            let quiet = run.rows.latencies(Select::Important, quiet_from, quiet_to);
            let quiet = quiet.quantile(0.99).unwrap_or(f64::NAN);
            spike(Select::Important)(run).unwrap_or(f64::NAN) / quiet
        },
    );
    let end = load.span() - load.phases[load.phases.len() - 1].seconds;
    both(
        "back to 2x of the latency before, in bound / capacity",
        "recovery",
        &|run| {
            let quiet = run.rows.latencies(Select::EndToEnd, quiet_from, quiet_to);
            let limit = 2.0 * quiet.quantile(0.5).unwrap_or(f64::NAN);
            let back = run.rows.back_below(limit, end, load.span(), load.capacity);
            back.map_or(f64::INFINITY, |back| (back - end) / span)
        },
    );
    table.print();
    println!("(\"-\": not within the run)\n");
}

fn picture(
    settings: &Settings,
    load: &Load,
    bounded: &Run,
    unbounded: &Run,
) -> Result<(), Problem> {
    let part = (load.span() / 120.0).max(0.05);
    let count = (load.span() / part) as usize;
    let points = |figure: &dyn Fn(f64, f64) -> Option<f64>| {
        let point = |index: usize| {
            let from = index as f64 * part;
            Some((from + part / 2.0, figure(from, from + part)?))
        };
        (0..count).filter_map(point).collect::<Vec<_>>()
    };
    let mut panels = Vec::new();
    for (name, run) in [("bounded queue", bounded), ("unbounded queue", unbounded)] {
        let rows = &run.rows;
        panels.push(Panel {
            title: format!("{name}: tasks a second"),
            label: plain,
            scale: Scale::Linear(None),
            curves: vec![
                line(
                    "offered, to 2x",
                    "grey",
                    points(&|from, to| {
                        Some((rows.offered(from, to) / part).min(2.0 * load.capacity))
                    }),
                ),
                line(
                    "goodput",
                    "blue",
                    points(&|from, to| Some(rows.goodput(from, to))),
                ),
            ],
        });
        let latency = |select, share| {
            points(&|from, to| {
                rows.latencies(select, from, to)
                    .quantile(share)
                    .map(|s| s * 1e3)
            })
        };
        panels.push(Panel {
            title: format!("{name}: end to end latency of what completed"),
            label: |value| format!("{value} ms"),
            scale: Scale::Log,
            curves: vec![
                line("all, 99%", "amber", latency(Select::EndToEnd, 0.99)),
                line("all, median", "blue", latency(Select::EndToEnd, 0.5)),
                line(
                    "high priority, 99%",
                    "red",
                    latency(Select::Important, 0.99),
                ),
            ],
        });
        panels.push(Panel {
            title: format!("{name}: tasks that wait at the manager"),
            label: plain,
            scale: Scale::Linear(None),
            curves: vec![line(
                "queued",
                "grey",
                run.looks
                    .iter()
                    .map(|look| (look.seconds, look.queued as f64))
                    .collect(),
            )],
        });
    }
    let band = |(index, (phase, from, to)): (usize, (Phase, f64, f64))| Band {
        from,
        to,
        colour: (index % 2 == 0).then_some("amber"),
        name: format!("{}x", phase.times),
    };
    let chart = Chart {
        title: "Overload, and what is left of it".to_owned(),
        more: format!(
            "{} slots of {} ms tasks; a queue of {BOUND} above, an unbounded one below",
            WORKERS * SLOTS,
            TASK.as_millis()
        ),
        until: load.span(),
        bands: spans(load).enumerate().map(band).collect(),
        panels,
    };
    fs::create_dir_all(&settings.pictures)?;
    let file = settings.pictures.join("overload.svg");
    fs::write(&file, chart.svg())?;
    println!("drawn into {}\n", file.display());
    Ok(())
}

/// What a refusal costs the manager, next to a task that is run.
fn rejections(
    settings: &Settings,
    programs: &Programs,
    figures: &mut Figures,
) -> Result<(), Problem> {
    let micros = settings.span.as_micros().to_string();
    let server = programs.manager(&["--queue-size", "64"])?;
    let _stuck = programs.part(&["argon-waiters", &server.address, "1", "1"])?;
    server.wait_capacity(1)?;
    let _queue = programs.part(&["argon-fill", &server.address, "200"])?;
    wait_queued(&server, 64)?;
    let idle = programs.manager(&["--queue-size", "100000"])?;
    let _worker = programs.part(&["argon-worker", &idle.address, "2"])?;
    idle.wait_capacity(2)?;
    let (mut refused, mut completed) = (Default::default(), Default::default());
    let samples: [&mut crate::report::Samples; 2] = [&mut refused, &mut completed];
    for _ in 0..settings.reps {
        for (index, (server, part, count)) in [
            (&server, "argon-flood", "refused"),
            (&idle, "argon-client", "all"),
        ]
        .into_iter()
        .enumerate()
        {
            let before = server.process.cpu()?;
            let load = programs.part(&[part, &server.address, "1000", &micros, "0"])?;
            let report = load.report(settings.span + SLACK)?;
            let spent = server.process.cpu()? - before;
            let count = report[count].as_f64().unwrap_or(f64::NAN);
            samples[index].add(spent.as_secs_f64() * 1e6 / count);
        }
    }
    let over = refused.median() / completed.median();
    let mut table = Table::new(&["1,000 in flight", "manager us"]);
    table.row("a task that is refused", &[&refused]);
    table.row("a task that is completed", &[&completed]);
    table.row("ratio", &[&shown(over)]);
    table.print();
    figures.add("manager us a rejection", refused);
    figures.add("rejection over completion", over);
    Ok(())
}

fn plain(value: f64) -> String {
    value.to_string()
}

fn line(name: &'static str, colour: &'static str, points: Vec<(f64, f64)>) -> Curve {
    Curve {
        name,
        colour,
        filled: false,
        points,
    }
}
