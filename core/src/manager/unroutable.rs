//! What becomes of tasks when workers come that run other names than those before, or when the
//! last that could run a name goes.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::time::Duration;

use crate::event::{CloseReason, Event};
use crate::message::{Body, RefuseReason};
use crate::name::Name;
use crate::offer::Offer;
use crate::payload::Payload;
use crate::queue::{ClassId, Push, Standing, TaskKey};
use crate::router::WorkerKey;
use crate::steps::step;
use crate::task::{Outcome, RejectReason};
use crate::time::{AwakeInstant, Instant, Timers};

use super::abilities::{KindKey, NOBODY};
use super::rest::Rest;
use super::session::WorkerSession;
use super::similar::similar;
use super::tasks::State;
use super::{Alarm, Manager, ManagerOutput, PeerTimer};

/// How often at most it is asked again whether somebody may yet come who can run a task.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Rest after the queue was gone through because of what workers run, for each look at a task: that
/// takes a tenth of this or less.
const RENEWAL_REST: Duration = Duration::from_nanos(1_500);
/// So much rest may be due and the queue is still gone through once more: a few workers that come
/// need not wait for each other.
const RENEWAL_BURST: Duration = Duration::from_millis(10);
/// Names without tasks that may be listed before the list is made anew.
const UNROUTABLE_SLACK: usize = 64;
/// Names for which others are suggested at one time: looking for them takes a while.
const SUGGESTIONS_MAX: usize = 16;

/// Names of waiting tasks that nobody can run, and until when each waits.
#[derive(Clone, Debug, Default)]
pub(super) struct Unroutable {
    until: Timers<Name, AwakeInstant>,
    /// When it was last looked through the queue for those that are due.
    looked: Option<AwakeInstant>,
}

impl Unroutable {
    pub(super) fn contains(&self, name: &Name) -> bool {
        self.until.get(name.clone()).is_some()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.until.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.until.len()
    }

    /// When to look again: as the first is due, and not too soon after the last look.
    fn next(&self) -> Option<AwakeInstant> {
        let (first, _) = self.until.next()?;
        let rested = self.looked.map(|looked| looked + LOOK_EVERY);
        Some(rested.map_or(first, |rested| first.max(rested)))
    }

    /// Takes out the names that are due.
    fn take_due(&mut self, awake: AwakeInstant) -> BTreeSet<Name> {
        let mut names = BTreeSet::new();
        while let Some(name) = self.until.pop_due(awake) {
            step();
            names.insert(name);
        }
        names
    }
}

/// What workers have said that they run and that has yet to take effect.
#[derive(Clone, Debug, Default)]
pub(super) struct Renewal {
    /// Offers that no worker made before.
    offers: BTreeMap<WorkerKey, Offer>,
    /// A kind has lost its last worker.
    lost: bool,
    rest: Rest,
}

impl Renewal {
    pub(super) fn is_due(&self) -> bool {
        self.lost || !self.offers.is_empty()
    }
}

impl Manager {
    /// A worker says what it can run, now.
    pub(super) fn on_offer(&mut self, key: WorkerKey, offer: Offer) {
        let current = self.worker(key).kind;
        if current.is_some_and(|kind| *self.abilities.offer(kind) == offer) {
            return;
        }
        self.leave_kind(key);
        if offer.is_nothing() {
            return;
        }
        match self.abilities.join(&offer) {
            Some(kind) => self.enter_kind(key, kind),
            // It takes effect when the classes are renewed: until then a class may still mean a
            // kind whose number would be used again.
            None => {
                self.renewal.offers.insert(key, offer);
            }
        }
    }

    fn enter_kind(&mut self, key: WorkerKey, kind: KindKey) {
        self.worker(key).kind = Some(kind);
        self.rescore(key);
    }

    /// What the worker has said that it runs holds no longer.
    pub(super) fn leave_kind(&mut self, key: WorkerKey) {
        self.renewal.offers.remove(&key);
        let session = self.worker(key);
        let counted = core::mem::take(&mut session.counted_trusted);
        if let Some(kind) = session.kind.take() {
            if counted {
                self.abilities.count_trusted(kind, false);
            }
            self.abilities.leave(kind, key);
            self.renewal.lost |= self.abilities.workers(kind) == 0;
        }
    }

    /// Lets new kinds of workers in and renews the classes, if there is reason to. That goes
    /// through the queue, so the next time has to wait for as long as this takes a small part of
    /// the time, however often workers change their minds.
    pub(super) fn renew_if_due(&mut self, now: Instant) {
        if !self.renewal.is_due() {
            return;
        }
        if let Some(at) = self.renewal.rest.wait(now, RENEWAL_BURST) {
            return self.alarms.set(Alarm::Renew, at);
        }
        self.alarms.cancel(Alarm::Renew);
        for (key, offer) in core::mem::take(&mut self.renewal.offers) {
            self.forget_idle_kinds(now);
            match self.abilities.join_new(offer) {
                Some(kind) => self.enter_kind(key, kind),
                None => self.refuse_kind(now, key),
            }
        }
        self.renewal.lost = false;
        self.renew_classes(now);
        self.pardon_needed();
        // The name of each task is held against every kind, twice, if it has not been lately.
        let tasks = self.queue.len() + self.queue.returning();
        let looks = tasks * (2 + 2 * self.abilities.kinds().count());
        let rest = RENEWAL_REST.saturating_mul(u32::try_from(looks).unwrap_or(u32::MAX));
        self.renewal.rest.owe(now, rest);
    }

    /// There are too many kinds of workers for one more.
    fn refuse_kind(&mut self, now: Instant, key: WorkerKey) {
        if let Some(conn) = self.worker(key).conn {
            let reason = RefuseReason::Full;
            let name = self.worker(key).name.clone();
            self.notify(Event::KindRefused { name });
            let message = Body::Refuse(reason).into();
            self.outputs
                .push_back(ManagerOutput::Send { conn, message });
            self.close(now, conn, CloseReason::Refused(reason));
        }
    }

    /// Puts every task that waits into the class that it is in now.
    fn renew_classes(&mut self, now: Instant) {
        let tasks = &self.tasks;
        let waiting = self.queue.iter().map(|entry| {
            step();
            let task = &tasks[entry.task];
            (entry.class, &task.name, task.name_key)
        });
        self.abilities.renew(waiting);
        let mut moves: Vec<(u64, TaskKey, ClassId)> = Vec::new();
        for entry in self.queue.iter() {
            step();
            let task = &self.tasks[entry.task];
            let class = self.abilities.class_of(&task.name, task.name_key);
            if class != entry.class {
                moves.push((entry.order, entry.task, class));
            }
        }
        // In order of acceptance, so that what is newest stays so.
        moves.sort_unstable();
        for (_, task, class) in moves {
            self.queue.set_class(task, class);
        }
        self.list_unroutable(now);
    }

    /// Brings the names that nobody can run up to date with the tasks that wait.
    fn list_unroutable(&mut self, now: Instant) {
        let until = self.clock.at(now) + self.config.runner_wait;
        let before = core::mem::take(&mut self.unroutable);
        self.unroutable.looked = before.looked;
        for entry in self.queue.iter() {
            step();
            if entry.class != NOBODY {
                continue;
            }
            let name = &self.tasks[entry.task].name;
            if !self.unroutable.contains(name) {
                let until = before.until.get(name.clone()).unwrap_or(until);
                self.unroutable.until.set(name.clone(), until);
            }
        }
        self.watch_unroutable();
    }

    /// Queues a task.
    pub(super) fn push(&mut self, now: Instant, key: TaskKey, standing: Standing) -> Push {
        let record = &self.tasks[key];
        let class = self.abilities.class_of(&record.name, record.name_key);
        let push = self.queue.push(record.entry(key, class, standing));
        if class == NOBODY && matches!(push, Push::Queued { .. }) {
            self.note_unroutable(now, key);
        }
        push
    }

    fn note_unroutable(&mut self, now: Instant, key: TaskKey) {
        let until = self.clock.at(now) + self.config.runner_wait;
        let name = &self.tasks[key].name;
        if self.unroutable.contains(name) {
            return;
        }
        self.unroutable.until.set(name.clone(), until);
        // Names whose tasks have left otherwise are still listed; not many more than the others.
        if self.unroutable.len() > 2 * self.queue.class_len(NOBODY) + UNROUTABLE_SLACK {
            return self.list_unroutable(now);
        }
        self.watch_unroutable();
    }

    fn watch_unroutable(&mut self) {
        match self.unroutable.next() {
            Some(until) => self.peer_timers.set(PeerTimer::Unroutable, until),
            None => self.peer_timers.cancel(PeerTimer::Unroutable),
        }
    }

    /// Refuses the tasks that nobody can run and that have waited long enough for somebody who
    /// can. While no worker is here at all, or one that has just come has yet to say what it runs,
    /// nothing can be known, and they go on waiting.
    pub(super) fn on_unroutable(&mut self, now: Instant) {
        let awake = self.clock.at(now);
        let wait = self.config.runner_wait;
        let unknown = self.may_yet_be_run(awake);
        let due = self.unroutable.take_due(awake);
        if unknown {
            for name in due {
                self.unroutable
                    .until
                    .set(name, awake + wait.max(LOOK_EVERY));
            }
            return self.watch_unroutable();
        }
        self.unroutable.looked = Some(awake);
        let is_due = |task: &TaskKey| due.contains(&self.tasks[*task].name);
        let waiting = self.queue.iter().inspect(|_| step());
        let waiting = waiting.filter(|entry| entry.class == NOBODY);
        let mut tasks: Vec<TaskKey> = waiting.map(|entry| entry.task).filter(is_due).collect();
        tasks.sort_unstable_by_key(|task| {
            let task = &self.tasks[*task];
            (task.name.clone(), task.order)
        });
        let mut suggested: Option<(Name, Vec<Name>)> = None;
        let mut suggestions = 0;
        for task in tasks {
            let name = self.tasks[task].name.clone();
            let near = match &suggested {
                Some((same, near)) if *same == name => near.clone(),
                _ if suggestions < SUGGESTIONS_MAX => {
                    suggestions += 1;
                    let kinds = self.abilities.kinds();
                    let known = kinds.flat_map(|kind| self.abilities.offer(kind).names());
                    suggested
                        .insert((name.clone(), similar(&name, known)))
                        .1
                        .clone()
                }
                _ => Vec::new(),
            };
            self.strand(now, task, near);
        }
        self.watch_unroutable();
    }

    /// Whether it cannot be known yet who runs what: no worker is here, or one that has just come
    /// has yet to say it.
    fn may_yet_be_run(&self, awake: AwakeInstant) -> bool {
        let patience = self.config.resume_window;
        let silent = |(_, session): (WorkerKey, &WorkerSession)| {
            session.conn.is_some() && session.kind.is_none() && session.joined + patience > awake
        };
        self.connected_workers == 0 || self.workers.iter().any(silent)
    }

    /// A task has waited for its start for as long as it may. One that nobody can run is told so.
    pub(super) fn reject_late(&mut self, now: Instant, key: TaskKey) {
        let record = &self.tasks[key];
        let queued = matches!(record.state, State::Queued);
        let name = record.name.clone();
        let nobody = queued && self.unroutable.contains(&name);
        if nobody && !self.may_yet_be_run(self.clock.at(now)) {
            let kinds = self.abilities.kinds();
            let known = kinds.flat_map(|kind| self.abilities.offer(kind).names());
            let near = similar(&name, known);
            return self.strand(now, key, near);
        }
        self.reject_task(now, key, RejectReason::TooSlow);
    }

    /// Ends a task that nobody can run.
    fn strand(&mut self, now: Instant, key: TaskKey, near: Vec<Name>) {
        let record = &self.tasks[key];
        debug_assert!(matches!(record.state, State::Queued));
        if record.may_have_run {
            let (id, history) = (record.id, record.history());
            self.notify(Event::TaskLost { task: id });
            let outcome = Outcome::Lost { history };
            return self.end(now, key, outcome, Payload::empty(), None);
        }
        let (client, seq) = (record.client, record.id.seq);
        self.withdraw(now, key);
        self.tasks.remove(key);
        self.refuse_naming(now, client, seq, RejectReason::NoRunner, false, near);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ConnId, Epoch, PeerId};
    use crate::machine::Machine as _;
    use crate::manager::{ManagerConfig, ManagerInput};
    use crate::message::{Body, Hello, MAGIC, Message, Role, Submit, VERSION};
    use crate::task::Priority;
    use crate::time::Nanos;
    use std::format;

    /// A client that submits names that nobody runs and takes them back makes no list longer.
    #[test]
    fn names_whose_tasks_have_left_are_not_kept() {
        let now = Instant::ZERO;
        let mut manager = Manager::new(ManagerConfig::new(Epoch(1)), now);
        let conn = ConnId(0);
        manager.handle_input(now, ManagerInput::Accepted { conn, from: None });
        let say = |manager: &mut Manager, body: Body| {
            let message = Message::from(body);
            manager.handle_input(now, ManagerInput::Received { conn, message });
            manager.settle(now);
            while manager.poll_output().is_some() {}
        };
        let name = |text: &str| Name::new(text).expect("valid");
        let hello = Hello {
            magic: MAGIC,
            version: VERSION,
            role: Role::Client,
            peer: PeerId(1),
            connection: 1,
            session: None,
            name: name("client"),
        };
        say(&mut manager, Body::Hello(hello));
        for seq in 0..1_000 {
            let submit = Submit {
                seq,
                priority: Priority::NORMAL,
                max_attempts: 1,
                at_most_once: false,
                may_have_run: false,
                deadline: Nanos::NONE,
                max_wait: Nanos::NONE,
                time_limit: Nanos::NONE,
                name: name(&format!("nobody-runs-{seq}")),
            };
            say(&mut manager, Body::Submit(submit));
            let waiting = manager.queue.class_len(NOBODY);
            assert!(manager.unroutable.len() <= 2 * waiting + UNROUTABLE_SLACK + 1);
            if seq >= 3 {
                say(&mut manager, Body::Cancel { seq });
            }
        }
        assert_eq!(manager.queue.class_len(NOBODY), 3);
        manager.check_invariants();
    }
}
