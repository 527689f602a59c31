//! A worker's executor: the simulated pool of the fast level, on the virtual time of its host.
//!
//! The pool has a task of its own, which goes on while the worker stands still. Things happen to
//! it at the instants that it planned, although timers ring a little later.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use argon::Executor;
use argon_core::worker::{PoolInput, PoolOutput};
use tokio::sync::Notify;

use super::scene::{Scene, Why};
use crate::history::History;
use crate::options::Host;
use crate::pool::{Pool, PoolEffects, PoolEvent};
use crate::world::short;

/// A pool, shared by its worker's driver, its own task, and the faults.
pub(super) struct PoolCell {
    scene: Arc<Scene>,
    host: Host,
    life: usize,
    state: Mutex<State>,
    /// Something is to happen sooner than its task knows.
    sooner: Notify,
}

struct State {
    pool: Pool,
    /// What is to happen, in order of time and of planning.
    later: BTreeMap<(u64, u64), PoolEvent>,
    sequence: u64,
    told: Vec<PoolInput>,
    driver: Option<Waker>,
    alive: bool,
}

impl PoolCell {
    pub(super) fn new(scene: &Arc<Scene>, host: Host, life: usize, count: u64) -> Arc<Self> {
        let pool = Pool::new(scene.plan.seed, life, host, count, scene.options());
        Arc::new(Self {
            scene: Arc::clone(scene),
            host,
            life,
            state: Mutex::new(State {
                pool,
                later: BTreeMap::new(),
                sequence: 0,
                told: Vec::new(),
                driver: None,
                alive: true,
            }),
            sooner: Notify::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets things happen at their instants, for as long as the pool's process lives.
    pub(super) async fn run(self: Arc<Self>) {
        loop {
            self.act(|_, _, _| PoolEffects::default());
            let next = {
                let state = self.lock();
                if !state.alive {
                    return;
                }
                state.next()
            };
            let due = async {
                match next {
                    Some(at) => {
                        let left = at.saturating_sub(self.scene.now());
                        tokio::time::sleep(Duration::from_nanos(left)).await;
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.sooner.notified() => {}
                () = due => {}
            }
        }
    }

    /// Does what is due, and then `act`, now.
    pub(super) fn act(&self, act: impl FnOnce(&mut Pool, u64, &mut History) -> PoolEffects) {
        let now = self.scene.now();
        let mut state = self.lock();
        let expected = state.next();
        while state.alive
            && let Some(first) = state.later.first_entry()
            && first.key().0 <= now
        {
            let ((at, _), event) = first.remove_entry();
            let mut inner = self.scene.lock();
            let effects = state
                .pool
                .event(at, event, &self.scene.plan.tasks, &mut inner.history);
            drop(inner);
            self.apply(&mut state, at, effects);
        }
        if !state.alive {
            return;
        }
        let effects = act(&mut state.pool, now, &mut self.scene.lock().history);
        self.apply(&mut state, now, effects);
        let driver = if state.told.is_empty() {
            None
        } else {
            state.driver.take()
        };
        let next = state.next();
        drop(state);
        if next.is_some_and(|next| expected.is_none_or(|expected| next < expected)) {
            self.sooner.notify_one();
        }
        if let Some(driver) = driver {
            driver.wake();
        }
    }

    /// No child outlives its worker.
    pub(super) fn end(&self) {
        let now = self.scene.now();
        self.end_at(&mut self.lock(), now);
    }

    fn end_at(&self, state: &mut State, now: u64) {
        if state.alive {
            state.alive = false;
            state.told.clear();
            state.pool.end(now, &mut self.scene.lock().history);
        }
    }

    fn apply(&self, state: &mut State, now: u64, effects: PoolEffects) {
        for (delay, event) in effects.later {
            let key = (now.saturating_add(delay), state.sequence);
            state.sequence += 1;
            state.later.insert(key, event);
        }
        if let Some(began) = effects.began {
            let mut inner = self.scene.lock();
            inner.report.executions += 1;
            let run = &inner.history.execution(began);
            let (task, attempt) = (run.task, run.attempt.1);
            drop(inner);
            self.scene.say(self.host, Some(task), || {
                format!("execution {began} begins: task {task}, attempt {attempt}")
            });
        }
        for input in &effects.tell {
            let task = match input {
                PoolInput::Done { payload, .. } => crate::workload::number_of(payload),
                _ => None,
            };
            self.scene
                .say(self.host, task, || short(&format!("pool: {input:?}")));
        }
        state.told.extend(effects.tell);
        if effects.worker_dies {
            self.end_at(state, now);
            self.scene.ended(self.host, self.life, Why::Poisoned);
        }
    }
}

impl State {
    fn next(&self) -> Option<u64> {
        self.later.keys().next().map(|(at, _)| *at)
    }
}

/// The driver's end of the pool.
pub(super) struct SimExecutor(pub(super) Arc<PoolCell>);

impl Executor for SimExecutor {
    fn execute(&mut self, action: PoolOutput) {
        let cell = &self.0;
        cell.scene
            .say(cell.host, None, || short(&format!("{action:?}")));
        cell.act(|pool, now, history| pool.command(now, action, &cell.scene.plan.tasks, history));
    }

    fn poll(&mut self, cx: &mut Context<'_>, events: &mut Vec<PoolInput>) -> Poll<()> {
        self.0.act(|_, _, _| PoolEffects::default());
        let mut state = self.0.lock();
        if state.told.is_empty() {
            state.driver = Some(cx.waker().clone());
            return Poll::Pending;
        }
        events.append(&mut state.told);
        Poll::Ready(())
    }
}
