//! Processes that a benchmark starts: they end with it, and with the value that stands for them.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::unistd::{SysconfVar, sysconf};
use serde_json::Value;

use crate::Problem;

/// How long a process may take to say that it is ready.
pub(crate) const READY: Duration = Duration::from_secs(20);
/// How much longer than asked for a load may take.
pub(crate) const SLACK: Duration = Duration::from_secs(60);

/// A process that runs. Killed and waited for when dropped.
pub(crate) struct Process {
    child: Child,
    lines: Receiver<String>,
    what: String,
}

impl Process {
    /// Starts a command; what it prints is read as lines.
    pub(crate) fn start(command: &mut Command) -> Result<Self, Problem> {
        Self::start_fed(command.stdin(Stdio::null()))
    }

    /// The same with the standard input that the command was given.
    pub(crate) fn start_fed(command: &mut Command) -> Result<Self, Problem> {
        let what = format!("{command:?}");
        command.stdout(Stdio::piped());
        let mut child = command
            .spawn()
            .map_err(|error| format!("{what}: {error}"))?;
        let (tell, lines) = channel();
        if let Some(out) = child.stdout.take() {
            thread::spawn(move || {
                for line in BufReader::new(out).lines().map_while(Result::ok) {
                    if tell.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        Ok(Self { child, lines, what })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line that it prints.
    pub(crate) fn line(&self, limit: Duration) -> Result<String, Problem> {
        self.lines.recv_timeout(limit).map_err(|error| {
            let why = match error {
                RecvTimeoutError::Timeout => "said nothing in time",
                RecvTimeoutError::Disconnected => "ended without a word",
            };
            format!("{} {why}", self.what).into()
        })
    }

    /// Waits for a line that holds `word`.
    pub(crate) fn wait_for(&self, word: &str, limit: Duration) -> Result<String, Problem> {
        let until = Instant::now() + limit;
        loop {
            let line = self.line(until.saturating_duration_since(Instant::now()))?;
            if line.contains(word) {
                return Ok(line);
            }
        }
    }

    /// The report that a load prints at its end.
    pub(crate) fn report(&self, limit: Duration) -> Result<Value, Problem> {
        let line = self.wait_for("{", limit)?;
        serde_json::from_str(&line).map_err(|error| format!("{line}: {error}").into())
    }

    /// Time of all its threads on a core.
    pub(crate) fn cpu(&self) -> Result<Duration, Problem> {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.id()))?;
        let fields = text.rsplit(')').next().unwrap_or_default();
        let ticks: u64 = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|field| field.parse().unwrap_or(0))
            .sum();
        let a_second = sysconf(SysconfVar::CLK_TCK)?.unwrap_or(100);
        Ok(Duration::from_secs_f64(ticks as f64 / a_second as f64))
    }

    /// Resident memory, in bytes.
    pub(crate) fn memory(&self) -> Result<u64, Problem> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        Ok(kib.ok_or("no VmRSS")? * 1024)
    }

    /// Ends it with signal 9, at once.
    pub(crate) fn kill(&mut self) -> Result<(), Problem> {
        Ok(self.child.kill()?)
    }

    /// Waits for its end; an error if it takes longer, or ends badly.
    pub(crate) fn finish(mut self, limit: Duration) -> Result<(), Problem> {
        let until = Instant::now() + limit;
        loop {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(format!("{}: {status}", self.what).into()),
                None if Instant::now() > until => {
                    return Err(format!("{}: takes too long", self.what).into());
                }
                None => thread::sleep(Duration::from_millis(1)),
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
