//! The loop that steps the hosts, and does between two steps what the plan wants done.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use turmoil::{Builder, Sim};

use super::guard::Turn;
use super::host::called;
use super::nodes::{id_of, software};
use super::plan::TICK;
use super::scene::{Command, Scene, Why};
use crate::history::Disturbance;
use crate::options::{Host, MS, S};
use crate::report::{Class, Failure};
use crate::rng::{Draw, mix, stream};
use crate::run::take_panic;

/// Segments that a connection, and connections that a listener, may hold. So high that reconnect
/// storms do not reach it, where turmoil panics.
const TCP_CAPACITY: usize = 4_096;

/// What is to be done at an instant.
#[derive(Clone, Copy, Debug)]
enum Action {
    FaultBegins(usize),
    FaultEnds(usize),
    Start(Host),
    Heal,
}

/// The hosts of one run, and what is planned for them.
pub(super) struct Cluster<'s> {
    pub sim: Sim<'s>,
    pub scene: Arc<Scene>,
    agenda: BTreeMap<(u64, u64), Action>,
    sequence: u64,
    pub steps: u64,
    /// Which fault goes on now, and its place in the history.
    pub active: BTreeMap<usize, usize>,
    /// Which life a fault struck.
    pub struck: BTreeMap<usize, usize>,
    /// When each host's process ended last: it cannot start in the same step.
    ended_at: BTreeMap<Host, u64>,
}

impl Cluster<'_> {
    pub(super) fn new(scene: Arc<Scene>) -> Self {
        let plan = &scene.plan;
        let delay = plan.options.delay;
        let sim = Builder::new()
            .rng_seed(mix(plan.seed, &[52]))
            .epoch(SystemTime::UNIX_EPOCH)
            .tick_duration(Duration::from_nanos(TICK))
            .min_message_latency(Duration::from_nanos(delay.0))
            .max_message_latency(Duration::from_nanos(delay.1))
            .tcp_capacity(TCP_CAPACITY)
            .enable_random_order()
            .build();
        let mut cluster = Self {
            sim,
            agenda: BTreeMap::new(),
            sequence: 0,
            steps: 0,
            active: BTreeMap::new(),
            struck: BTreeMap::new(),
            ended_at: BTreeMap::new(),
            scene: Arc::clone(&scene),
        };
        scene.begin_stranger();
        for host in 0..=scene.stranger() {
            if host != scene.stranger() {
                scene.begin_life(host, id_of(&scene, host, 0));
            }
            let shared = Arc::clone(&scene);
            cluster.sim.host(called(scene.options(), host), move || {
                software(&shared, host)
            });
        }
        for (index, fault) in plan.faults.iter().enumerate() {
            cluster.at(fault.at, Action::FaultBegins(index));
        }
        cluster.at(plan.options.heal_at, Action::Heal);
        cluster
    }

    pub(super) fn now(&self) -> u64 {
        self.sim.elapsed().as_nanos() as u64
    }

    fn at(&mut self, at: u64, action: Action) {
        self.agenda.insert((at, self.sequence), action);
        self.sequence += 1;
    }

    pub(super) fn start_after(&mut self, delay: u64, host: Host) {
        self.at(self.now() + delay, Action::Start(host));
    }

    pub(super) fn failed(&self) -> bool {
        self.scene.lock().failure.is_some()
    }

    /// Does what is due, and lets every host have its turn of one tick.
    pub(super) fn step(&mut self) {
        let now = self.now();
        self.scene.set_clock(now);
        while let Some(first) = self.agenda.first_entry()
            && first.key().0 <= now
        {
            let action = first.remove();
            self.act(action);
        }
        self.steps += 1;
        let stepped = self.sim.step();
        self.scene.set_clock(self.now());
        if let Some((text, place)) = take_panic() {
            let promise = "17 (no input makes a process panic)";
            let text = format!("{text} ({place})");
            self.scene.fail(Failure::new(Class::Panic, promise, text));
        } else if let Err(error) = stepped {
            let failure = Failure::new(Class::Panic, "simulator", error.to_string());
            self.scene.fail(failure);
        }
        let ended = std::mem::take(&mut self.scene.lock().ended);
        for (host, life, why) in ended {
            self.ended_at.insert(host, self.now());
            let mut rng = stream(
                self.scene.plan.seed,
                &[
                    if why == Why::Left { 16 } else { 15 },
                    u64::from(host),
                    life as u64,
                ],
            );
            let delay = match why {
                Why::Left => rng.between(10 * MS, S),
                Why::Poisoned => rng.between(20 * MS, 500 * MS),
            };
            self.start_after(delay, host);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::FaultBegins(fault) => {
                self.fault_begins(fault);
                let span = self.scene.plan.faults[fault].span;
                self.at(self.now() + span, Action::FaultEnds(fault));
            }
            Action::FaultEnds(fault) => self.fault_ends(fault),
            Action::Start(host) => self.start(host),
            Action::Heal => self.heal(),
        }
    }

    /// Starts the process of a host, if none runs.
    pub(super) fn start(&mut self, host: Host) {
        let inner = self.scene.lock();
        let state = &inner.hosts[usize::from(host)];
        if state.is_alive() || state.gone {
            return;
        }
        let count = state.lives;
        drop(inner);
        // What is left of the old process is dropped in the next step.
        if self.ended_at.get(&host).is_some_and(|at| *at >= self.now()) {
            return self.start_after(TICK, host);
        }
        self.set_dark(host, false);
        let id = id_of(&self.scene, host, count);
        self.scene.begin_life(host, id);
        let name = called(self.scene.options(), host);
        self.sim.bounce(name);
    }

    /// Ends the process of a host; nobody is told if it is not `polite`.
    pub(super) fn end_process(&mut self, host: Host, polite: bool, why: &str) {
        let inner = self.scene.lock();
        let state = &inner.hosts[usize::from(host)];
        let alive = state.is_alive();
        let Some(process) = &state.process else {
            return;
        };
        let (life, pool) = (process.life, process.pool.clone());
        drop(inner);
        if !polite {
            self.set_dark(host, true);
        }
        if alive {
            if let Some(pool) = pool {
                pool.end();
            }
            let _turn = Turn::of(host);
            self.scene.end_life(host, life, why);
            self.ended_at.insert(host, self.now());
        }
    }

    /// Gives a host power, or takes it.
    pub(super) fn set_dark(&mut self, host: Host, dark: bool) {
        self.scene.lock().links.set_dark(host, dark);
        self.apply_links(&[host]);
    }

    /// Makes all links of these hosts what they are to be.
    pub(super) fn apply_links(&self, hosts: &[Host]) {
        let inner = self.scene.lock();
        for a in hosts {
            for b in 0..=self.scene.stranger() {
                if b != *a {
                    inner.links.apply(&self.sim, self.scene.options(), *a, b);
                }
            }
        }
    }

    /// Asks something of the process of a host, if it lives.
    pub(super) fn tell(&self, host: Host, command: Command) {
        let inner = self.scene.lock();
        let process = inner.hosts[usize::from(host)].process.as_ref();
        let commands = process.and_then(|process| process.commands.clone());
        drop(inner);
        if let Some(commands) = commands {
            let _ = commands.send(command);
        }
    }

    pub(super) fn disturb(&mut self, fault: usize, hosts: Vec<Host>, what: &'static str) {
        let from = self.now();
        let mut inner = self.scene.lock();
        let place = inner.history.disturbances.len();
        inner.history.disturbances.push(Disturbance {
            from,
            to: u64::MAX,
            hosts,
            what,
        });
        *inner.report.faults.entry(what).or_default() += 1;
        drop(inner);
        self.active.insert(fault, place);
    }

    /// Faults end for the core; everybody else is dead from now on.
    fn heal(&mut self) {
        self.scene
            .say_fault(|| "all faults end for the core; the others stay dead".to_owned());
        let now = self.now();
        self.scene.lock().history.healed_at = Some(now);
        let active: Vec<usize> = self.active.keys().copied().collect();
        for fault in active {
            self.fault_ends(fault);
        }
        for host in 0..self.scene.stranger() {
            if self.scene.options().is_core(host) {
                self.set_dark(host, false);
                self.start(host);
                continue;
            }
            let mut inner = self.scene.lock();
            inner.history.disturbances.push(Disturbance {
                from: now,
                to: u64::MAX,
                hosts: vec![host],
                what: "stays-dead",
            });
            inner.hosts[usize::from(host)].gone = true;
            drop(inner);
            let polite = stream(self.scene.plan.seed, &[17, u64::from(host)]).percent(50);
            self.end_process(host, polite, "it stays dead");
        }
    }
}
