//! What workers say that they run, and what becomes of tasks that none of them does.

use crate::capabilities::Capabilities;
use crate::event::{CloseReason, Event};
use crate::ids::TaskId;
use crate::limits::{CLASSES_MAX, GROUP_IDLE, GROUPS_MAX, IDLE_GROUP_MAX};
use crate::message::{Control, RefuseReason};
use crate::name::Name;
use crate::payload::Payload;
use crate::queue::{ClassId, TaskKey};
use crate::router::WorkerKey;
use crate::steps::step;
use crate::task::{Outcome, RejectReason};
use crate::time::{AwakeInstant, Instant};

use alloc::vec::Vec;
use core::time::Duration;

use super::Manager;
use super::peers::WorkerSession;
use super::placement::GroupKey;
use super::schedule::{Alarm, PeerTimer};
use super::tasks::TaskState;

/// Until more capabilities take effect, if there are more than do at a time.
const RENEWAL_PAUSE: Duration = Duration::from_millis(1);

/// What is known of a group of which it is asked whether it has anything to do.
#[derive(Clone, Debug, Default)]
struct IdleGroup {
    workers: Vec<WorkerKey>,
    is_busy: bool,
    /// When the last of its workers came or finished something.
    since: Instant,
}

impl Manager {
    /// A worker says what it can run, now.
    pub(super) fn on_capabilities(&mut self, key: WorkerKey, capabilities: Capabilities) {
        if self.placement.capabilities(key, capabilities) {
            self.rescore(key);
        }
    }

    /// Lets new groups of workers in and renews the classes, if there is reason to.
    pub(super) fn renew_if_due(&mut self, now: Instant) {
        if !self.placement.is_renewal_due() {
            return;
        }
        if let Some(at) = self.placement.renewal_wait(now) {
            return self.schedule.alarms.set(Alarm::Renew, at);
        }
        self.schedule.alarms.cancel(Alarm::Renew);
        let mut fresh: Vec<GroupKey> = Vec::new();
        // It looks at all workers, so one newcomer finds room at a time.
        let mut looked = false;
        for (key, capabilities) in self.placement.take_renewals() {
            self.forget_idle_groups(now);
            if !self.placement.has_room_for_group() && !core::mem::replace(&mut looked, true) {
                self.close_idle_group(now, &fresh);
            }
            if self.placement.join_new(key, capabilities) {
                self.rescore(key);
                fresh.extend(self.placement.candidate(key).group());
            } else {
                self.refuse_group(now, key);
            }
        }
        let awake = self.schedule.awake(now);
        self.placement.renew(now, awake, &self.tasks);
        self.watch_unroutable();
        self.pardon_needed();
        if self.placement.is_renewal_due() {
            let next = self.placement.renewal_wait(now);
            let next = next.unwrap_or(now + RENEWAL_PAUSE);
            self.schedule.alarms.set(Alarm::Renew, next);
        }
    }

    /// Makes room for a new group: the workers of one that has had nothing to do for long, and has
    /// nothing waiting, are shown out, as the newcomer would be. They may come again when there is room
    /// or another group is idle, so nobody keeps others out by being here. One whose workers are many
    /// stays, and so do those in `fresh`, of which it is not known yet which tasks wait for them.
    fn close_idle_group(&mut self, now: Instant, fresh: &[GroupKey]) {
        let mut groups: Vec<IdleGroup> = Vec::new();
        groups.resize(GROUPS_MAX, IdleGroup::default());
        self.placement.looked(self.workers.len());
        for (key, session) in self.workers.iter() {
            step();
            let Some(group) = self.placement.candidate(key).group() else {
                continue;
            };
            let idle = &mut groups[group.place()];
            let is_busy = session.outstanding() > 0 || self.orphans.results_at(key) > 0;
            idle.is_busy |= is_busy || idle.workers.len() >= IDLE_GROUP_MAX;
            idle.since = idle.since.max(session.progress);
            if !idle.is_busy {
                idle.workers.push(key);
            }
        }
        let wanted = self.placement.wanted_groups();
        for group in wanted.iter().chain(fresh) {
            groups[group.place()].is_busy = true;
        }
        let long = |group: &IdleGroup| {
            let is_idle = !group.is_busy && !group.workers.is_empty();
            is_idle && group.since + GROUP_IDLE <= now
        };
        let idle = groups
            .into_iter()
            .filter(long)
            .min_by_key(|group| group.since);
        for worker in idle.into_iter().flat_map(|group| group.workers) {
            // When one goes it is asked who is needed again.
            self.placement.looked(CLASSES_MAX);
            self.placement.leave_group(worker);
            self.refuse_group(now, worker);
        }
    }

    /// Forgets idle workers until the number of a group is free, or there are no more: of so many
    /// that all groups may be theirs.
    fn forget_idle_groups(&mut self, now: Instant) {
        for _ in 0..GROUPS_MAX {
            if self.placement.has_room_for_group() || !self.forget_idle_worker(now) {
                return;
            }
        }
    }

    /// There are too many groups of workers for one more.
    fn refuse_group(&mut self, now: Instant, key: WorkerKey) {
        let peer = &self.workers[key].peer;
        if let Some(conn) = peer.conn {
            let reason = RefuseReason::Full;
            let name = peer.name.clone();
            self.notify(Event::GroupRefused { name });
            self.connections.send_control(conn, Control::Refuse(reason));
            self.close(now, conn, CloseReason::Refused(reason));
        }
    }

    /// Keeps the timer for the names that nobody runs.
    pub(super) fn watch_unroutable(&mut self) {
        match self.placement.next_unroutable() {
            Some(until) => self.schedule.peers.set(PeerTimer::Unroutable, until),
            None => self.schedule.peers.cancel(PeerTimer::Unroutable),
        }
    }

    /// Refuses the tasks that nobody can run and that have waited long enough for somebody who
    /// can. While no worker is here at all, or one that has just come has yet to say what it runs,
    /// nothing can be known, and they go on waiting.
    pub(super) fn on_unroutable(&mut self, now: Instant) {
        let awake = self.schedule.awake(now);
        if self.may_yet_be_run(awake) {
            self.placement.put_off_unroutable(awake);
        } else {
            for (place, near) in self.placement.take_unroutable(now, awake, &self.tasks) {
                if let Some(task) = self.take_out(place) {
                    self.end_unroutable(now, task, near);
                }
            }
        }
        self.watch_unroutable();
    }

    /// Whether it cannot be known yet who runs what: no worker is here, or one that has just come
    /// has yet to say it.
    fn may_yet_be_run(&mut self, awake: AwakeInstant) -> bool {
        let patience = self.config.resume_timeout;
        let workers = &self.workers;
        workers.connected() == 0
            || self.placement.may_come(|placement| {
                let silent = |(key, session): (WorkerKey, &WorkerSession)| {
                    let group = placement.candidate(key).group();
                    let joined = session.joined + patience > awake;
                    session.peer.conn.is_some() && group.is_none() && joined
                };
                workers.iter().inspect(|_| step()).any(silent)
            })
    }

    /// A task has waited for its start for as long as it may. One that nobody can run is told so.
    pub(super) fn reject_late(&mut self, now: Instant, key: TaskKey) {
        let record = &self.tasks[key];
        let is_queued = matches!(record.state, TaskState::Queued);
        let nobody = is_queued && self.placement.is_unroutable(&record.name);
        if nobody && !self.may_yet_be_run(self.schedule.awake(now)) {
            let name = self.tasks[key].name.clone();
            let near = self.placement.similar(now, &name);
            return self.end_unroutable(now, key, near);
        }
        self.reject_task(now, key, RejectReason::TooSlow);
    }

    /// Ends a task that nobody can run.
    fn end_unroutable(&mut self, now: Instant, key: TaskKey, near: Vec<Name>) {
        let record = &self.tasks[key];
        debug_assert!(matches!(
            record.state,
            TaskState::Queued | TaskState::Detached
        ));
        let TaskId { seq, .. } = record.id;
        let client = record.client;
        if record.may_have_run {
            let (id, history) = (record.id, record.history());
            self.notify(Event::TaskLost { task: id });
            let outcome = Outcome::Lost { history };
            return self.end(now, key, outcome, Payload::empty(), None);
        }
        self.withdraw(now, key);
        self.tasks.remove(key);
        self.reject_naming(now, client, seq, RejectReason::NoRunner, false, near);
    }

    /// A task of this class has failed at this worker, or has taken its pool process down.
    pub(super) fn doubt(&mut self, now: Instant, key: WorkerKey, task: TaskKey, class: ClassId) {
        let name = self.tasks[task].name_key;
        if let Some(pause) = self.placement.doubt(now, key, name, class) {
            self.rest_worker(key, pause);
        }
    }

    /// A doubted worker has rested, and is tried with one task.
    pub(super) fn on_trial(&mut self, key: WorkerKey) {
        if self.placement.try_again(key) {
            self.rescore(key);
        }
    }

    /// The worker is trusted again.
    pub(super) fn pardon(&mut self, key: WorkerKey) {
        self.placement.pardon(key);
        self.schedule.alarms.cancel(Alarm::Trial(key));
        self.rescore(key);
    }

    /// Workers have gone, or take nothing any more, or other names: those that are doubted may be
    /// the only ones left.
    pub(super) fn pardon_needed(&mut self) {
        for key in self.placement.needed_again() {
            self.pardon(key);
        }
    }
}
