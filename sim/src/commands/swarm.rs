//! `sim swarm`: hunts for seeds that break a promise.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Args;
use sim::{Failure, Level, Report, Trace};

/// Where to hunt, and for how long.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// What is simulated: `fast`, `turmoil` or `both`.
    #[arg(long, default_value = "fast")]
    level: String,
    /// For how long; a minute if no number of seeds is said either.
    #[arg(long)]
    minutes: Option<u64>,
    /// How many seeds.
    #[arg(long)]
    seeds: Option<u64>,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Runs at once.
    #[arg(long, default_value_t = 2)]
    threads: u64,
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

/// Exits with the code of the failure of the lowest seed, if there is one.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, String> {
    let (from, seeds) = (arguments.from, arguments.seeds);
    let levels = match arguments.level.as_str() {
        "both" => vec![Level::Fast, Level::Turmoil],
        name => vec![super::level(name)?],
    };
    let started = Instant::now();
    let limit = match (arguments.minutes, seeds) {
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
        for _ in 0..arguments.threads {
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
    println!("{}", super::summary(&total, runs));
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
