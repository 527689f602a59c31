//! Faults come and go, in turmoil's terms.
//!
//! turmoil repeats nothing that it drops: after a cut, a connection on which something was lost
//! stays silent for ever in that direction, so a cut here is harder than on a real network. Half
//! of the isolations hold messages instead, as a kernel that repeats them would.

use std::sync::Arc;
use std::time::Duration;

use super::cluster::Cluster;
use super::executor::PoolCell;
use super::host::called;
use super::scene::{Abort, Command};
use crate::faults::FaultKind;
use crate::options::Host;
use crate::pool::{Pool, PoolEffects};
use crate::rng::{Draw, stream};

impl Cluster<'_> {
    pub(super) fn fault_begins(&mut self, fault: usize) {
        let scene = Arc::clone(&self.scene);
        let planned = &scene.plan.faults[fault];
        scene.say_fault(|| {
            let span = planned.span as f64 / 1e9;
            format!("{:?} for {span:.3} s begins", planned.kind)
        });
        self.disturb(fault, planned.kind.hosts(), planned.kind.name());
        match &planned.kind {
            // Nobody answers at its address in its stead: strangers at managers' addresses are the
            // fast level's.
            FaultKind::Crash(host) | FaultKind::Impostor(host) => {
                self.end_process(*host, true, "it crashes");
            }
            FaultKind::PowerLoss(host) => self.end_process(*host, false, "it loses power"),
            FaultKind::Pause(host) | FaultKind::Freeze(host) => {
                if let Some(life) = self.life(*host) {
                    self.struck.insert(fault, life);
                    scene.pause(*host, life, true);
                }
            }
            FaultKind::Cut(from, to) => self.cut(*from, *to, true),
            FaultKind::Isolate(hosts) => self.isolate(fault, hosts, true),
            FaultKind::Reset(a, b) => {
                scene.abort(*a, *b, Abort::Reset);
                scene.abort(*b, *a, Abort::Reset);
            }
            FaultKind::HalfOpen(a, b) => scene.abort(*a, *b, Abort::Silent),
            FaultKind::Slow(a, b, extra) => self.set_latency(*a, *b, *extra),
            FaultKind::KillChild(host, slot) => {
                if let Some(cell) = self.pool(*host) {
                    cell.act(|pool, now, history| pool.kill_child(now, *slot, history));
                }
            }
            FaultKind::SlowWorker(host, times) => {
                self.with_pool(*host, |pool| pool.slowness = u64::from(*times));
            }
            FaultKind::StuckChildren(host, late) => {
                self.with_pool(*host, |pool| pool.stuck = *late);
            }
            FaultKind::NoSpawn(host) => self.with_pool(*host, |pool| pool.no_spawn = true),
            FaultKind::Spoil(host) => self.with_pool(*host, |pool| pool.spoiled = true),
            FaultKind::Short(host) => self.with_pool(*host, |pool| pool.short = true),
            FaultKind::Drain(host) => self.tell(*host, Command::Drain),
            FaultKind::Stop(host) => self.tell(*host, Command::Stop),
            FaultKind::Hostile(manager) => {
                let (manager, span) = (*manager, planned.span);
                self.tell(
                    scene.stranger(),
                    Command::Pester {
                        fault,
                        manager,
                        span,
                    },
                );
            }
        }
    }

    pub(super) fn fault_ends(&mut self, fault: usize) {
        let Some(place) = self.active.remove(&fault) else {
            return;
        };
        let now = self.now();
        let scene = Arc::clone(&self.scene);
        scene.lock().history.disturbances[place].to = now;
        let planned = &scene.plan.faults[fault];
        scene.say_fault(|| format!("{:?} ends", planned.kind));
        match &planned.kind {
            FaultKind::Crash(host) | FaultKind::PowerLoss(host) | FaultKind::Impostor(host) => {
                self.set_dark(*host, false);
                self.start(*host);
            }
            FaultKind::Pause(host) | FaultKind::Freeze(host) => {
                if let Some(life) = self.struck.remove(&fault) {
                    scene.pause(*host, life, false);
                }
            }
            FaultKind::Cut(from, to) => self.cut(*from, *to, false),
            FaultKind::Isolate(hosts) => self.isolate(fault, hosts, false),
            FaultKind::Slow(a, b, _) => self.set_latency(*a, *b, 0),
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

    fn life(&self, host: Host) -> Option<usize> {
        let inner = self.scene.lock();
        let state = &inner.hosts[usize::from(host)];
        state
            .process
            .as_ref()
            .filter(|_| state.is_alive())
            .map(|process| process.life)
    }

    fn pool(&self, host: Host) -> Option<Arc<PoolCell>> {
        let inner = self.scene.lock();
        inner.hosts[usize::from(host)]
            .process
            .as_ref()?
            .pool
            .clone()
    }

    fn with_pool(&self, host: Host, change: impl FnOnce(&mut Pool)) {
        if let Some(cell) = self.pool(host) {
            cell.act(|pool, _, _| {
                change(pool);
                PoolEffects::default()
            });
        }
    }

    fn cut(&mut self, from: Host, to: Host, begins: bool) {
        let mut inner = self.scene.lock();
        inner.links.cut(from, to, begins);
        inner.links.apply(&self.sim, self.scene.options(), from, to);
    }

    fn isolate(&mut self, fault: usize, inside: &[Host], begins: bool) {
        let held = stream(self.scene.plan.seed, &[53, fault as u64]).percent(50);
        let mut inner = self.scene.lock();
        for a in inside {
            for b in (0..self.scene.stranger()).filter(|b| !inside.contains(b)) {
                if held {
                    inner.links.hold(*a, b, begins);
                } else {
                    inner.links.cut(*a, b, begins);
                    inner.links.cut(b, *a, begins);
                }
            }
        }
        drop(inner);
        self.apply_links(inside);
    }

    /// Messages between the two take up to `extra`, or as long as ever.
    fn set_latency(&self, a: Host, b: Host, extra: u64) {
        let options = self.scene.options();
        let [a, b] = [called(options, a), called(options, b)];
        let (least, most) = options.delay;
        let least = Duration::from_nanos(least);
        let most = Duration::from_nanos(most.max(extra));
        // The first call sets both ends of the range.
        self.sim.set_link_latency(a.as_str(), b.as_str(), least);
        self.sim
            .set_link_max_message_latency(a.as_str(), b.as_str(), most);
    }
}
