//! A manager with a worker and a client who keep to the rules, and what is asked of all three while a
//! stranger is at it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use crate::common::{Server, argon, status, until, until_capacity};
use crate::load::Load;

/// Lines of one kind in the log of a few seconds: ten in ten seconds, the number of those that were left
/// out, and once more if the ten seconds end meanwhile.
const LINES_MAX: usize = 2 * (10 + 1);
/// Memory of a manager that does nothing much, as tests build it, in MiB.
pub(crate) const RESTING: u64 = 24;
/// Outcomes that the client must get after the stranger has done his worst.
const AFTERWARDS: u64 = 100;

/// What a process has written to standard error so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Written(Arc<Mutex<String>>);

impl Written {
    pub(crate) fn of(pipe: impl std::io::Read + Send + 'static) -> Self {
        let written = Self::default();
        let lines = written.clone();
        thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                let mut text = lines.0.lock().unwrap();
                text.push_str(&line);
                text.push('\n');
            }
        });
        written
    }

    pub(crate) fn text(&self) -> String {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn count(&self, part: &str) -> usize {
        self.text()
            .lines()
            .filter(|line| line.contains(part))
            .count()
    }

    /// Waits until a line has this in it, and sees to it that there are not many.
    pub(crate) fn says(&self, part: &str) {
        until(&format!("{part:?} in the log"), || self.count(part) > 0);
        assert!(self.count(part) <= LINES_MAX, "{}", self.text());
    }
}

/// The three, and what the manager logs.
pub(crate) struct Stage {
    what: &'static str,
    pub(crate) manager: Server,
    pub(crate) address: String,
    pub(crate) log: Written,
    _worker: Server,
    load: Load,
    memory_max: u64,
}

impl Stage {
    /// A manager with these options, which may hold no more than `memory_max` MiB.
    pub(crate) fn new(what: &'static str, args: &[&str], memory_max: u64) -> Self {
        let mut command = argon(&[&["manager"], args].concat());
        let (manager, log) = listening(&mut command);
        let address = manager.address.clone();
        let worker = Server::worker(&address, "honest");
        until_capacity(&address, 2);
        let load = Load::start(&address);
        Self {
            what,
            manager,
            address,
            log,
            _worker: worker,
            load,
            memory_max,
        }
    }

    /// Has the stranger at it, and then looks whether all is as it was.
    pub(crate) fn bears(self, hostile: impl FnOnce(&Self)) {
        self.bears_and(hostile, |_| {});
    }

    /// The same, with something that must be so once the stranger is done.
    pub(crate) fn bears_and(self, hostile: impl FnOnce(&Self), afterwards: impl FnOnce(&Self)) {
        let rate_before = self.load.rate();
        let (begun, before) = (Instant::now(), self.load.outcomes());
        hostile(&self);
        let ratio = self.load.ratio(rate_before, begun, before);
        self.load.until_more_than(self.load.outcomes(), AFTERWARDS);
        afterwards(&self);
        let (resting, peak) = memory(self.manager.child.id());
        assert!(!self.log.text().contains("panicked"), "{}", self.log.text());
        let epoch = status(&self.address)["manager"]["epoch"].clone();
        assert!(!epoch.is_null(), "{epoch}");
        let outcomes = self.load.finish();
        println!(
            "| {} | peak {peak} MiB, at the end {resting} MiB, at most {} | {ratio} | {outcomes} |",
            self.what, self.memory_max
        );
        assert!(
            peak <= self.memory_max,
            "{peak} MiB were held, where {} are enough",
            self.memory_max
        );
    }
}

/// Starts a command that says where it listens; its log is kept.
pub(crate) fn listening(command: &mut std::process::Command) -> (Server, Written) {
    let mut child = command.spawn().unwrap();
    let stderr = child.stderr.take().unwrap();
    let log = Written::of(stderr);
    (Server::of(child), log)
}

/// Resident memory of a process in MiB: now, and at most so far.
pub(crate) fn memory(pid: u32) -> (u64, u64) {
    (status_field(pid, "VmRSS:"), status_field(pid, "VmHWM:"))
}

/// What it has asked the system for at most, in MiB, whether it uses that or not.
pub(crate) fn virtual_memory(pid: u32) -> u64 {
    status_field(pid, "VmPeak:")
}

fn status_field(pid: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.unwrap().trim_end_matches("kB").trim();
    kib.parse::<u64>().unwrap() / 1_024
}
