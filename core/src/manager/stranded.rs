//! What becomes of tasks when workers come that run other names than those before, or when the
//! last that could run a name goes.

use alloc::vec::Vec;
use core::time::Duration;

use crate::event::{CloseReason, Event};
use crate::ids::ConnId;
use crate::name::Name;
use crate::offer::Offer;
use crate::payload::Payload;
use crate::queue::{ClassId, Push, Standing, TaskKey};
use crate::router::WorkerKey;
use crate::task::{Outcome, RejectReason};
use crate::time::Instant;

use super::abilities::{KindKey, NOBODY};
use super::similar::similar;
use super::task::State;
use super::{Absence, Manager};

/// How often at most it is asked again whether somebody may yet come who can run a task.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Names without tasks that may be listed before the list is made anew.
const STRANDED_SLACK: usize = 64;
/// Names for which others are suggested at one time: looking for them takes a while.
const SUGGESTIONS_MAX: usize = 16;

impl Manager {
    /// A worker says what it can run, now.
    pub(super) fn on_offer(&mut self, now: Instant, conn: ConnId, key: WorkerKey, offer: Offer) {
        let current = self.worker(key).kind;
        if current.is_some_and(|kind| *self.abilities.offer(kind) == offer) {
            return;
        }
        self.set_kind(now, key, None);
        if offer.is_nothing() {
            return;
        }
        match self.abilities.join(offer) {
            Some(kind) => self.set_kind(now, key, Some(kind)),
            None => self.close(
                now,
                conn,
                CloseReason::Protocol("too many kinds of workers"),
            ),
        }
    }

    /// The worker is of `kind` from now on, which it has joined, or of none, having left its own.
    pub(super) fn set_kind(&mut self, now: Instant, key: WorkerKey, kind: Option<KindKey>) {
        let before = core::mem::replace(&mut self.worker(key).kind, kind);
        let mut changed = false;
        if let Some(kind) = before {
            self.abilities.leave(kind, key);
            changed = self.abilities.workers(kind) == 0;
        }
        if let Some(kind) = kind {
            changed |= self.abilities.workers(kind) == 1;
            self.rebid(key);
        }
        if changed {
            self.renew_classes(now);
        }
    }

    /// Puts every task that waits into the class that it is in now.
    fn renew_classes(&mut self, now: Instant) {
        let tasks = &self.tasks;
        let waiting = self.queue.iter().map(|entry| {
            let task = &tasks[entry.task.0 as usize];
            (entry.class, &task.name, task.name_key)
        });
        self.abilities.renew(waiting);
        let mut moves: Vec<(u64, TaskKey, ClassId)> = Vec::new();
        for entry in self.queue.iter() {
            let task = &self.tasks[entry.task.0 as usize];
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
        self.list_stranded(now);
    }

    /// Brings the names that nobody can run up to date with the tasks that wait.
    fn list_stranded(&mut self, now: Instant) {
        let until = self.clock.at(now) + self.config.runner_wait;
        let before = core::mem::take(&mut self.stranded);
        for entry in self.queue.iter().filter(|entry| entry.class == NOBODY) {
            let name = &self.tasks[entry.task.0 as usize].name;
            if !self.stranded.contains_key(name) {
                let until = before.get(name).copied().unwrap_or(until);
                self.stranded.insert(name.clone(), until);
            }
        }
        self.watch_stranded();
    }

    /// Queues a task.
    pub(super) fn push(&mut self, now: Instant, key: TaskKey, standing: Standing) -> Push {
        let record = &self.tasks[key.0 as usize];
        let class = self.abilities.class_of(&record.name, record.name_key);
        let push = self.queue.push(record.entry(key, class, standing));
        if class == NOBODY && matches!(push, Push::Queued { .. }) {
            self.note_stranded(now, key);
        }
        push
    }

    fn note_stranded(&mut self, now: Instant, key: TaskKey) {
        let until = self.clock.at(now) + self.config.runner_wait;
        let name = &self.tasks[key.0 as usize].name;
        if self.stranded.contains_key(name) {
            return;
        }
        self.stranded.insert(name.clone(), until);
        // Names whose tasks have left otherwise are still listed; not many more than the others.
        if self.stranded.len() > 2 * self.queue.class_len(NOBODY) + STRANDED_SLACK {
            return self.list_stranded(now);
        }
        self.watch_stranded();
    }

    fn watch_stranded(&mut self) {
        match self.stranded.values().min() {
            Some(&until) => self.absences.set(Absence::Stranded, until),
            None => self.absences.cancel(Absence::Stranded),
        }
    }

    /// Refuses the tasks that nobody can run and that have waited long enough for somebody who
    /// can. While no worker is here at all, or one that has just come has yet to say what it runs,
    /// nothing can be known, and they go on waiting.
    pub(super) fn on_stranded(&mut self, now: Instant) {
        let awake = self.clock.at(now);
        let (wait, patience) = (self.config.runner_wait, self.config.resume_window);
        let undecided = self.workers.iter().any(|(_, session)| {
            session.conn.is_some() && session.kind.is_none() && session.joined + patience > awake
        });
        let unknown = undecided || self.connected_workers == 0;
        let due = |until: &Instant| *until <= awake;
        if unknown {
            for until in self.stranded.values_mut().filter(|until| due(until)) {
                *until = awake + wait.max(LOOK_EVERY);
            }
            return self.watch_stranded();
        }
        let is_due = |task: &TaskKey| {
            let name = &self.tasks[task.0 as usize].name;
            self.stranded.get(name).is_some_and(due)
        };
        let waiting = self.queue.iter().filter(|entry| entry.class == NOBODY);
        let mut tasks: Vec<TaskKey> = waiting.map(|entry| entry.task).filter(is_due).collect();
        tasks.sort_unstable_by_key(|task| {
            let task = &self.tasks[task.0 as usize];
            (task.name.clone(), task.order)
        });
        self.stranded.retain(|_, until| !due(until));
        let mut suggested: Option<(Name, Vec<Name>)> = None;
        let mut suggestions = 0;
        for task in tasks {
            let name = self.tasks[task.0 as usize].name.clone();
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
        self.watch_stranded();
    }

    /// Ends a task that nobody can run.
    fn strand(&mut self, now: Instant, key: TaskKey, near: Vec<Name>) {
        let record = self.task(key);
        debug_assert!(matches!(record.state, State::Queued));
        if record.may_have_run {
            let (id, history) = (record.id, record.history());
            self.notify(Event::TaskLost { task: id });
            let outcome = Outcome::Lost { history };
            return self.end(now, key, outcome, Payload::empty(), None);
        }
        self.withdraw(now, key);
        let record = self.task(key);
        let (client, seq) = (record.client, record.id.seq);
        self.remove_record(key);
        self.refuse_naming(now, client, seq, RejectReason::NoRunner, false, near);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Epoch, PeerId};
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
        manager.handle_input(now, ManagerInput::Accepted { conn });
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
            assert!(manager.stranded.len() <= 2 * waiting + STRANDED_SLACK + 1);
            if seq >= 3 {
                say(&mut manager, Body::Cancel { seq });
            }
        }
        assert_eq!(manager.queue.class_len(NOBODY), 3);
        manager.check_invariants();
    }
}
