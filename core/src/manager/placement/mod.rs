//! Which task goes to which worker, and when.
//!
//! Owns: the queue; what workers can run, and so the classes in which tasks wait; how good a choice each
//! worker is; how long tasks take and how fast they end; and the names that nobody runs. Never: moves a
//! task from one state to another, or says anything to a peer.

mod groups;
mod pace;
mod renewal;
mod rest;
mod similar;
mod trust;
mod turn;
mod unroutable;

use alloc::vec::Vec;
use core::mem;
use core::time::Duration;

use crate::arena::SecondaryMap;
use crate::durations::{Durations, NameKey};
use crate::limits::OLDEST_EVERY;
use crate::message::Submit;
use crate::name::Name;
use crate::queue::{
    ClassId, ClientKey, First, NewRun, Push, Queue, RunKey, Standing, Taken, TakenOfRun, TakenRow,
    TaskKey,
};
use crate::router::{Score, Speed, WorkerKey};
use crate::steps::step;
use crate::task::Priority;
use crate::time::{AwakeInstant, Instant, Nanos};
use core::ops::Range;

use super::ManagerConfig;
use super::peers::{WorkerSession, Workers};
use super::room::Room;
use super::tasks::{Task, Tasks};
use groups::CapabilityGroups;
use pace::Pace;
use renewal::Renewal;
use trust::{Doubt, Trust};
use unroutable::Unroutable;

pub(super) use groups::{GroupKey, NOBODY};
pub(super) use rest::Rest;
pub(super) use trust::Pause;
pub(super) use turn::Turn;

/// What a task of a name that nobody has measured is thought to take, where one must not wait long.
const UNMEASURED: Duration = Duration::from_millis(100);

/// What makes a worker a good choice or a bad one.
#[derive(Clone, Debug, Default)]
pub(super) struct Candidate {
    /// The group of what it said last that it can run.
    group: Option<GroupKey>,
    speed: Speed,
    doubt: Doubt,
    /// It is counted among those of its group that are there and not doubted.
    counted_trusted: bool,
}

impl Candidate {
    /// The group of what it said last that it can run.
    pub(super) fn group(&self) -> Option<GroupKey> {
        self.group
    }

    pub(super) fn speed(&self) -> &Speed {
        &self.speed
    }

    /// Whether tasks fail there that do well elsewhere.
    pub(super) fn is_doubted(&self) -> bool {
        !self.doubt.is_trusted()
    }

    /// Whether it is there and not doubted.
    fn is_trusted(&self, session: &WorkerSession) -> bool {
        session.is_there() && self.doubt.is_trusted()
    }

    /// How much more it takes now, of payloads up to `window_bytes` in all.
    fn room(&self, session: &WorkerSession, window_bytes: u64) -> Room {
        let outstanding = session.outstanding();
        let tasks = if session.is_there() {
            let window = session.window.saturating_sub(outstanding);
            window.min(self.doubt.lets(outstanding, session.capacity))
        } else {
            0
        };
        Room {
            tasks,
            bytes: window_bytes.saturating_sub(session.bytes),
        }
    }

    /// How good it would be to give it a task now; `None` if it takes none, or has payloads of
    /// `window_bytes` already.
    fn score(&self, session: &WorkerSession, window_bytes: u64) -> Option<Score> {
        let has_room = !self.room(session, window_bytes).is_none();
        has_room.then(|| Score::new(&self.speed, session.outstanding(), session.capacity))
    }
}

/// See the [module](self).
#[derive(Clone, Debug)]
pub(super) struct Placement {
    queue: Queue,
    groups: CapabilityGroups,
    candidates: SecondaryMap<WorkerKey, Candidate>,
    /// Workers that have finished something since their score was last set.
    stale: Vec<WorkerKey>,
    trust: Trust,
    durations: Durations,
    pace: Pace,
    unroutable: Unroutable,
    renewal: Renewal,
    /// Turns since the last that began with the oldest of all classes, while several could be.
    since_oldest: u32,
    /// Bytes of payloads that a worker may have before it gets no more.
    worker_window: u64,
    /// How long a task that nobody can run waits for somebody who can.
    runner_wait: Duration,
    /// Run time of the tasks of one turn, in nanoseconds.
    turn_time: u64,
}

impl Placement {
    pub(super) fn new(config: &ManagerConfig, now: Instant) -> Self {
        Self {
            queue: Queue::new(config.queue_tasks, config.queue_bytes),
            groups: CapabilityGroups::new(),
            candidates: SecondaryMap::default(),
            stale: Vec::new(),
            trust: Trust::default(),
            durations: Durations::new(),
            pace: Pace::new(now),
            unroutable: Unroutable::default(),
            renewal: Renewal::default(),
            since_oldest: 0,
            worker_window: config.inner.worker_window,
            runner_wait: config.runner_wait,
            // Below what nobody has measured counts.
            turn_time: Nanos::from(config.turn_time).0,
        }
    }

    /// The tasks that wait.
    pub(super) fn queue(&self) -> &Queue {
        &self.queue
    }

    /// What workers can run.
    pub(super) fn groups(&self) -> &CapabilityGroups {
        &self.groups
    }

    /// What makes this worker a good choice.
    pub(super) fn candidate(&self, worker: WorkerKey) -> &Candidate {
        &self.candidates[worker]
    }

    /// A worker is new here.
    pub(super) fn open(&mut self, worker: WorkerKey) {
        self.candidates.reach(worker);
    }

    /// The session of a worker ends.
    pub(super) fn close(&mut self, worker: WorkerKey) {
        self.leave_group(worker);
        self.trust.forget(worker, None);
        self.candidates[worker] = Candidate::default();
    }

    /// The session of a client ends: it has no task here any more.
    pub(super) fn forget_client(&mut self, client: ClientKey) {
        self.queue.forget_client(client);
    }

    /// A client has left so much unread that its tasks wait, or has read enough of it.
    pub(super) fn set_blocked(&mut self, client: ClientKey, blocked: bool) {
        self.queue.set_blocked(client, blocked);
    }

    /// Tells the router how good a choice this worker is now.
    pub(super) fn rescore(&mut self, worker: WorkerKey, session: &WorkerSession) {
        let candidate = &mut self.candidates[worker];
        let Some(group) = candidate.group else {
            return;
        };
        let trusted = candidate.is_trusted(session);
        if candidate.counted_trusted != trusted {
            candidate.counted_trusted = trusted;
            self.groups.count_trusted(group, trusted);
        }
        let score = candidate.score(session, self.worker_window);
        self.groups.set_score(group, worker, score);
    }

    /// The worker is to be told to the router before the next task is routed: workers finish many
    /// attempts in a row.
    pub(super) fn rescore_later(&mut self, worker: WorkerKey) {
        if self.stale.last() != Some(&worker) {
            self.stale.push(worker);
        }
    }

    /// The next worker that is to be told to the router.
    pub(super) fn next_stale(&mut self) -> Option<WorkerKey> {
        self.stale.pop()
    }

    /// The number of a task's name.
    pub(super) fn intern(&mut self, name: &Name) -> NameKey {
        self.durations.intern(name)
    }

    /// The class of tasks of a name.
    pub(super) fn class_of(&mut self, name: &Name, key: NameKey) -> ClassId {
        self.groups.class_of(name, key)
    }

    /// Lets a task wait, if there is room for it. Says too whether nobody can run it.
    pub(super) fn enqueue(
        &mut self,
        awake: AwakeInstant,
        tasks: &Tasks,
        key: TaskKey,
        standing: Standing,
    ) -> (Push, bool) {
        let task = &tasks[key];
        let class = self.class_of(&task.name, task.name_key);
        let push = self.queue.push(task.entry(key, class, standing));
        let is_unroutable = class == NOBODY && matches!(push, Push::Queued { .. });
        if is_unroutable {
            self.note_unroutable(awake, tasks, &task.name);
        }
        (push, is_unroutable)
    }

    /// Lets tasks of this name wait as a run. Says too whether nobody can run it.
    pub(super) fn enqueue_run(
        &mut self,
        awake: AwakeInstant,
        tasks: &Tasks,
        name: &Name,
        new: NewRun,
    ) -> (RunKey, bool) {
        let is_unroutable = new.class == NOBODY;
        let run = self.queue.push_run(new);
        if is_unroutable {
            self.note_unroutable(awake, tasks, name);
        }
        (run, is_unroutable)
    }

    /// Takes a task out that waits in a run.
    pub(super) fn withdraw_of_run(&mut self, run: RunKey, offset: u16) -> Option<TakenOfRun> {
        self.queue.remove_of_run(run, offset)
    }

    /// The tasks of a run that has fewer than so many left.
    pub(super) fn rest_of(&self, run: RunKey, fewer_than: usize) -> Option<Vec<TakenOfRun>> {
        self.queue.rest_of(run, fewer_than)
    }

    /// Lets them wait alone.
    pub(super) fn dissolve(&mut self, run: RunKey, tasks: &[TaskKey]) {
        self.queue.dissolve(run, tasks);
    }

    /// Packs a run of which little is left: says where the arguments were that are.
    pub(super) fn pack(&mut self, run: RunKey) -> Option<Vec<Range<usize>>> {
        self.queue.pack(run)
    }

    /// Takes a task out that waits.
    pub(super) fn withdraw(&mut self, key: TaskKey) {
        let removed = self.queue.remove(key);
        debug_assert!(removed.is_some(), "a queued task is in the queue");
    }

    /// Whether a task of so many bytes may wait, without another having to go.
    pub(super) fn has_room(&self, bytes: u64) -> bool {
        self.queue.has_room(bytes)
    }

    /// Reserves room for a task that may come to wait. False if there is none.
    pub(super) fn reserve(&mut self, bytes: u64) -> bool {
        self.queue.reserve(bytes)
    }

    /// Gives such room back.
    pub(super) fn unreserve(&mut self, bytes: u64) {
        self.queue.unreserve(bytes);
    }

    /// A class with a task that may go out, and the worker for it; `only_returning` of those that have
    /// their room in flight already. Where several classes have one, and so may be after the same workers,
    /// the more important task goes first and then the one that came first; now and then it is the
    /// oldest, as within a class.
    pub(super) fn next(&self, only_returning: bool) -> Option<(ClassId, WorkerKey)> {
        let ready = |class| {
            step();
            Some((class, self.groups.pick(class)?))
        };
        if only_returning {
            let returning = self.queue.returning_classes().filter_map(ready);
            let oldest = |(class, worker)| {
                let entry = self.queue.oldest_returning(class)?;
                Some((entry.order, class, worker))
            };
            let (_, class, worker) = returning.filter_map(oldest).min()?;
            return Some((class, worker));
        }
        if let Some(class) = self.queue.only_class() {
            return ready(class);
        }
        let mut classes = self.queue.classes().filter_map(ready);
        let first = classes.next()?;
        let Some(second) = classes.next() else {
            return Some(first);
        };
        let all = [first, second].into_iter().chain(classes);
        if self.is_turn_of_oldest() {
            let order = |class| self.queue.oldest(class).map(|entry| entry.order);
            all.min_by_key(|(class, _)| order(*class))
        } else {
            all.min_by_key(|(class, _)| self.queue.next_rank(*class))
        }
    }

    fn is_turn_of_oldest(&self) -> bool {
        self.since_oldest + 1 >= OLDEST_EVERY
    }

    /// Begins the turn of a flow of this class at this worker, which [`next`](Self::next) said.
    /// `in_flight` is the room that there is for all workers together.
    pub(super) fn begin_turn(
        &mut self,
        class: ClassId,
        worker: WorkerKey,
        session: &WorkerSession,
        in_flight: Room,
    ) -> Option<Turn> {
        let mut want_oldest = false;
        if self.queue.only_class().is_none() {
            want_oldest = self.is_turn_of_oldest();
            self.since_oldest = if want_oldest {
                0
            } else {
                self.since_oldest + 1
            };
        }
        let of = self.queue.begin_turn(class, want_oldest)?;
        let mut room = self.candidates[worker].room(session, self.worker_window);
        room = room.and(in_flight);
        room.tasks = room.tasks.min(self.even_share(class));
        Some(Turn::new(of, self.turn_time, room))
    }

    /// The tasks that one worker gets where those that wait are spread over all that are idle.
    fn even_share(&self, class: ClassId) -> u32 {
        let waiting = self.queue.class_len(class) as u32;
        (waiting / self.groups.idle_for(class).max(1)).max(1)
    }

    /// The first of the tasks that are left of the turn's flow.
    pub(super) fn first_of(&self, turn: &Turn) -> Option<First> {
        self.queue.first_of(&turn.of)
    }

    /// Lets it go, if the turn goes so far, and says what its client is charged for it, in nanoseconds:
    /// it is to be taken out.
    pub(super) fn let_go(&self, turn: &mut Turn, name: NameKey, bytes: u32) -> Option<u64> {
        turn.let_go(&self.durations, name, bytes)
    }

    /// How many of the first of a run the turn goes on with that are in a row, at most so many, and what
    /// their client is charged for each, in nanoseconds. Each takes `beside` bytes and its payload.
    pub(super) fn fitting(
        &self,
        turn: &mut Turn,
        run: RunKey,
        name: NameKey,
        beside: u32,
        most: usize,
    ) -> (usize, u64) {
        let (start, ends) = self.queue.row_of(run, most);
        let sizes = ends.iter().scan(start, |before, end| {
            Some(beside + end - mem::replace(before, *end))
        });
        turn.fitting(&self.durations, name, sizes)
    }

    /// Takes so many out.
    pub(super) fn take_row(
        &mut self,
        turn: &mut Turn,
        run: RunKey,
        beside: u32,
        tasks: usize,
    ) -> Option<TakenRow> {
        let taken = self.queue.take_row(&turn.of, run, tasks)?;
        let bytes = taken.first.payload.len() as u64 + u64::from(beside) * tasks as u64;
        turn.let_row_go(tasks as u32, bytes);
        Some(taken)
    }

    /// Takes it out.
    pub(super) fn take_first(&mut self, turn: &Turn) -> Option<Taken> {
        self.queue.take_first(&turn.of)
    }

    /// Ends a turn: what it took is charged.
    pub(super) fn end_turn(&mut self, turn: Turn) {
        self.queue.end_turn(turn.of);
    }

    /// Takes out the task of the class that `next` said, of those that have their room in flight.
    pub(super) fn take_returning(&mut self, class: ClassId) -> Option<TaskKey> {
        Some(self.queue.pop_returning(class)?.task)
    }

    /// Charges a client's virtual time for a task of this class that goes out alone: with what it is
    /// expected to take, in nanoseconds, which is returned.
    pub(super) fn charge(&mut self, task: &Task, class: ClassId) -> u64 {
        let charged = self.durations.expected(task.name_key).max(1);
        self.queue
            .charge(task.client, class, task.options.priority, charged);
        charged
    }

    /// Corrects a charge when it is known that the task ran for `ran` nanoseconds.
    pub(super) fn correct(&mut self, task: &Task, class: ClassId, charged: u64, ran: u64) {
        self.queue
            .correct(task.client, class, task.options.priority, charged, ran);
    }

    /// Learns how fast a worker and a name are: an attempt has completed after `ran` nanoseconds.
    pub(super) fn completed(&mut self, worker: WorkerKey, name: NameKey, ran: u64) {
        let expected = self.durations.expected(name);
        self.candidates[worker].speed.completed(expected, ran);
        self.durations.completed(name, ran);
        self.pace.completed(ran);
    }

    /// Corrects charges, of which each was `charged`, of attempts that ran for so many nanoseconds.
    pub(super) fn correct_row(
        &mut self,
        (client, class, priority): (ClientKey, ClassId, Priority),
        charged: u64,
        ran: impl Iterator<Item = u64>,
    ) {
        self.queue
            .correct_row(client, class, priority, charged, ran);
    }

    /// Learns from an attempt that has failed after `ran` nanoseconds.
    pub(super) fn failed(&mut self, worker: WorkerKey, name: NameKey, ran: u64) {
        let expected = self.durations.expected(name);
        self.candidates[worker].speed.failed(expected, ran);
    }

    /// So many tasks have ended, whatever their outcomes.
    pub(super) fn ended(&mut self, now: Instant, tasks: usize) {
        self.pace.ended(now, tasks as u64);
    }

    /// Tasks that ended in the last whole second.
    pub(super) fn rate(&self, now: Instant) -> u64 {
        self.pace.rate(now)
    }

    /// How long a task with `ahead` tasks before it is likely to wait for one of `capacity` slots.
    pub(super) fn estimated_wait(&self, ahead: usize, capacity: u64) -> Duration {
        self.pace.estimate(ahead as u64, capacity)
    }

    /// Whether a submission would wait longer than it may.
    pub(super) fn is_too_slow(&self, submit: &Submit, capacity: u64) -> bool {
        submit.max_wait.to_duration().is_some_and(|patience| {
            let ahead = (0..=submit.priority.level())
                .filter_map(|level| Priority::new(level as u8))
                .map(|priority| self.queue.len_at(priority))
                .sum();
            let mut wait = self.estimated_wait(ahead, capacity);
            if !self.durations.is_measured(&submit.name) {
                let slots = u32::try_from(capacity.max(1)).unwrap_or(u32::MAX);
                let ahead = u32::try_from(ahead).unwrap_or(u32::MAX);
                wait = wait.max(UNMEASURED.saturating_mul(ahead) / slots);
            }
            wait > patience
        })
    }

    /// Asserts that classes, scores and counts agree with tasks and workers.
    pub(super) fn check_invariants(&self, tasks: &Tasks, workers: &Workers) {
        self.queue.check_invariants();
        self.durations.check_invariants();
        self.groups.check_invariants();
        self.trust
            .check_invariants(|worker| self.candidates[worker].group);
        for group in self.groups.keys() {
            let groups = workers.iter().map(|(key, _)| self.candidates[key].group);
            let same = groups.filter(|other| *other == Some(group)).count();
            assert_eq!(same, self.groups.workers(group) as usize);
        }
        // Until what workers run takes effect, classes are those of before.
        let waiting = self.queue.iter().filter(|_| !self.renewal.is_due());
        for entry in waiting {
            let (name, _) = tasks.name_of(entry.item);
            assert_eq!(
                self.groups.look_up(name),
                Some(entry.class),
                "tasks wait in the class of their name"
            );
            assert!(
                entry.class != NOBODY || self.unroutable.contains(name),
                "what nobody can run is watched"
            );
        }
        for (key, session) in workers.iter() {
            let candidate = &self.candidates[key];
            if let Some(group) = candidate.group
                && !self.stale.contains(&key)
            {
                assert_eq!(
                    self.groups.score(group, key),
                    candidate.score(session, self.worker_window),
                    "the router knows every score"
                );
            }
            let counted = candidate.group.is_some() && candidate.is_trusted(session);
            assert_eq!(counted, candidate.counted_trusted);
            assert_eq!(candidate.is_doubted(), self.trust.is_doubted(key));
        }
    }
}
