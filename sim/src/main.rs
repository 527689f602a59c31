//! `sim`: hunts for seeds that break a promise, and replays them.
//!
//! ```text
//! sim replay SEED|FILE [--trace] [--minimise] [--save FILE]
//! sim swarm [--minutes N] [--seeds N] [--from SEED]
//! sim explore [--variant NAME] [--depth N] [--faults N] [--ticks N] [--replay CHOICES]
//! ```

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sim::explore::{Limits, Variant, explore};
use sim::minimise::minimise;
use sim::{Failure, Plan, Report, Trace, run};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.first().map(String::as_str) {
        Some("replay") => replay(&arguments[1..]),
        Some("swarm") => swarm(&arguments[1..]),
        Some("explore") => explored(&arguments[1..]),
        _ => Err(
            "usage: sim replay SEED|FILE [--trace] [--minimise] [--save FILE]\n       \
             sim swarm [--minutes N] [--seeds N] [--from SEED]\n       \
             sim explore [--variant NAME] [--depth N] [--faults N] [--ticks N] [--replay CHOICES]"
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
    let mut plan = match what.parse() {
        Ok(seed) => Plan::from_seed(seed),
        Err(_) => {
            let text = std::fs::read_to_string(what).map_err(|error| format!("{what}: {error}"))?;
            serde_json::from_str(&text).map_err(|error| format!("{what}: {error}"))?
        }
    };
    let flag = |name: &str| arguments.iter().any(|argument| argument == name);
    let mut trace = Trace::on();
    let mut report = run(&plan, &mut trace);
    if let Some(failure) = &report.failure
        && flag("--minimise")
    {
        plan = minimise(&plan, failure);
        trace = Trace::on();
        report = run(&plan, &mut trace);
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
    println!("{}", explain(&plan, failure, &trace, !flag("--trace")));
    Ok(ExitCode::from(failure.class.exit_code()))
}

/// Goes through all that can happen in a small world; see `sim::explore`.
fn explored(arguments: &[String]) -> Result<ExitCode, String> {
    let limit = |name, default| {
        number(arguments, name).map(|given| given.map_or(default, |given| given as u32))
    };
    let limits = Limits {
        depth: limit("--depth", 12)?,
        faults: limit("--faults", 1)?,
        ticks: limit("--ticks", 2)?,
    };
    let wanted = option(arguments, "--variant");
    let mut variants = Variant::ALL.to_vec();
    if let Some(name) = wanted {
        variants.retain(|(known, _)| *known == name);
        if variants.is_empty() {
            let names = Variant::ALL.map(|(name, _)| name).join(", ");
            return Err(format!("--variant: one of {names}"));
        }
    }
    if let Some(path) = option(arguments, "--replay") {
        let path = path.split(',').map(str::parse);
        let path = path.collect::<Result<Vec<_>, String>>()?;
        let (trace, wrong) = sim::explore::replay(variants[0].1, &path);
        println!("{trace}");
        return Ok(match wrong {
            None => ExitCode::SUCCESS,
            Some(text) => {
                println!("{text}");
                ExitCode::from(10)
            }
        });
    }
    for (name, variant) in variants {
        let started = Instant::now();
        match explore(variant, limits) {
            Ok(counts) => println!("{name}: {counts}, {:.1?}", started.elapsed()),
            Err(found) => {
                let path: Vec<String> = found.path.iter().map(ToString::to_string).collect();
                println!(
                    "{name}: {found}\n  replay: cargo run -p sim -- explore --variant {name} \
                     --replay {}",
                    path.join(",")
                );
                return Ok(ExitCode::from(10));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn explain(plan: &Plan, failure: &Failure, trace: &Trace, timeline: bool) -> String {
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
        "  replay: cargo run -p sim -- replay {} --trace",
        plan.seed
    );
    text
}

struct Hunt {
    next: AtomicU64,
    runs: AtomicU64,
    total: Mutex<Report>,
    failures: Mutex<Vec<(u64, Failure)>>,
}

fn swarm(arguments: &[String]) -> Result<ExitCode, String> {
    let minutes = number(arguments, "--minutes")?;
    let seeds = number(arguments, "--seeds")?;
    let from = number(arguments, "--from")?.unwrap_or(0);
    let threads = number(arguments, "--threads")?.unwrap_or(2);
    let started = Instant::now();
    let limit = match (minutes, seeds) {
        (None, None) => Some(Duration::from_secs(60)),
        (minutes, _) => minutes.map(|minutes| Duration::from_secs(60 * minutes)),
    };
    let hunt = Hunt {
        next: AtomicU64::new(from),
        runs: AtomicU64::new(0),
        total: Mutex::new(Report::default()),
        failures: Mutex::new(Vec::new()),
    };
    let more = || {
        limit.is_none_or(|limit| started.elapsed() < limit)
            && seeds.is_none_or(|seeds| hunt.next.load(Ordering::Relaxed) < from + seeds)
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
    failures.sort_by_key(|(seed, _)| *seed);
    for (seed, failure) in failures.iter().take(40) {
        println!("seed {seed}: {failure}");
    }
    println!("{} failures", failures.len());
    Ok(match failures.first() {
        None => ExitCode::SUCCESS,
        Some((_, failure)) => ExitCode::from(failure.class.exit_code()),
    })
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn one(hunt: &Hunt) {
    let seed = hunt.next.fetch_add(1, Ordering::Relaxed);
    let report = sim::run_seed(seed);
    hunt.runs.fetch_add(1, Ordering::Relaxed);
    if let Some(failure) = &report.failure {
        eprintln!("seed {seed}: {failure}");
        lock(&hunt.failures).push((seed, failure.clone()));
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
