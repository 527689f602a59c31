//! Being told to stop: Ctrl-C or SIGTERM, once politely and once more at once; for commands that
//! belong to a terminal its end (SIGHUP), too. To those that have keys, SIGHUP says to read them again.

use std::fs;
use std::io;

use argon::Keys;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::keys::reload;

/// Waits for signals that mean "stop". From its making on they no longer end the process.
#[derive(Debug)]
pub(crate) struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Option<Signal>,
    /// What SIGHUP is about, if it does not say "stop".
    keys: Option<Keys>,
    /// The process had a terminal when it started.
    terminal: bool,
}

impl StopSignals {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: None,
            keys: None,
            terminal: false,
        })
    }

    /// The same with the end of the terminal, unless that is ignored, as `nohup` has it.
    pub(crate) fn with_hangup() -> io::Result<Self> {
        let hangup = if is_hangup_ignored() {
            None
        } else {
            Some(signal(SignalKind::hangup())?)
        };
        Ok(Self {
            hangup,
            ..Self::new()?
        })
    }

    /// The same for a process that reads its keys again at SIGHUP, if it has any. Where a terminal has
    /// just ended, that means "stop" still.
    pub(crate) fn with_keys(keys: Option<Keys>) -> io::Result<Self> {
        let hangup = keys.is_some().then(|| signal(SignalKind::hangup()));
        Ok(Self {
            hangup: hangup.transpose()?,
            terminal: has_terminal(),
            keys,
            ..Self::new()?
        })
    }

    /// The next one, as the exit code of a process that it ends. Cancel-safe.
    pub(crate) async fn next(&mut self) -> u8 {
        loop {
            tokio::select! {
                biased;
                _ = self.interrupt.recv() => return 130,
                _ = self.terminate.recv() => return 143,
                () = heard(&mut self.hangup) => {}
            }
            match &self.keys {
                Some(keys) if !self.terminal || has_terminal() => reload(keys),
                _ => return 129,
            }
        }
    }
}

async fn heard(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// Whether this process has a terminal, the end of which ends it.
fn has_terminal() -> bool {
    fs::File::open("/dev/tty").is_ok()
}

/// Whether the process was started with SIGHUP ignored.
fn is_hangup_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & 1 != 0)
}
