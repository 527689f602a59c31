//! The tasks that are here: what is known of each, where it is in its life, and whose it is.
//!
//! Owns: the records, the one place where a task changes its state, and every count of tasks. Others
//! read records; they change them through this file alone. Never: decides when a task changes.
//! Invariants: every counter equals what it counts; a client's account names exactly its tasks.

mod record;
mod rows;
mod runs;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::ops::Index;

use crate::arena::{Arena, SecondaryMap};
use crate::durations::NameKey;
use crate::ids::{Attempt, Epoch, TaskId};
use crate::message::Submit;
use crate::name::Name;
use crate::payload::Payload;
use crate::queue::{ClassId, ClientKey, RunKey, TaskKey};
use crate::seq_map::SeqMap;
use crate::steps::step;
use crate::task::AttemptLoss;
use crate::time::Instant;

pub(super) use record::{Ending, Task, TaskState};
use record::{InFlight, Times};
pub(super) use rows::{Assigned, Places, Row, attempt_at, each};
pub(super) use runs::{Place, WaitingRun};

use super::ManagerConfig;
use super::keys::{Assignee, OutcomeKey, RowKey};
use super::room::Room;

/// The tasks of one client.
#[derive(Clone, Debug, Default)]
pub(super) struct ClientTasks {
    /// Every task below it is finished at the client.
    floor: u64,
    /// Those that have a record.
    by_seq: SeqMap<u64, TaskKey>,
    /// Those that wait in runs, by the number of the first of each run. Runs do not overlap.
    runs: BTreeMap<u64, RunKey>,
    /// All runs that came had lower numbers.
    runs_end: u64,
    /// How many wait in runs.
    in_runs: usize,
    /// Those that went out in rows, by the number of the first of each row. Rows do not overlap.
    rows: BTreeMap<u64, RowKey>,
    /// How many are in rows.
    in_rows: usize,
    /// Tasks that were rejected although they may have run. A rejection is not acknowledged, so
    /// the client may ask again without knowing: until it shows that it does, it is known here.
    may_have_run: BTreeSet<u64>,
    /// How many are with workers.
    assigned: u32,
}

impl ClientTasks {
    /// Every task below it is finished at the client.
    pub(super) fn floor(&self) -> u64 {
        self.floor
    }

    /// How many are here.
    pub(super) fn len(&self) -> usize {
        self.by_seq.len() + self.in_runs + self.in_rows
    }

    /// How many are here or are remembered.
    pub(super) fn count(&self) -> usize {
        self.len() + self.may_have_run.len()
    }

    /// How many are with workers.
    pub(super) fn assigned(&self) -> u32 {
        self.assigned
    }

    /// The task of this number, if it has a record.
    pub(super) fn get(&self, seq: u64) -> Option<TaskKey> {
        self.by_seq.get(seq).copied()
    }

    /// The lowest that has a record, by its number.
    pub(super) fn first(&self) -> Option<(u64, TaskKey)> {
        let seq = self.by_seq.first()?;
        Some((seq, self.get(seq)?))
    }

    /// All that have a record, in order of their numbers.
    fn keys(&self) -> impl Iterator<Item = TaskKey> + '_ {
        self.by_seq.values().copied()
    }
}

/// The room for tasks that are with workers or come back from them.
#[derive(Clone, Debug)]
struct Reserve {
    tasks: usize,
    bytes: u64,
    tasks_max: usize,
    bytes_max: u64,
}

/// See the [module](self).
#[derive(Clone, Debug)]
pub(super) struct Tasks {
    records: Arena<TaskKey, Task>,
    runs: SecondaryMap<RunKey, Option<Box<WaitingRun>>>,
    /// How many wait in runs.
    in_runs: usize,
    rows: Arena<RowKey, Row>,
    /// How many are in rows.
    in_rows: usize,
    clients: SecondaryMap<ClientKey, ClientTasks>,
    /// What attempts are named by.
    epoch: Epoch,
    next_attempt: u64,
    /// The rank of the next acceptance.
    next_order: u64,
    unclaimed: usize,
    assigned: usize,
    in_flight: Reserve,
}

impl Tasks {
    pub(super) fn new(config: &ManagerConfig) -> Self {
        Self {
            records: Arena::default(),
            runs: SecondaryMap::default(),
            in_runs: 0,
            rows: Arena::default(),
            in_rows: 0,
            clients: SecondaryMap::default(),
            epoch: config.epoch,
            next_attempt: 0,
            next_order: 0,
            unclaimed: 0,
            assigned: 0,
            in_flight: Reserve {
                tasks: 0,
                bytes: 0,
                tasks_max: config.in_flight_tasks,
                bytes_max: config.in_flight_bytes,
            },
        }
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.in_runs == 0 && self.in_rows == 0
    }

    /// How many wait for a worker to claim them.
    pub(super) fn unclaimed(&self) -> usize {
        self.unclaimed
    }

    /// How many are with workers.
    pub(super) fn assigned(&self) -> usize {
        self.assigned
    }

    /// All tasks that have a record, by their keys.
    pub(super) fn iter(&self) -> impl Iterator<Item = (TaskKey, &Task)> {
        self.records.iter()
    }

    /// Opens the account of a client that is new here.
    pub(super) fn open(&mut self, client: ClientKey) {
        self.clients.reach(client);
    }

    /// Closes the account of a client that has left, and has no tasks here any more.
    pub(super) fn close(&mut self, client: ClientKey) {
        debug_assert_eq!(self.clients[client].len(), 0);
        self.clients[client] = ClientTasks::default();
    }

    /// The tasks of a client.
    pub(super) fn of(&self, client: ClientKey) -> &ClientTasks {
        &self.clients[client]
    }

    /// Notes that a task which may have run was rejected.
    pub(super) fn remember_may_have_run(&mut self, client: ClientKey, seq: u64) {
        self.clients[client].may_have_run.insert(seq);
    }

    /// Whether a submission may have run before, as it says itself or as was remembered. A client that
    /// says it shows that it knows, and nothing needs to be remembered for it any more.
    pub(super) fn may_have_run(&mut self, client: ClientKey, submit: &Submit) -> bool {
        let remembered = &mut self.clients[client].may_have_run;
        if submit.may_have_run {
            remembered.remove(&submit.seq);
            true
        } else {
            remembered.contains(&submit.seq)
        }
    }

    /// The client has finished with all tasks below `floor` and with `seqs`: raises its floor and
    /// forgets what was remembered of those that are not here.
    pub(super) fn raise_floor(&mut self, client: ClientKey, floor: u64, seqs: &[u64]) {
        let account = &mut self.clients[client];
        account.floor = account.floor.max(floor);
        if account.may_have_run.is_empty() {
            return;
        }
        while account
            .may_have_run
            .first()
            .is_some_and(|seq| *seq < account.floor)
        {
            step();
            account.may_have_run.pop_first();
        }
        for seq in seqs {
            account.may_have_run.remove(seq);
        }
    }

    /// Makes the record of a submission. It is detached until it is queued, assigned, or waits for a claim.
    pub(super) fn create(
        &mut self,
        now: Instant,
        id: TaskId,
        client: ClientKey,
        submit: Submit,
        name_key: NameKey,
        payload: Payload,
    ) -> TaskKey {
        let order = self.next_orders(1);
        let task = Task {
            id,
            client,
            order,
            times: Times::new(now, &submit),
            options: submit.options(),
            name: submit.name,
            name_key,
            payload,
            ran_earlier: submit.may_have_run,
            may_have_run: submit.may_have_run,
            in_flight: InFlight::default(),
            ending: None,
            state: TaskState::Detached,
            attempt_log: None,
        };
        let key = self.records.insert(task);
        self.clients[client].by_seq.insert(id.seq, key);
        key
    }

    /// So many bytes may be held for the streams of the task, which is not in flight.
    pub(super) fn set_window_bytes(&mut self, key: TaskKey, bytes: u32) {
        debug_assert!(!self.records[key].in_flight.is_counted);
        self.records[key].in_flight.window_bytes = bytes;
    }

    /// Removes the record of a task that is nowhere any more.
    pub(super) fn remove(&mut self, key: TaskKey) {
        let record = self.records.remove(key);
        debug_assert!(!record.in_flight.is_counted && record.assignee().is_none());
        self.clients[record.client].by_seq.remove(record.id.seq);
    }

    /// Moves a task from one state to another, and the counts with it.
    // Inlined, all that the new state decides is decided by the compiler.
    #[inline(always)]
    fn enter(&mut self, key: TaskKey, state: TaskState) {
        let record = &mut self.records[key];
        match record.state {
            TaskState::Assigned { .. } => {
                self.assigned -= 1;
                self.clients[record.client].assigned -= 1;
            }
            TaskState::Unclaimed => self.unclaimed -= 1,
            TaskState::Queued | TaskState::Detached => {}
            TaskState::Ended(_) => debug_assert!(false, "a task ends once"),
        }
        match state {
            TaskState::Assigned { .. } => {
                self.assigned += 1;
                self.clients[record.client].assigned += 1;
            }
            TaskState::Unclaimed => self.unclaimed += 1,
            TaskState::Queued | TaskState::Detached | TaskState::Ended(_) => {}
        }
        record.state = state;
    }

    /// The task is in the queue, or about to be.
    pub(super) fn queued(&mut self, key: TaskKey) {
        self.enter(key, TaskState::Queued);
    }

    /// The task is nowhere until the caller puts it somewhere or ends it.
    pub(super) fn detach(&mut self, key: TaskKey) {
        self.enter(key, TaskState::Detached);
    }

    /// The task waits for a worker to claim it.
    pub(super) fn await_claim(&mut self, key: TaskKey) {
        self.enter(key, TaskState::Unclaimed);
    }

    /// The name of an attempt that was never made before.
    pub(super) fn new_attempt(&mut self) -> Attempt {
        self.new_attempts(1)
    }

    /// Whether this manager never made such an attempt, although it is named as if.
    pub(super) fn is_invented(&self, attempt: Attempt) -> bool {
        attempt.epoch == self.epoch && attempt.number >= self.next_attempt
    }

    /// The task is with a worker, dispatched at `at` from a class, for which its client's virtual time
    /// was charged with so many nanoseconds.
    pub(super) fn assign(
        &mut self,
        key: TaskKey,
        assignee: Assignee,
        at: Instant,
        class: ClassId,
        charged: u64,
    ) {
        self.enter_reserve(key);
        self.records[key].may_have_run = true;
        let assigned = TaskState::Assigned {
            assignee,
            at,
            class,
            charged,
        };
        self.enter(key, assigned);
    }

    /// The task is over; `result` takes the place of its argument.
    pub(super) fn end(&mut self, key: TaskKey, end: OutcomeKey, result: Payload) {
        self.enter(key, TaskState::Ended(end));
        self.records[key].payload = result;
    }

    /// A task that will never be queued needs its argument no longer.
    pub(super) fn drop_argument(&mut self, key: TaskKey) {
        let record = &mut self.records[key];
        debug_assert!(
            !record.in_flight.is_counted,
            "what is counted does not change"
        );
        record.payload = Payload::empty();
    }

    /// Notes that the end of a task was asked for, unless it was before.
    pub(super) fn ask_to_end(&mut self, key: TaskKey, ending: Ending) -> bool {
        let asked = &mut self.records[key].ending;
        let is_first = asked.is_none();
        asked.get_or_insert(ending);
        is_first
    }

    /// Whether the room for tasks in flight is taken.
    pub(super) fn is_in_flight_full(&self) -> bool {
        self.in_flight_room().is_none()
    }

    /// The room for tasks in flight that is not taken.
    pub(super) fn in_flight_room(&self) -> Room {
        let reserve = &self.in_flight;
        let tasks = reserve.tasks_max.saturating_sub(reserve.tasks);
        Room {
            tasks: u32::try_from(tasks).unwrap_or(u32::MAX),
            bytes: reserve.bytes_max.saturating_sub(reserve.bytes),
        }
    }

    /// Counts the task as in flight, if it is not.
    pub(super) fn enter_reserve(&mut self, key: TaskKey) {
        let record = &mut self.records[key];
        if !record.in_flight.is_counted {
            record.in_flight.is_counted = true;
            self.in_flight.tasks += 1;
            self.in_flight.bytes += record.in_flight_bytes();
        }
    }

    /// Counts the task as in flight no longer.
    pub(super) fn leave_reserve(&mut self, key: TaskKey) {
        let record = &mut self.records[key];
        if record.in_flight.is_counted {
            record.in_flight.is_counted = false;
            self.in_flight.tasks -= 1;
            self.in_flight.bytes -= record.in_flight_bytes();
        }
    }

    /// An attempt may have started that nobody will speak for again.
    pub(super) fn ran_earlier(&mut self, key: TaskKey) {
        self.records[key].ran_earlier = true;
    }

    /// The client says that an attempt may have started elsewhere.
    pub(super) fn ran_elsewhere(&mut self, key: TaskKey) {
        let record = &mut self.records[key];
        record.ran_earlier = true;
        record.may_have_run = true;
    }

    /// The attempt is known never to have started: whether the task may have run depends on the
    /// others.
    pub(super) fn clear_may_have_run(&mut self, key: TaskKey) {
        self.records[key].clear_may_have_run();
    }

    /// Notes that an attempt was lost or crashed.
    pub(super) fn charge(
        &mut self,
        key: TaskKey,
        attempt: Attempt,
        worker: Name,
        end: AttemptLoss,
    ) {
        self.records[key].charge(attempt, worker, end);
    }

    /// Takes back the charge for an attempt that turned out to be alive or never started.
    pub(super) fn refund(&mut self, key: TaskKey, attempt: Attempt) {
        self.records[key].refund(attempt);
    }

    /// Notes that a worker has given the task back unasked. Whether that may be free.
    pub(super) fn note_return(&mut self, key: TaskKey) -> bool {
        self.records[key].note_return()
    }

    /// Gives up on an attempt although its worker may return with it.
    pub(super) fn supersede(&mut self, key: TaskKey, assignee: Assignee) {
        self.records[key].supersede(assignee);
    }

    /// Forgets a superseded attempt; tells whether it was one.
    pub(super) fn drop_superseded(&mut self, key: TaskKey, assignee: Assignee) -> bool {
        self.records[key].drop_superseded(assignee)
    }

    /// Forgets all superseded attempts; they come back.
    pub(super) fn take_superseded(&mut self, key: TaskKey) -> Vec<Assignee> {
        let log = self.records[key].attempt_log.as_deref_mut();
        log.map_or_else(Vec::new, |log| core::mem::take(&mut log.superseded))
    }

    /// Asserts that every counter equals what it counts and that accounts name their tasks.
    /// `left` says what the queue has of a run.
    pub(super) fn check_invariants(&self, left: impl Fn(RunKey) -> Vec<u16>) {
        self.check_runs(left);
        self.check_rows();
        let (mut unclaimed, mut assigned) = (0, 0);
        let (mut in_flight_tasks, mut in_flight_bytes) = (0, 0);
        for (_, row) in self.all_rows() {
            assigned += row.with_worker().count_ones() as usize;
            in_flight_tasks += row.with_worker().count_ones() as usize;
            let bytes = each(row.with_worker()).map(|place| u64::from(row.bytes(place)));
            in_flight_bytes += bytes.sum::<u64>();
        }
        for (key, task) in self.iter() {
            let account = &self.clients[task.client];
            assert_eq!(
                account.get(task.id.seq),
                Some(key),
                "a client knows its tasks"
            );
            assert!(
                task.id.seq >= account.floor,
                "nothing below the floor is kept"
            );
            assert!(
                task.charged() <= task.options.max_attempts,
                "attempts within their budget"
            );
            match &task.state {
                TaskState::Queued => {}
                TaskState::Unclaimed => {
                    unclaimed += 1;
                    assert!(
                        task.may_have_run,
                        "only what may have run waits for a claim"
                    );
                }
                TaskState::Assigned { .. } => {
                    assigned += 1;
                    assert!(task.in_flight.is_counted && task.may_have_run);
                }
                TaskState::Detached => panic!("a task is detached only within a call"),
                TaskState::Ended(_) => {
                    assert!(
                        !task.in_flight.is_counted,
                        "what ended takes no room in flight"
                    );
                    assert!(
                        task.assignees().next().is_none(),
                        "what ended has no attempts"
                    );
                }
            }
            if task.in_flight.is_counted {
                in_flight_tasks += 1;
                in_flight_bytes += task.in_flight_bytes();
            }
        }
        assert_eq!(unclaimed, self.unclaimed);
        assert_eq!(assigned, self.assigned);
        assert_eq!(in_flight_tasks, self.in_flight.tasks);
        assert_eq!(in_flight_bytes, self.in_flight.bytes);
        let mut known = 0;
        for account in self.clients.values() {
            known += account.by_seq.len();
            let is_assigned = |key: &TaskKey| self.records[*key].assignee().is_some();
            let alone = account.keys().filter(is_assigned).count();
            let with_worker = |row| self.row(row).with_worker().count_ones() as usize;
            let in_rows = account.rows().map(with_worker).sum::<usize>();
            assert_eq!(alone + in_rows, account.assigned as usize);
            let first = account.may_have_run.first();
            assert!(first.is_none_or(|seq| *seq >= account.floor));
        }
        assert_eq!(known, self.records.len(), "every task is somebody's");
    }
}

impl Index<TaskKey> for Tasks {
    type Output = Task;

    fn index(&self, key: TaskKey) -> &Task {
        &self.records[key]
    }
}
