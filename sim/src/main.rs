//! `sim`: hunts for seeds that break a promise, and replays them.
//!
//! ```text
//! sim replay SEED|FILE [--level fast|turmoil] [--trace] [--minimise] [--save FILE]
//! sim swarm [--level fast|turmoil|both] [--minutes N] [--seeds N] [--from SEED]
//! sim explore [--depth N] [--faults N] [--world NAME] [--follow up0,down1,...]
//! ```

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sim::minimise::minimise_by;
use sim::{Failure, Level, Plan, Report, Trace};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.first().map(String::as_str) {
        Some("replay") => replay(&arguments[1..]),
        Some("swarm") => swarm(&arguments[1..]),
        Some("explore") => sim::explore::command::run(&arguments[1..]),
        _ => Err(
            "usage: sim replay SEED|FILE [--level fast|turmoil] [--trace] [--minimise] \
             [--save FILE]\n       \
             sim swarm [--level fast|turmoil|both] [--minutes N] [--seeds N] [--from SEED]"
                .to_owned(),
        ),
    };
    result.unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::from(2)
    })
}

fn option<'a>(arguments: &'a [String], name: &str) -> Option<&'a str> {
    let place = arguments.iter().position(|argument| argument == name)?;
    arguments.get(place + 1).map(String::as_str)
}

fn number(arguments: &[String], name: &str) -> Result<Option<u64>, String> {
    option(arguments, name)
        .map(|text| {
            text.parse()
                .map_err(|_| format!("{name}: not a number: {text}"))
        })
        .transpose()
}

fn replay(arguments: &[String]) -> Result<ExitCode, String> {
    let what = arguments.first().ok_or("replay: which seed or file?")?;
    let level = match option(arguments, "--level") {
        None => Level::Fast,
        Some(name) => Level::named(name).ok_or(format!("--level: not a level: {name}"))?,
    };
    let mut plan = match what.parse() {
        Ok(seed) => level.plan(seed),
        Err(_) => {
            let text = std::fs::read_to_string(what).map_err(|error| format!("{what}: {error}"))?;
            serde_json::from_str(&text).map_err(|error| format!("{what}: {error}"))?
        }
    };
    let flag = |name: &str| arguments.iter().any(|argument| argument == name);
    let mut trace = Trace::on();
    let mut report = level.run(&plan, &mut trace);
    if let Some(failure) = &report.failure
        && flag("--minimise")
    {
        plan = minimise_by(&plan, failure, &|plan| level.run(plan, &mut Trace::off()));
        trace = Trace::on();
        report = level.run(&plan, &mut trace);
    }
    if let Some(file) = option(arguments, "--save") {
        let text = serde_json::to_string(&plan).map_err(|error| error.to_string())?;
        std::fs::write(file, text + "\n").map_err(|error| format!("{file}: {error}"))?;
    }
    if flag("--trace") {
        print!("{}", trace.render());
    }
    let Some(failure) = &report.failure else {
        println!("{}", summary(&report, 1));
        return Ok(ExitCode::SUCCESS);
    };
    println!(
        "{}",
        explain(level, &plan, failure, &trace, !flag("--trace"))
    );
    Ok(ExitCode::from(failure.class.exit_code()))
}

fn explain(level: Level, plan: &Plan, failure: &Failure, trace: &Trace, timeline: bool) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    if timeline {
        let _ = writeln!(text, "{}", trace.around(failure.task, 60));
    }
    let _ = writeln!(text, "seed {}: {failure}", plan.seed);
    let _ = writeln!(
        text,
        "  {} faults, {} tasks; {:?}",
        plan.faults.len(),
        plan.tasks.len(),
        plan.options
    );
    let _ = write!(
        text,
        "  replay: cargo run -p sim -- replay {} --level {} --trace",
        plan.seed,
        level.name()
    );
    text
}

/// Seeds at one level, of which each thread takes the next.
struct Hunt {
    levels: Vec<Level>,
    from: u64,
    next: AtomicU64,
    runs: AtomicU64,
    total: Mutex<Report>,
    failures: Mutex<Vec<(u64, Level, Failure)>>,
}

fn swarm(arguments: &[String]) -> Result<ExitCode, String> {
    let minutes = number(arguments, "--minutes")?;
    let seeds = number(arguments, "--seeds")?;
    let from = number(arguments, "--from")?.unwrap_or(0);
    let threads = number(arguments, "--threads")?.unwrap_or(2);
    let levels = match option(arguments, "--level") {
        None => vec![Level::Fast],
        Some("both") => vec![Level::Fast, Level::Turmoil],
        Some(name) => vec![Level::named(name).ok_or(format!("--level: not a level: {name}"))?],
    };
    let started = Instant::now();
    let limit = match (minutes, seeds) {
        (None, None) => Some(Duration::from_secs(60)),
        (minutes, _) => minutes.map(|minutes| Duration::from_secs(60 * minutes)),
    };
    let hunt = Hunt {
        levels,
        from,
        next: AtomicU64::new(from),
        runs: AtomicU64::new(0),
        total: Mutex::new(Report::default()),
        failures: Mutex::new(Vec::new()),
    };
    let more = || {
        limit.is_none_or(|limit| started.elapsed() < limit)
            && seeds.is_none_or(|seeds| {
                let levels = hunt.levels.len() as u64;
                hunt.next.load(Ordering::Relaxed) < from + seeds * levels
            })
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while more() {
                    one(&hunt);
                }
            });
        }
        let mut said = Instant::now();
        while more() {
            std::thread::sleep(Duration::from_millis(50));
            if said.elapsed() > Duration::from_secs(10) {
                said = Instant::now();
                let runs = hunt.runs.load(Ordering::Relaxed);
                let failures = lock(&hunt.failures).len();
                eprintln!(
                    "{} s: {runs} runs, {failures} failures",
                    started.elapsed().as_secs()
                );
            }
        }
    });
    let total = lock(&hunt.total).clone();
    let runs = hunt.runs.load(Ordering::Relaxed);
    println!("{}", summary(&total, runs));
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{:.0} runs, {:.0} tasks, {:.1}M events, {:.0} virtual s a second of real time",
        runs as f64 / seconds,
        total.submitted as f64 / seconds,
        total.events as f64 / seconds / 1e6,
        total.virtual_time as f64 / 1e9 / seconds
    );
    let mut failures = lock(&hunt.failures).clone();
    failures.sort_by_key(|(seed, ..)| *seed);
    for (seed, level, failure) in failures.iter().take(40) {
        println!("{} seed {seed}: {failure}", level.name());
    }
    println!("{} failures", failures.len());
    Ok(match failures.first() {
        None => ExitCode::SUCCESS,
        Some((.., failure)) => ExitCode::from(failure.class.exit_code()),
    })
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn one(hunt: &Hunt) {
    let number = hunt.next.fetch_add(1, Ordering::Relaxed);
    // Seeds go round the levels, so that each level sees every seed.
    let levels = hunt.levels.len() as u64;
    let level = hunt.levels[((number - hunt.from) % levels) as usize];
    let seed = hunt.from + (number - hunt.from) / levels;
    let report = level.run(&level.plan(seed), &mut Trace::off());
    hunt.runs.fetch_add(1, Ordering::Relaxed);
    if let Some(failure) = &report.failure {
        eprintln!("{} seed {seed}: {failure}", level.name());
        lock(&hunt.failures).push((seed, level, failure.clone()));
    }
    lock(&hunt.total).add(&report);
}

fn summary(report: &Report, runs: u64) -> String {
    format!(
        "{runs} runs, {:.2} virtual hours, {} tasks, {} executions, {} events\n\
         faults: {:?}\noutcomes: {:?}\nmarks: {:?}",
        report.virtual_time as f64 / 3.6e12,
        report.submitted,
        report.executions,
        report.events,
        report.faults,
        report.outcomes,
        report.marks
    )
}
