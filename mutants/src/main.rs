//! `mutants`: changes one decision of core at a time and asks whether a test notices.
//!
//! All mutants are compiled into one copy of the workspace; an environment variable switches one
//! on. So the sources are built once, and a mutant costs no more than the tests that reach it.
//!
//! ```text
//! mutants run [PART..] [--fresh] [--only core|sim] [--threads N] [--shard I/N]
//! mutants report [PART..]    what the last runs gave
//! mutants list [PART..]      every mutant
//! mutants how ID TEST        the command that shows what mutant ID does to a test
//! ```
//!
//! A part is the beginning of a path below `core/src`: `queue`, `worker/pool`.

mod edit;
mod find;
mod judge;
mod operators;
mod report;
mod results;
mod scratch;
mod walk;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use find::Mutant;
use judge::{End, Test};
use results::{Results, Verdict};
use scratch::Scratch;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match command(&arguments) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(open) => {
            println!("{open} survivors are not explained");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

struct Choice {
    parts: Vec<String>,
    fresh: bool,
    /// Ask only the tests whose names begin so.
    only: String,
    threads: usize,
    shard: (usize, usize),
}

impl Choice {
    fn parse(arguments: &[String]) -> io::Result<Self> {
        let mut choice = Self {
            parts: Vec::new(),
            fresh: false,
            only: String::new(),
            threads: 2,
            shard: (0, 1),
        };
        let wrong = |what: &str| io::Error::other(format!("{what}: not understood"));
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--fresh" => choice.fresh = true,
                "--only" => choice.only = arguments.next().cloned().unwrap_or_default(),
                "--threads" => {
                    let number = arguments.next().and_then(|text| text.parse().ok());
                    choice.threads = number.ok_or_else(|| wrong("--threads"))?;
                }
                "--shard" => {
                    let parts = arguments.next().and_then(|text| text.split_once('/'));
                    let (index, of) = parts.ok_or_else(|| wrong("--shard"))?;
                    let parsed = index.parse().ok().zip(of.parse().ok());
                    let shard: (usize, usize) = parsed.ok_or_else(|| wrong("--shard"))?;
                    if shard.0 >= shard.1 {
                        return Err(wrong("--shard"));
                    }
                    choice.shard = shard;
                }
                other if other.starts_with('-') => return Err(wrong(other)),
                part => choice.parts.push(part.to_owned()),
            }
        }
        Ok(choice)
    }

    /// The first part that the mutant belongs to: parts are judged in the order given.
    fn place(&self, mutant: &Mutant) -> Option<usize> {
        let is_in = |part: &String| mutant.file.starts_with(part.as_str());
        self.parts.iter().position(is_in)
    }

    fn wants(&self, mutant: &Mutant) -> bool {
        self.parts.is_empty() || self.place(mutant).is_some()
    }
}

fn command(arguments: &[String]) -> io::Result<usize> {
    let usage = "usage: mutants run|report|list|how; see the beginning of mutants/src/main.rs";
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()?;
    let (verb, rest) = arguments.split_first().ok_or(io::Error::other(usage))?;
    let mut scratch = Scratch::find(&root)?;
    match verb.as_str() {
        "run" => run(&mut scratch, &Choice::parse(rest)?),
        "report" => {
            let choice = Choice::parse(rest)?;
            scratch.recall_unviable();
            let results = Results::load(&scratch.folder);
            Ok(report::print(&scratch, &results, |mutant| {
                choice.wants(mutant)
            }))
        }
        "list" => {
            let choice = Choice::parse(rest)?;
            for mutant in scratch.mutants.iter().filter(|mutant| choice.wants(mutant)) {
                println!("{}: line {}: {}", mutant.id, mutant.line, mutant.key());
            }
            Ok(0)
        }
        "how" => {
            let [id, wanted @ ..] = rest else {
                return Err(io::Error::other(usage));
            };
            let id = id.parse().map_err(|_| io::Error::other(usage))?;
            scratch.prepare()?;
            let binaries = scratch.build()?;
            let wanted = wanted.join(" ");
            for test in judge::tests(&scratch, binaries)? {
                if test.reaches.contains(&id) && test.name.contains(&wanted) {
                    println!("{}: {}", test.name, test.command(id));
                }
            }
            Ok(0)
        }
        _ => Err(io::Error::other(usage)),
    }
}

fn run(scratch: &mut Scratch, choice: &Choice) -> io::Result<usize> {
    let started = Instant::now();
    scratch.prepare()?;
    let binaries = scratch.build()?;
    println!("built after {} s", started.elapsed().as_secs());
    let tests = judge::tests(scratch, binaries)?;
    println!(
        "{} tests, {} ms together; covered after {} s",
        tests.len(),
        tests.iter().map(|test| test.millis).sum::<u64>(),
        started.elapsed().as_secs()
    );
    let mut results = Results::load(&scratch.folder);
    if choice.fresh {
        results.forget()?;
    }
    let explained = report::explained(&scratch.root);
    // What was killed stays killed; what is explained is asked again only from the beginning.
    let is_open = |mutant: &Mutant| {
        let known = results.all.get(&mutant.key());
        let survived = known.is_some_and(|(verdict, _)| !verdict.is_killed());
        known.is_none() || survived && !explained.contains(&mutant.key())
    };
    let (index, of) = choice.shard;
    let mut open: Vec<&Mutant> = scratch
        .mutants
        .iter()
        .filter(|mutant| choice.wants(mutant) && !scratch.unviable.contains(&mutant.id))
        .filter(|mutant| mutant.id as usize % of == index && is_open(mutant))
        .collect();
    open.sort_by_key(|mutant| choice.place(mutant));
    let slowest: Vec<String> = {
        let mut slow: Vec<&Test> = tests.iter().collect();
        slow.sort_by_key(|test| std::cmp::Reverse(test.millis));
        let show = |test: &&Test| format!("{} ({} ms)", test.name, test.millis);
        slow.iter().take(12).map(show).collect()
    };
    println!("slowest: {}", slowest.join(", "));
    println!("{} mutants to judge", open.len());
    let tests: Vec<Test> = tests
        .into_iter()
        .filter(|test| test.name.starts_with(&choice.only))
        .collect();
    judge_all(&open, &tests, choice.threads, Mutex::new(results), started)?;
    let results = Results::load(&scratch.folder);
    Ok(report::print(scratch, &results, |mutant| {
        choice.wants(mutant)
    }))
}

fn judge_all(
    open: &[&Mutant],
    tests: &[Test],
    threads: usize,
    results: Mutex<Results>,
    started: Instant,
) -> io::Result<()> {
    let next = AtomicUsize::new(0);
    let mut known = Kills::new();
    for (key, (verdict, by)) in &results.lock().expect("no thread panics").all {
        if let (true, Some((file, _))) = (verdict.is_killed(), key.split_once(" | ")) {
            *known.entry((file.to_owned(), by.clone())).or_default() += 1;
        }
    }
    let kills = Mutex::new(known);
    let work = || -> io::Result<()> {
        while let Some(mutant) = open.get(next.fetch_add(1, Ordering::Relaxed)) {
            let order = order(mutant, tests, &kills.lock().expect("no thread panics"));
            let (verdict, by) = judge_one(mutant, &order)?;
            if verdict.is_killed() {
                let mut kills = kills.lock().expect("no thread panics");
                *kills
                    .entry((mutant.file.clone(), by.to_owned()))
                    .or_default() += 1;
            }
            let mut results = results.lock().expect("no thread panics");
            results.add(mutant.key(), verdict, by)?;
            let done = next.load(Ordering::Relaxed).min(open.len());
            if done.is_multiple_of(100) {
                let seconds = started.elapsed().as_secs();
                println!("{done} of {} after {seconds} s", open.len());
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            thread.join().expect("no thread panics")?;
        }
        Ok(())
    })
}

/// How many mutants of a file each test has killed.
type Kills = BTreeMap<(String, String), u64>;

/// The tests that reach a mutant: core's before simulations, and first whatever kills most of
/// its kind in the least time.
fn order<'a>(mutant: &Mutant, tests: &'a [Test], kills: &Kills) -> Vec<&'a Test> {
    let mut order: Vec<&Test> = tests
        .iter()
        .filter(|test| test.reaches.contains(&mutant.id))
        .collect();
    order.sort_by_key(|test| {
        let killed = kills
            .get(&(mutant.file.clone(), test.name.clone()))
            .copied();
        let cost = 1_000 * (test.millis + 10) / (1 + killed.unwrap_or(0));
        (test.is_simulation(), cost)
    });
    order
}

/// Asks tests one after the other until one fails.
fn judge_one<'a>(mutant: &Mutant, tests: &[&'a Test]) -> io::Result<(Verdict, &'a str)> {
    let mut verdict = Verdict::NotReached;
    for test in tests {
        verdict = match test.run(mutant.id)? {
            End::Passed => Verdict::Survived,
            End::TimedOut => Verdict::TimedOut,
            End::Failed if test.is_simulation() => Verdict::Simulation,
            End::Failed => Verdict::Core,
        };
        if verdict.is_killed() {
            return Ok((verdict, &test.name));
        }
    }
    Ok((verdict, ""))
}
