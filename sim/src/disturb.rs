//! Faults come and go.

use argon_core::ids::ConnId;

use crate::faults::FaultKind;
use crate::history::Disturbance;
use crate::network::{ConnIndex, EndState};
use crate::options::Host;
use crate::pool::Pool;
use crate::process::{Fact, Node};
use crate::rng::{Draw, stream};
use crate::world::{Event, World};

impl World<'_> {
    pub(crate) fn fault_begins(&mut self, fault: usize) {
        let plan = self.plan;
        let planned = &plan.faults[fault];
        self.say_fault(|| {
            let span = planned.span as f64 / 1e9;
            format!("{:?} for {span:.3} s begins", planned.kind)
        });
        self.disturb(fault, planned.kind.hosts(), planned.kind.name());
        self.after(planned.span, Event::FaultEnds(fault));
        let now = self.now;
        match &planned.kind {
            FaultKind::Crash(host) => self.end_process(*host, true, "it crashes"),
            FaultKind::PowerLoss(host) => self.end_process(*host, false, "it loses power"),
            FaultKind::Pause(host) => self.pause(fault, *host),
            FaultKind::Cut(from, to) => self.net.block(*from, *to),
            FaultKind::Isolate(hosts) => self.isolate(hosts, true),
            FaultKind::Reset(a, b) => {
                for index in self.between(*a, *b) {
                    self.go_black(index);
                    for side in 0..2 {
                        let delay = self.net.delay(index, side);
                        self.after(delay, Event::Reset(index, side));
                    }
                }
            }
            FaultKind::HalfOpen(a, b) => {
                for index in self.between(*a, *b) {
                    self.go_black(index);
                    let side = usize::from(self.net.connections[index].ends[0].host != *a);
                    self.reset(index, side);
                }
            }
            FaultKind::Slow(a, b, extra) => {
                self.net.set_slow(*a, *b, Some(*extra));
                self.net.set_slow(*b, *a, Some(*extra));
            }
            FaultKind::KillChild(host, slot) => {
                let Some(process) = &mut self.hosts[usize::from(*host)].process else {
                    return;
                };
                let life = process.life;
                if let Node::Worker(_, pool) = &mut process.node {
                    let effects = pool.kill_child(now, *slot, &mut self.history);
                    self.apply_pool(*host, life, effects);
                }
            }
            FaultKind::SlowWorker(host, times) => {
                self.with_pool(*host, |pool| pool.slowness = u64::from(*times));
            }
            FaultKind::StuckChildren(host, late) => {
                self.with_pool(*host, |pool| pool.stuck = *late)
            }
            FaultKind::NoSpawn(host) => self.with_pool(*host, |pool| pool.no_spawn = true),
            FaultKind::Spoil(host) => self.with_pool(*host, |pool| pool.spoiled = true),
            FaultKind::Short(host) => self.with_pool(*host, |pool| pool.short = true),
            FaultKind::Drain(host) => self.tell(*host, Fact::Drain),
            FaultKind::Stop(host) => self.tell(*host, Fact::Stop),
            FaultKind::Hostile(manager) => self.hostile_begins(fault, *manager, planned.span),
            FaultKind::Freeze(host) => {
                self.hosts[usize::from(*host)].frozen += 1;
                self.pause(fault, *host);
            }
            FaultKind::Impostor(host) => {
                self.end_process(*host, true, "it crashes");
                self.impostor_begins(*host);
            }
        }
    }

    pub(crate) fn fault_ends(&mut self, fault: usize) {
        let Some(place) = self.active.remove(&fault) else {
            return;
        };
        self.history.disturbances[place].to = self.now;
        let plan = self.plan;
        let planned = &plan.faults[fault];
        self.say_fault(|| format!("{:?} ends", planned.kind));
        match &planned.kind {
            FaultKind::Crash(host) | FaultKind::PowerLoss(host) => {
                self.hosts[usize::from(*host)].dark = false;
                self.start(*host);
            }
            FaultKind::Pause(host) => self.go_on(fault, *host),
            FaultKind::Freeze(host) => {
                let state = &mut self.hosts[usize::from(*host)];
                state.frozen -= 1;
                if state.frozen == 0 {
                    for (life, event) in std::mem::take(&mut state.thawing) {
                        self.after(0, Event::Pool(*host, life, event));
                    }
                }
                self.go_on(fault, *host);
            }
            FaultKind::Impostor(host) => {
                self.impostor_ends(*host);
                self.start(*host);
            }
            FaultKind::Cut(from, to) => {
                self.net.unblock(*from, *to);
                self.unstall();
            }
            FaultKind::Isolate(hosts) => {
                self.isolate(hosts, false);
                self.unstall();
            }
            FaultKind::Slow(a, b, _) => {
                self.net.set_slow(*a, *b, None);
                self.net.set_slow(*b, *a, None);
            }
            FaultKind::SlowWorker(host, _) => self.with_pool(*host, |pool| pool.slowness = 1),
            FaultKind::StuckChildren(host, _) => self.with_pool(*host, |pool| pool.stuck = 0),
            FaultKind::NoSpawn(host) => self.with_pool(*host, |pool| pool.no_spawn = false),
            FaultKind::Spoil(host) => self.with_pool(*host, |pool| pool.spoiled = false),
            FaultKind::Short(host) => self.with_pool(*host, |pool| pool.short = false),
            FaultKind::Reset(..)
            | FaultKind::HalfOpen(..)
            | FaultKind::KillChild(..)
            | FaultKind::Drain(_)
            | FaultKind::Hostile(_)
            | FaultKind::Stop(_) => {}
        }
    }

    /// Faults end for the core; everybody else is dead from now on.
    pub(crate) fn heal(&mut self) {
        self.say_fault(|| "all faults end for the core; the others stay dead".to_owned());
        self.history.healed_at = Some(self.now);
        let active: Vec<usize> = self.active.keys().copied().collect();
        for fault in active {
            self.fault_ends(fault);
        }
        for host in 0..self.options().hosts() {
            if self.options().is_core(host) {
                self.hosts[usize::from(host)].dark = false;
                self.start(host);
            } else {
                self.history.disturbances.push(Disturbance {
                    from: self.now,
                    to: u64::MAX,
                    hosts: vec![host],
                    what: "stays-dead",
                });
                let polite = stream(self.plan.seed, &[17, u64::from(host)]).percent(50);
                self.end_process(host, polite, "it stays dead");
                self.hosts[usize::from(host)].gone = true;
            }
        }
    }

    fn pause(&mut self, fault: usize, host: Host) {
        if let Some(process) = &mut self.hosts[usize::from(host)].process {
            process.paused += 1;
            let life = process.life;
            self.fault_lives.insert(fault, life);
        }
    }

    fn go_on(&mut self, fault: usize, host: Host) {
        let life = self.fault_lives.remove(&fault);
        if let Some(process) = &mut self.hosts[usize::from(host)].process
            && Some(process.life) == life
        {
            process.paused -= 1;
            if process.paused == 0 && !process.step_due {
                process.step_due = true;
                let life = process.life;
                self.after(0, Event::Step(host, life));
            }
        }
    }

    fn with_pool(&mut self, host: Host, change: impl FnOnce(&mut Pool)) {
        if let Some(process) = &mut self.hosts[usize::from(host)].process
            && let Node::Worker(_, pool) = &mut process.node
        {
            change(pool);
        }
    }

    fn isolate(&mut self, inside: &[Host], block: bool) {
        for a in inside {
            for b in 0..self.options().hosts() {
                if !inside.contains(&b) {
                    if block {
                        self.net.block(*a, b);
                        self.net.block(b, *a);
                    } else {
                        self.net.unblock(*a, b);
                        self.net.unblock(b, *a);
                    }
                }
            }
        }
    }

    /// Connections that are or look open between two hosts.
    fn between(&self, a: Host, b: Host) -> Vec<ConnIndex> {
        let Some(process) = &self.hosts[usize::from(a)].process else {
            return Vec::new();
        };
        let conns: Vec<(&ConnId, &ConnIndex)> = process.conns.iter().collect();
        conns
            .into_iter()
            .filter_map(|(_, index)| {
                let ends = self.net.connections[*index].ends;
                let pair = [ends[0].host, ends[1].host];
                let open = ends.iter().all(|end| end.state == EndState::Open);
                (open && (pair == [a, b] || pair == [b, a])).then_some(*index)
            })
            .collect()
    }

    fn go_black(&mut self, index: ConnIndex) {
        for pipe in &mut self.net.connections[index].pipes {
            pipe.black = true;
            pipe.queue.clear();
        }
    }
}
