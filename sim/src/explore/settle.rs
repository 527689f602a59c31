//! The end of every path: no more faults, everybody is there, and all work must come to its end.

use super::WORKERS;
use super::choice::Choice;
use super::cluster::{Cluster, Node};
use super::settings::{RESTART_GRACE, RESUME_TIMEOUT};
use argon_core::time::Instant;

/// How long everything may take to end: what may have to wait out a session, a restart, a drain.
const BOUND: u64 = 3 * RESUME_TIMEOUT + RESTART_GRACE;

impl Cluster {
    /// What happens next if nothing goes wrong and nobody dawdles.
    pub(crate) fn eager_choice(&self) -> Option<Choice> {
        self.choices()
            .into_iter()
            .find(|choice| match choice {
                Choice::Deliver(..)
                | Choice::Dial(_)
                | Choice::Ready(_)
                | Choice::Finish(_)
                | Choice::Exit(_)
                | Choice::Restart(_) => true,
                Choice::Cancel
                | Choice::Drain(_)
                | Choice::Tick
                | Choice::Cut(_)
                | Choice::Silence(_)
                | Choice::Crash(_)
                | Choice::KillChild(_)
                | Choice::Late => false,
            })
            .filter(|choice| self.hosts.iter().all(|host| host.lives > 0) || !is_restart(choice))
    }

    /// Goes on without further faults until nothing is left to do.
    ///
    /// # Errors
    /// If a task of a live client has no outcome in the end, or something is left behind.
    pub(crate) fn settle(&mut self) -> Result<(), String> {
        self.say(|| "-- quiet from here on".to_owned());
        let until = self.now + BOUND;
        loop {
            while let Some(choice) = self.eager_choice() {
                self.take(choice)?;
            }
            let left = self.left();
            if left.is_empty() {
                break;
            }
            if !self.wake_next(until)? {
                return Err(format!("after quiet: {}", left.join("; ")));
            }
        }
        self.ledger.check_calm()?;
        self.check_reports(until)
    }

    /// What is not yet as it should be in the end.
    fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        let open = self.ledger.open(self.variant.tasks());
        if self.client_lives() && !open.is_empty() {
            left.push(format!("promise 1: tasks {open:?} have no outcome"));
            return left;
        }
        for host in self.variant.managers()..self.hosts.len() {
            if self.whole_link_of(host).is_none() {
                left.push(format!("{} is not connected", self.who(host)));
            }
        }
        let (mut workers, mut clients) = (0, 0);
        for host in 0..self.variant.managers() {
            let Some(Node::Manager(manager)) = self.process(host).map(|known| &known.node) else {
                left.push("a manager is away".to_owned());
                continue;
            };
            let status = manager.status(Instant::from_nanos(self.now), 0);
            let it = &status.manager;
            for (what, is) in [
                ("queued", it.queued),
                ("queued bytes", it.queued_bytes),
                ("returning", it.returning),
                ("unclaimed", it.unclaimed),
                ("assigned", it.assigned),
                ("unacknowledged", it.unacknowledged),
                ("orphans", it.orphans),
                (
                    "workers that are gone",
                    status.workers.len() as u64 - it.workers,
                ),
            ] {
                if is != 0 {
                    left.push(format!("m{host}: {what}: {is}"));
                }
            }
            workers += it.workers;
            clients += it.clients;
            for worker in &status.workers {
                if worker.assigned != 0 || worker.window < 1 {
                    left.push(format!("m{host}: {worker:?}"));
                }
            }
        }
        if workers != WORKERS as u64 || clients != 1 {
            left.push(format!("{workers} workers and {clients} clients are known"));
        }
        left
    }

    fn whole_link_of(&self, host: usize) -> Option<usize> {
        let mut links = self.links.iter();
        links.position(|link| link.is_whole() && link.sides[0].host == host)
    }

    /// A worker that is cut off and comes back has nothing to report.
    fn check_reports(&mut self, until: u64) -> Result<(), String> {
        for host in self.worker_hosts() {
            let before = self.reports.get(&host).map_or(0, |(count, _)| *count);
            let Some(index) = self.whole_link_of(host) else {
                return Err(format!("worker {host} is not connected"));
            };
            self.cut(index);
            while self.reports.get(&host).map_or(0, |(count, _)| *count) == before {
                match self.eager_choice() {
                    Some(choice) => self.take(choice)?,
                    None if self.wake_next(until)? => {}
                    None => return Err(format!("worker {host} does not come back")),
                }
            }
            if let Some((_, entries)) = self.reports.get(&host)
                && *entries > 0
            {
                return Err(format!(
                    "after quiet worker {host} reports {entries} attempts"
                ));
            }
        }
        Ok(())
    }
}

fn is_restart(choice: &Choice) -> bool {
    matches!(choice, Choice::Restart(_))
}
