//! What is left of a pool process whose guard was killed.
//!
//! Normally nothing: a guard ends last. But if it is killed with SIGKILL, its descendants come to
//! this process, a subreaper. They are told from other children of this process by their process
//! group, or, if they have left that, by the mark in their environment. Who has left the group and
//! cleared its environment before its guard is killed gets away.

use std::fs;

use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::proc::{Process, Table, kill_all};
use crate::who::PROCESS;

/// The end of one pool process's orphans.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    /// Found and killed; once dead, nothing tells whose they were.
    killed: Vec<i32>,
}

impl Sweep {
    /// Kills and reaps the processes that are left. True if there were any: then call it again.
    ///
    /// `table` must have been read after the guard was reaped.
    pub(super) fn kill_remaining(&mut self, guard: Pid, mark: &str, table: &Table) -> bool {
        let reap = |pid| waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG));
        self.killed
            .retain(|pid| reap(*pid) == Ok(WaitStatus::StillAlive));
        let mut found = !self.killed.is_empty();
        for orphan in table.children(std::process::id().cast_signed()) {
            if orphan.pid == guard.as_raw() || !belongs(orphan, guard, mark) {
                continue;
            }
            found = true;
            kill_all(table.descendants(orphan.pid).iter().chain([orphan]));
            if !self.killed.contains(&orphan.pid) {
                self.killed.push(orphan.pid);
            }
        }
        found
    }
}

fn belongs(orphan: &Process, guard: Pid, mark: &str) -> bool {
    orphan.group == guard.as_raw()
        || fs::read(format!("/proc/{}/environ", orphan.pid)).is_ok_and(|environ| {
            environ.split(|byte| *byte == 0).any(|variable| {
                let value = variable.strip_prefix(PROCESS.as_bytes());
                value.and_then(|value| value.strip_prefix(b"=")) == Some(mark.as_bytes())
            })
        })
}
