//! The tests: what each of them reaches, how long it takes, and whether it notices a mutant.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::scratch::Scratch;

/// Seeds that the fast simulator runs, and how many in one process.
const SEEDS: u64 = 300;
const SEEDS_AT_ONCE: u64 = 25;

/// How the tests begin that look at the sources, run the same seeds once more, or start the tests of
/// others.
const SKIPPED: &[&str] = &[
    "core/it tidy::",
    "core/it codec::",
    "sim/it promises::all_promises_hold_for_many_seeds",
    "sim/it promises::the_same_plan_gives_the_same_trace",
    "sim/it promises::two_processes_give_the_same_trace",
];

/// A test that is quicker shares its process with others.
const QUICK_MILLIS: u64 = 60;

/// Kilobytes that a test may take: mutants like to fill lists for ever.
const MEMORY_MAX: u32 = 3_000_000;

/// A test, or several quick ones, in a process.
#[derive(Debug)]
pub struct Test {
    /// `core/it queue::laws::name`, `sim/seeds 0 25`.
    pub name: String,
    binary: PathBuf,
    arguments: Vec<String>,
    home: PathBuf,
    pub millis: u64,
    pub reaches: BTreeSet<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Passed,
    Failed,
    TimedOut,
}

/// All tests, with what they reach.
pub fn tests(scratch: &Scratch, binaries: Vec<(String, PathBuf)>) -> io::Result<Vec<Test>> {
    let mut tests = Vec::new();
    for (name, binary) in binaries {
        let home = scratch.home_of(&name);
        let mut add = |name: String, arguments: Vec<String>| {
            // Of the simulator's, those that judge promises.
            let other = name.starts_with("sim/it") && !name.starts_with("sim/it promises::");
            if !other && !SKIPPED.iter().any(|skipped| name.starts_with(skipped)) {
                tests.push(Test {
                    name,
                    binary: binary.clone(),
                    arguments,
                    home: home.clone(),
                    millis: 0,
                    reaches: BTreeSet::new(),
                });
            }
        };
        if name == "sim/judge" {
            for from in (0..SEEDS).step_by(SEEDS_AT_ONCE as usize) {
                let seeds = [from.to_string(), (from + SEEDS_AT_ONCE).to_string()];
                let name = format!("sim/seeds {}", seeds.join(" "));
                let output = Command::new(&binary).args(&seeds).output()?;
                let marks = String::from_utf8_lossy(&output.stdout).into_owned();
                let marks = marks.lines().map(str::to_owned);
                add(name, seeds.into_iter().chain(marks).collect());
            }
            continue;
        }
        let list = ["--list", "--format", "terse"];
        let output = Command::new(&binary)
            .current_dir(&home)
            .args(list)
            .output()?;
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            if let Some(test) = line.strip_suffix(": test") {
                let arguments = vec!["--exact".into(), test.into(), "--test-threads=1".into()];
                add(format!("{name} {test}"), arguments);
            }
        }
    }
    for test in &mut tests {
        test.cover(&scratch.folder.join("reached.txt"))?;
    }
    Ok(together(tests))
}

/// The quick tests of a binary run in one process: starting one takes longer than they do.
fn together(tests: Vec<Test>) -> Vec<Test> {
    let mut merged: Vec<Test> = Vec::new();
    for test in tests {
        let is_quick = test.millis < QUICK_MILLIS && !test.is_simulation();
        let same = |other: &&mut Test| {
            is_quick && other.binary == test.binary && other.millis < QUICK_MILLIS
        };
        let Some(other) = merged.iter_mut().find(same) else {
            merged.push(test);
            continue;
        };
        let binary = test.name.split(' ').next().unwrap_or_default();
        other.name = format!("{binary} (quick tests)");
        other.arguments.push(test.arguments[1].clone());
        other.millis = other.millis.max(test.millis);
        other.reaches.extend(test.reaches);
    }
    merged
}

/// Time of the processor that children have used which have ended: on a busy machine the only
/// measure that means something. In steps of 10 ms.
fn millis_of_children() -> io::Result<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, numbers) = stat.rsplit_once(')').unwrap_or_default();
    let ticks = numbers.split_whitespace().skip(13).take(2);
    Ok(10
        * ticks
            .filter_map(|ticks| ticks.parse::<u64>().ok())
            .sum::<u64>())
}

impl Test {
    pub fn is_simulation(&self) -> bool {
        self.name.starts_with("sim/")
    }

    fn cover(&mut self, file: &Path) -> io::Result<()> {
        let _ = std::fs::remove_file(file);
        let before = millis_of_children()?;
        let end = self.run_with("cover", file, 300)?;
        self.millis = millis_of_children()? - before;
        if end != End::Passed {
            let name = &self.name;
            return Err(io::Error::other(format!("{name} fails without a mutant")));
        }
        let text = std::fs::read_to_string(file).unwrap_or_default();
        self.reaches = text.lines().filter_map(|line| line.parse().ok()).collect();
        Ok(())
    }

    /// The test's end with one mutant switched on.
    pub fn run(&self, mutant: u32) -> io::Result<End> {
        let seconds = 1 + 5 * self.millis / 1_000;
        self.run_with(&mutant.to_string(), Path::new(""), seconds)
    }

    /// The command that shows what a mutant does to this test.
    pub fn command(&self, mutant: u32) -> String {
        let (binary, arguments) = (self.binary.display(), self.arguments.join(" "));
        let home = self.home.display();
        format!("cd {home}; PROPTEST_RNG_SEED=1 MUTANT={mutant} {binary} {arguments}")
    }

    /// Time is counted in seconds of the processor, so that a busy machine is no excuse.
    fn run_with(&self, mutant: &str, file: &Path, seconds: u64) -> io::Result<End> {
        let limits = format!("ulimit -c 0 -t {seconds} -v {MEMORY_MAX}; exec \"$@\"");
        let hang = (30 * seconds).to_string();
        let status = Command::new("sh")
            .args(["-c", &limits, "sh", "timeout", "-s", "KILL", &hang])
            .arg(&self.binary)
            .args(&self.arguments)
            .current_dir(&self.home)
            .env("MUTANT", mutant)
            .env("MUTANT_FILE", file)
            .env("CARGO_MANIFEST_DIR", &self.home)
            .env("RUST_BACKTRACE", "0")
            .env("SIM_MINIMISE", "0")
            // The same cases each time; a failure need not be made small.
            .env("PROPTEST_RNG_SEED", "1")
            .env("PROPTEST_CASES", "64")
            .env("PROPTEST_MAX_SHRINK_ITERS", "0")
            .env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "true")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        const SIGKILL: i32 = 9;
        const SIGXCPU: i32 = 24;
        let signal = status.signal().or(status.code().map(|code| code - 128));
        Ok(match signal {
            _ if status.success() => End::Passed,
            Some(SIGKILL | SIGXCPU) => End::TimedOut,
            _ => End::Failed,
        })
    }
}
