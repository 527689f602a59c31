//! Runs targets with nothing but a stable toolchain:
//!
//! - `check [SECONDS [SEED]]`: all of them, on the corpus and then on new inputs for so many seconds
//!   each;
//! - `run TARGET [SECONDS [SEED]]`: one of them;
//! - `again TARGET FILE...`: on these inputs;
//! - `corpus`: writes what the targets begin with into their corpora.
//!
//! Each target runs in a process of its own, and each input is written down before it is run, so
//! that whatever the end is, a panic, too much memory or an endless loop, the input is there.

use std::env;
use std::error::Error;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use argon_fuzz::mutate::Mutator;
use argon_fuzz::{TARGETS, Target, target};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// How long one input may take: thousands of times what any does, since the host may be busy.
const INPUT_TIME: Duration = Duration::from_secs(120);
/// How long each target runs if nothing is said.
const SECONDS: u64 = 3;
/// Most inputs that `corpus` writes for a target.
const SEEDS_KEPT: usize = 16;
/// Inputs between two looks at the clock.
const BATCH: u32 = 32;

static EXECUTIONS: AtomicU64 = AtomicU64::new(0);

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Where the input is that runs now.
fn current(target: &Target) -> PathBuf {
    folder("artifacts").join(format!("{}.current", target.name))
}

/// The input that is run, on disk: its length, and its bytes.
struct Noted(File);

impl Noted {
    fn new(target: &Target) -> Outcome<Self> {
        fs::create_dir_all(folder("artifacts"))?;
        Ok(Self(File::create(current(target))?))
    }

    fn run(&self, target: &Target, input: &[u8]) -> Outcome<()> {
        self.0
            .write_all_at(&(input.len() as u64).to_le_bytes(), 0)?;
        self.0.write_all_at(input, 8)?;
        target.run(input);
        EXECUTIONS.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn read(target: &Target) -> Option<Vec<u8>> {
        let bytes = fs::read(current(target)).ok()?;
        let (length, rest) = bytes.split_first_chunk()?;
        let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        rest.get(..length).map(<[u8]>::to_vec)
    }
}

/// The corpus of a target, in an order that does not depend on the file system.
fn corpus(target: &Target) -> Outcome<Vec<Vec<u8>>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder("corpus").join(target.name))? {
        files.push(entry?.path());
    }
    files.sort();
    if files.is_empty() {
        return Err(format!("{} has no corpus", target.name).into());
    }
    let inputs = files.iter().map(fs::read);
    Ok(inputs.collect::<Result<_, _>>()?)
}

/// Ends the process when an input takes too long.
fn watch() {
    thread::spawn(|| {
        loop {
            let before = EXECUTIONS.load(Ordering::Relaxed);
            thread::sleep(INPUT_TIME);
            if EXECUTIONS.load(Ordering::Relaxed) == before {
                eprintln!("an input takes longer than {INPUT_TIME:?}");
                std::process::abort();
            }
        }
    });
}

/// Runs one target in this process.
fn inside(target: &Target, time: Duration, seed: u64) -> Outcome<()> {
    let noted = Noted::new(target)?;
    watch();
    let mut old = corpus(target)?;
    let kept = old.len();
    old.extend((target.seeds)());
    for input in &old {
        noted.run(target, input)?;
    }
    let mut mutator = Mutator::new(target, &old, seed);
    let mut input = Vec::new();
    let started = Instant::now();
    let (mut slowest, mut made) = (Duration::ZERO, 0u64);
    while started.elapsed() < time {
        let began = Instant::now();
        for _ in 0..BATCH {
            mutator.next(&mut input);
            noted.run(target, &input)?;
            made += 1;
        }
        slowest = slowest.max(began.elapsed());
    }
    println!(
        "{:10} {kept:4} of the corpus, {made:9} new ({:.0}/s; slowest {BATCH} {slowest:.1?})",
        target.name,
        made as f64 / time.as_secs_f64(),
    );
    Ok(())
}

/// Runs one target in a process of its own; false if it found something.
fn outside(target: &Target, seconds: u64, seed: u64) -> Outcome<bool> {
    let _ = fs::remove_file(current(target));
    let status = Command::new(env::current_exe()?)
        .args([
            "inside",
            target.name,
            &seconds.to_string(),
            &seed.to_string(),
        ])
        .status()?;
    let input = Noted::read(target);
    let _ = fs::remove_file(current(target));
    if status.success() {
        return Ok(true);
    }
    let Some(input) = input else {
        return Err(format!("{} could not be run: {status}", target.name).into());
    };
    let file = folder("artifacts").join(format!("{}-{seed}", target.name));
    fs::write(&file, &input)?;
    println!(
        "{} found something ({status}), seed {seed}: {} bytes in {}; repeat it with\n\
         cargo run --manifest-path fuzz/Cargo.toml -- again {} {}",
        target.name,
        input.len(),
        file.display(),
        target.name,
        file.display(),
    );
    Ok(false)
}

fn write_corpus() -> Outcome<()> {
    for target in &TARGETS {
        let folder = folder("corpus").join(target.name);
        fs::create_dir_all(&folder)?;
        let seeds = (target.seeds)();
        let step = seeds.len().div_ceil(SEEDS_KEPT);
        for (number, seed) in seeds.iter().enumerate().step_by(step) {
            fs::write(folder.join(format!("seed-{number:02}")), seed)?;
        }
    }
    Ok(())
}

fn named(name: Option<&String>) -> Outcome<&'static Target> {
    let names = TARGETS.map(|target| target.name).join(", ");
    let chosen = name.and_then(|name| target(name));
    chosen.ok_or_else(|| format!("name a target: {names}").into())
}

fn numbers(arguments: &[String]) -> Outcome<(u64, u64)> {
    let mut numbers = arguments.iter().map(|text| text.parse());
    let seconds = numbers.next().transpose()?.unwrap_or(SECONDS);
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos() as u64;
    Ok((seconds, numbers.next().transpose()?.unwrap_or(now)))
}

fn run(arguments: &[String]) -> Outcome<bool> {
    let Some((command, rest)) = arguments.split_first() else {
        return Err("say check, run, again or corpus".into());
    };
    match command.as_str() {
        "check" => {
            let (seconds, seed) = numbers(rest)?;
            println!("seed {seed}");
            let mut is_well = true;
            for target in &TARGETS {
                is_well &= outside(target, seconds, seed)?;
            }
            Ok(is_well)
        }
        "run" => {
            let target = named(rest.first())?;
            let (seconds, seed) = numbers(&rest[1..])?;
            println!("seed {seed}");
            outside(target, seconds, seed)
        }
        "inside" => {
            let target = named(rest.first())?;
            let (seconds, seed) = numbers(&rest[1..])?;
            inside(target, Duration::from_secs(seconds), seed)?;
            Ok(true)
        }
        "again" => {
            let target = named(rest.first())?;
            for file in &rest[1..] {
                target.run(&fs::read(file)?);
            }
            Ok(true)
        }
        "corpus" => write_corpus().map(|()| true),
        other => Err(format!("no command is called {other}").into()),
    }
}

fn main() -> ExitCode {
    argon_fuzz::lift_limit_in_panics();
    let arguments: Vec<String> = env::args().skip(1).collect();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("argon-fuzz: {error}");
            ExitCode::FAILURE
        }
    }
}
