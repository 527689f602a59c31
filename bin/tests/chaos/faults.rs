//! Makes faults and heals them, and writes down which was there when.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::load::{append, now};
use crate::plan::{Fault, Kind, Round};
use crate::proc::Table;
use crate::processes::{Cluster, workers};

/// A fault that is to kill a process of a pool kills its guard if it is to last less than this.
const GUARD_BELOW: Duration = Duration::from_millis(500);

/// A fault as it was.
#[derive(Clone, Debug)]
pub(crate) struct Happened {
    pub(crate) kind: Kind,
    pub(crate) host: String,
    /// From before it began.
    pub(crate) from: u64,
    /// Until after it had healed.
    pub(crate) to: u64,
}

/// All faults so far.
#[derive(Default)]
pub(crate) struct History {
    all: Mutex<Vec<Happened>>,
    filtered: Mutex<BTreeMap<Kind, Filtered>>,
}

/// What rules have met: a cut that nothing runs into is none.
#[derive(Clone, Copy, Debug, Default)]
struct Filtered {
    faults: u64,
    packets: u64,
}

/// So many faults of a kind cannot all have come when nobody wanted to send anything.
const FELT_AFTER: u64 = 3;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl History {
    pub(crate) fn all(&self) -> Vec<Happened> {
        lock(&self.all).clone()
    }

    /// How many faults were made so far.
    pub(crate) fn made(&self) -> usize {
        let all = lock(&self.all);
        all.iter().filter(|fault| fault.host != MACHINE).count()
    }

    /// Kinds of faults that have had no effect.
    pub(crate) fn unfelt(&self) -> Vec<String> {
        let filtered = lock(&self.filtered);
        let unfelt = filtered
            .iter()
            .filter(|(_, met)| met.faults >= FELT_AFTER && met.packets == 0);
        unfelt
            .map(|(kind, met)| format!("{}: no packet has met the rules: {met:?}", kind.name()))
            .collect()
    }

    /// Notes a fault that has just ended.
    fn push(&self, cluster: &Cluster, kind: Kind, host: &str, from: u64) {
        let to = now();
        append(
            &cluster.file("faults"),
            &[kind.name(), host, &from.to_string(), &to.to_string()],
        );
        let host = host.to_owned();
        lock(&self.all).push(Happened {
            kind,
            host,
            from,
            to,
        });
    }
}

/// Between looks at whether the machine has time for us.
const TICK: Duration = Duration::from_millis(50);
/// To be later than this is to be starved; a quarter of the lease.
const LATE: Duration = Duration::from_millis(500);
/// The host of what concerns all of them.
pub(crate) const MACHINE: &str = "machine";
/// The host of what concerns all processes.
const ALL: &str = "all";

/// Notes when the machine is too busy, until the end of the scope is announced.
pub(crate) fn watch_the_machine(cluster: &Cluster, history: &History, is_over: &AtomicBool) {
    while !is_over.load(Ordering::Relaxed) {
        let (from, began) = (now(), Instant::now());
        thread::sleep(TICK);
        if began.elapsed() > TICK + LATE {
            history.push(cluster, Kind::Starved, MACHINE, from);
        }
    }
}

/// Makes the faults of a round.
pub(crate) fn carry_out(cluster: &Cluster, history: &History, round: &Round) {
    thread::scope(|scope| {
        for lane in &round.lanes {
            scope.spawn(move || {
                for fault in lane {
                    thread::sleep(fault.pause);
                    let from = now();
                    let kind = possible(cluster, fault.kind);
                    during(cluster, history, kind, fault);
                    history.push(cluster, kind, &fault.host, from);
                }
            });
        }
    });
    let from = now();
    cluster.exchange_keys();
    history.push(cluster, Kind::Keys, ALL, from);
    if let Some(fault) = &round.rolling {
        thread::sleep(fault.pause);
        for host in workers() {
            let from = now();
            cluster.drain(&host, true);
            history.push(cluster, fault.kind, &host, from);
        }
    }
}

/// What the fault is here: without a packet filter, links that are down stand for cuts.
fn possible(cluster: &Cluster, kind: Kind) -> Kind {
    match kind {
        Kind::Cut | Kind::CutFrom | Kind::CutTo | Kind::Reset if !cluster.network.has_nft => {
            Kind::LinkDown
        }
        kind => kind,
    }
}

/// Makes one and heals it.
fn during(cluster: &Cluster, history: &History, kind: Kind, fault: &Fault) {
    let Fault { host, hold, .. } = fault;
    match kind {
        Kind::Kill => {
            cluster.kill(host);
            thread::sleep(*hold);
            cluster.start(host);
        }
        Kind::Restart => {
            cluster.drain(host, false);
            cluster.start(host);
        }
        Kind::KillPool => kill_pool_process(cluster, host, *hold < GUARD_BELOW),
        Kind::Stop => {
            cluster.signal(host, Signal::SIGSTOP);
            thread::sleep(*hold);
            cluster.signal(host, Signal::SIGCONT);
        }
        Kind::Freeze => {
            // Those that start others first, so that none is missed.
            let all = cluster.network.processes(&Table::read());
            let of_host = all.get(host).cloned().unwrap_or_default();
            let send = |signal| {
                for pid in &of_host {
                    let _ = kill(Pid::from_raw(*pid), signal);
                }
            };
            send(Signal::SIGSTOP);
            thread::sleep(*hold);
            send(Signal::SIGCONT);
        }
        Kind::LinkDown => {
            cluster.network.link(host, false);
            thread::sleep(*hold);
            cluster.network.link(host, true);
        }
        Kind::Cut | Kind::CutFrom | Kind::CutTo | Kind::Reset => {
            filtered(cluster, history, kind, host, *hold);
        }
        Kind::Rolling | Kind::Keys | Kind::Starved => unreachable!("not in a lane"),
    }
}

/// One of a worker's pool, or what watches over it and is to go with it.
fn kill_pool_process(cluster: &Cluster, host: &str, guard: bool) {
    let Some(worker) = cluster.pid(host) else {
        return;
    };
    let table = Table::read();
    let guards = table.children(worker);
    let programs = guards.iter().flat_map(|guard| table.children(*guard)).min();
    let chosen = if guard {
        guards.into_iter().min()
    } else {
        programs
    };
    if let Some(pid) = chosen {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

/// Packets are dropped where they arrive, or, of the manager to all others, where they leave.
fn filtered(cluster: &Cluster, history: &History, kind: Kind, host: &str, hold: Duration) {
    let network = &cluster.network;
    let here = network.address(host);
    let manager = network.address("manager");
    // Where, at which hook, and the rule.
    let mut rules: Vec<(&str, &str, String)> = Vec::new();
    if matches!(kind, Kind::Cut | Kind::CutTo) {
        let others = format!("ip saddr != {here} counter drop");
        rules.push((host, "input", others));
    }
    if matches!(kind, Kind::Cut | Kind::CutFrom) {
        if host == "manager" {
            rules.push((host, "output", format!("ip daddr != {here} counter drop")));
        } else {
            rules.push(("manager", "input", format!("ip saddr {here} counter drop")));
        }
    }
    if kind == Kind::Reset {
        let whose = if host == "manager" { "!= " } else { "" };
        let tcp = format!("ip saddr {whose}{manager} meta l4proto tcp");
        let rule = format!("{tcp} counter reject with tcp reset");
        rules.push((host, "input", rule));
    }
    // A table of its own for each host and hook: two faults may have rules at the manager.
    let table = |hook: &str| format!("table inet chaos_{}_{hook}", host.replace('-', "_"));
    for (place, hook, rule) in &rules {
        let chain = format!("chain {hook} {{\ntype filter hook {hook} priority 0\n{rule}\n}}");
        network.filter(place, &format!("{} {{\n{chain}\n}}\n", table(hook)));
    }
    thread::sleep(hold);
    let met = |(place, hook, _): &(&str, &str, String)| network.packets(place, &table(hook));
    let packets: u64 = rules.iter().map(met).sum();
    {
        let mut filtered = lock(&history.filtered);
        let sum = filtered.entry(kind).or_default();
        sum.faults += 1;
        sum.packets += packets;
    }
    for (place, hook, _) in &rules {
        network.filter(place, &format!("delete {}\n", table(hook)));
    }
}
