//! What the kernel says of processes.

use std::collections::BTreeMap;
use std::fs;

use nix::sys::signal::Signal;

/// All processes at one moment: state and parent of each.
pub(crate) struct Table(BTreeMap<i32, (char, i32)>);

impl Table {
    pub(crate) fn read() -> Self {
        let entries = fs::read_dir("/proc").expect("/proc");
        let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        Self(pids.filter_map(|pid| Some((pid, stat(pid)?))).collect())
    }

    pub(crate) fn pids(&self) -> impl Iterator<Item = i32> {
        self.0.keys().copied()
    }

    /// Whether one of these is the process itself or above it.
    pub(crate) fn is_below(&self, pid: i32, roots: &[i32]) -> bool {
        let mut at = pid;
        while let Some((_, parent)) = self.0.get(&at) {
            if roots.contains(&at) {
                return true;
            }
            at = *parent;
        }
        false
    }

    /// Those that have ended and that nobody has asked about, below these.
    pub(crate) fn zombies(&self, roots: &[i32]) -> Vec<i32> {
        let ended = self.0.iter().filter(|(_, (state, _))| *state == 'Z');
        let pids = ended.map(|(pid, _)| *pid);
        pids.filter(|pid| self.is_below(*pid, roots)).collect()
    }

    /// Those that such a process has started.
    pub(crate) fn children(&self, of: i32) -> Vec<i32> {
        let below = self.0.iter().filter(|(_, (_, parent))| *parent == of);
        below.map(|(pid, _)| *pid).collect()
    }
}

fn stat(pid: i32) -> Option<(char, i32)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything.
    let mut words = text.rsplit_once(") ")?.1.split(' ');
    Some((words.next()?.chars().next()?, words.next()?.parse().ok()?))
}

/// Whether a process has come to where it deals with SIGTERM itself; or has ended.
pub(crate) fn minds_termination(pid: i32) -> bool {
    let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else {
        return true;
    };
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // Zombies catch nothing.
    let ended = status.lines().any(|line| line.starts_with("State:\tZ"));
    ended || caught.unwrap_or_default() & (1 << (Signal::SIGTERM as u32 - 1)) != 0
}

/// What a process holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    /// Open descriptors.
    pub(crate) descriptors: usize,
    /// Resident memory, in bytes.
    pub(crate) memory: u64,
}

pub(crate) fn held(pid: i32) -> Option<Held> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(Held {
        descriptors,
        memory: kib << 10,
    })
}
