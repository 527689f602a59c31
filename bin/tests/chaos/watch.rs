//! Looks at the processes themselves: whether all goes on between faults, and what is left at the end.

use std::collections::BTreeMap;
use std::fs;
use std::sync::PoisonError;
use std::thread;
use std::time::{Duration, Instant};

use crate::load::lines;
use crate::plan::hosts;
use crate::proc::{Held, Table, held};
use crate::processes::{Cluster, clients, host_of, workers};

/// How much more a process may hold at the end than when its work had begun: this many times...
const FACTOR: u64 = 2;
/// ... and this much, for what it had not needed yet.
const MEMORY_MORE: u64 = 48 << 20;
/// A connection to each host, old ones that have yet to time out, and some.
const DESCRIPTORS_MORE: usize = 48;
/// Outcomes of each client that show that all goes on.
const OUTCOMES: usize = 8;
/// Counts of the manager's status that are 0 when nothing is left.
const LEFT: [&str; 6] = [
    "queued",
    "returning",
    "unclaimed",
    "assigned",
    "unacknowledged",
    "orphans",
];

/// What clients that were killed have left is gone after 30 s; the rest is for busy machines.
const PATIENCE: Duration = Duration::from_secs(180);
const LOOK: Duration = Duration::from_millis(50);

/// Asks again until it is so.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "{what}: this did not come about");
        thread::sleep(LOOK);
    }
}

/// What was seen so far.
pub(crate) struct Watch<'a> {
    cluster: &'a Cluster,
    /// What processes held when their work had begun, by host.
    at_first: BTreeMap<String, Held>,
    wrong: Vec<String>,
}

impl<'a> Watch<'a> {
    /// Waits until all work, and sees what that takes.
    pub(crate) fn begin(cluster: &'a Cluster) -> Self {
        let mut watch = Self {
            cluster,
            at_first: BTreeMap::new(),
            wrong: Vec::new(),
        };
        watch.goes_on("the start");
        for host in hosts().iter().filter(|host| !host.starts_with("worker")) {
            if let Some(held) = cluster.pid(host).and_then(held) {
                watch.at_first.insert(host.clone(), held);
            }
        }
        watch
    }

    /// After faults that have healed: all workers are back, and every client gets outcomes again, of
    /// tasks that it has submitted since.
    pub(crate) fn look(&mut self, when: &str) {
        self.goes_on(when);
        let roots = self.roots();
        until(&format!("{when}: the end of every zombie"), || {
            Table::read().zombies(&roots).is_empty()
        });
        // Those that were killed may take a moment.
        until(
            &format!("{when}: an end of what the killed had started"),
            || self.strays().is_empty(),
        );
    }

    fn goes_on(&self, when: &str) {
        until(&format!("{when}: every worker"), || self.cluster.is_whole());
        let before = self.outcomes();
        until(&format!("{when}: outcomes for every client"), || {
            let now = self.outcomes();
            now.iter()
                .all(|(name, count)| *count >= before.get(name).unwrap_or(&0) + OUTCOMES)
        });
    }

    /// Of each client that runs, how many outcomes it has.
    fn outcomes(&self) -> BTreeMap<String, usize> {
        let killed = self.cluster.killed();
        let records = self.cluster.records().into_iter();
        let alive = records.filter(|(name, _)| !killed.contains(name));
        let count = |line: &Vec<String>| line[0] == "outcome";
        alive
            .map(|(name, record)| {
                (
                    name,
                    lines(&record).iter().filter(|line| count(line)).count(),
                )
            })
            .collect()
    }

    fn roots(&self) -> Vec<i32> {
        let hosts = hosts();
        hosts.iter().filter_map(|of| self.cluster.pid(of)).collect()
    }

    /// Processes on the hosts that nobody who should be there has started.
    fn strays(&self) -> Vec<String> {
        let (table, roots) = (Table::read(), self.roots());
        let all = self.cluster.network.processes(&table);
        let strays = all.iter().flat_map(|(host, pids)| {
            let strays = pids.iter().filter(|pid| !table.is_below(**pid, &roots));
            strays.map(move |pid| format!("{host}: {} ({pid})", command_line(*pid)))
        });
        strays.collect()
    }

    /// Lets all end in order, and says what was wrong on the way.
    pub(crate) fn end(mut self) -> Vec<String> {
        let cluster = self.cluster;
        self.weigh(|host| host_of(host) != "manager");
        cluster.stop_clients();
        until("an outcome for every task of every client", || {
            clients().iter().all(|host| cluster.has_left(host))
        });
        until("a manager with nothing left", || {
            cluster
                .status()
                .is_some_and(|status| LEFT.iter().all(|count| status["manager"][count] == 0))
        });
        self.weigh(|host| host == "manager");
        for host in workers().iter().chain([&"manager".to_owned()]) {
            cluster.drain(host, false);
        }
        until("hosts without processes", || self.strays().is_empty());
        let deaths = cluster
            .deaths
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.wrong.extend(deaths.iter().cloned());
        for host in hosts() {
            let log = fs::read(cluster.file(&format!("{host}.log"))).unwrap_or_default();
            let log = String::from_utf8_lossy(&log);
            let panics = log.lines().filter(|line| line.contains("panicked at"));
            self.wrong
                .extend(panics.map(|line| format!("{host}: {line}")));
        }
        self.wrong
    }

    /// Compares what processes hold with what they held at first.
    fn weigh(&mut self, of: impl Fn(&str) -> bool) {
        for (host, first) in self.at_first.iter().filter(|(host, _)| of(host)) {
            let Some(now) = self.cluster.pid(host).and_then(held) else {
                continue;
            };
            let kib = |held: &Held| held.memory >> 10;
            println!(
                "{host}: {} descriptors and {} KiB at first, {} and {} KiB at the end",
                first.descriptors,
                kib(first),
                now.descriptors,
                kib(&now)
            );
            if now.memory > first.memory * FACTOR + MEMORY_MORE {
                self.wrong
                    .push(format!("{host}: memory grew from {first:?} to {now:?}"));
            }
            if now.descriptors > first.descriptors + DESCRIPTORS_MORE {
                self.wrong
                    .push(format!("{host}: descriptors, from {first:?} to {now:?}"));
            }
        }
    }
}

fn command_line(pid: i32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).replace('\0', " ")
}
