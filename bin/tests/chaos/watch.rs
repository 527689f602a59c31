//! Looks at the processes themselves: whether all goes on between faults, and what is left at the end.

use std::collections::BTreeMap;
use std::fs;
use std::sync::PoisonError;
use std::thread;
use std::time::{Duration, Instant};

use crate::plan::hosts;
use crate::proc::{Held, Table, held};
use crate::processes::{Cluster, IN_FLIGHT, POOL, clients, workers};

/// How much more a process may hold at the end than when its work had begun: this many times...
const FACTOR: u64 = 2;
/// ... and this much, for what it had not needed yet.
const MEMORY_MORE: u64 = 48 << 20;
/// A connection to each host, old ones that have yet to time out, and some.
const DESCRIPTORS_MORE: usize = 48;
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
const LOOK: Duration = Duration::from_millis(100);

/// Asks again until nothing is left.
fn until_none(when: &str, what: &str, mut left: impl FnMut() -> Vec<String>) {
    let end = Instant::now() + PATIENCE;
    loop {
        let left = left();
        if left.is_empty() {
            return;
        }
        let late = Instant::now() > end;
        assert!(!late, "{when}: {what} is left after {PATIENCE:?}: {left:?}");
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
    /// tasks that it has submitted since: of more than it had under way.
    pub(crate) fn look(&mut self, when: &str) {
        self.goes_on(when);
        let roots = self.roots();
        // Those that were killed, and those that ask about them, may take a moment.
        until_none(when, "a zombie", || {
            let zombies = Table::read().zombies(&roots);
            zombies.iter().map(ToString::to_string).collect()
        });
        until_none(when, "what the killed had started", || self.strays());
    }

    fn goes_on(&self, when: &str) {
        until_none(when, "a worker that is away", || {
            let (here, status) = self.cluster.capacity();
            let all = workers().len() * POOL;
            (here != all).then_some(status).into_iter().collect()
        });
        let before = self.outcomes();
        until_none(when, "a client that gets nothing", || {
            let now = self.outcomes().into_iter();
            let waiting =
                now.filter(|(name, count)| *count <= before.get(name).unwrap_or(&0) + IN_FLIGHT);
            waiting.map(|(name, _)| name).collect()
        });
    }

    /// Of each client that runs, how many outcomes it has.
    fn outcomes(&self) -> BTreeMap<String, usize> {
        let killed = self.cluster.killed();
        let records = self.cluster.records().into_iter();
        let alive = records.filter(|(name, _)| !killed.contains(name));
        let count = |record| {
            let text = fs::read_to_string(record).unwrap_or_default();
            text.lines()
                .filter(|line| line.starts_with("outcome\t"))
                .count()
        };
        alive.map(|(name, record)| (name, count(record))).collect()
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
        self.weigh(|host| host != "manager");
        cluster.stop_clients();
        until_none("the end", "a client without all its outcomes", || {
            let clients = clients().into_iter();
            clients.filter(|host| !cluster.has_left(host)).collect()
        });
        until_none("the end", "a task at the manager", || {
            let Some(status) = cluster.status() else {
                return vec!["no answer".to_owned()];
            };
            let counts = LEFT.map(|name| (name, status["manager"][name].clone()));
            let left = counts.iter().filter(|(_, count)| *count != 0);
            left.map(|(name, count)| format!("{name}: {count}"))
                .collect()
        });
        self.weigh(|host| host == "manager");
        for host in workers().iter().chain([&"manager".to_owned()]) {
            cluster.drain(host, false);
        }
        until_none("the end", "a process", || self.strays());
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
