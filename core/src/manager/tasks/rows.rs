//! Rows: tasks of a run that went to a worker together, of which there is one record until each goes its
//! own way.
//!
//! What happens to most tasks needs no record of their own: they complete, and the client takes the
//! outcome. Whatever else befalls one makes it leave its row: it then has a record as if it had never
//! been in one.

use alloc::vec::Vec;

use super::record::{InFlight, Task, TaskState, Times};
use super::{ClientTasks, Tasks};
use crate::durations::NameKey;
use crate::ids::{Attempt, TaskId};
use crate::limits::ROW_TASKS_MAX;
use crate::manager::keys::{Assignee, EndedKey, RowKey};
use crate::manager::parts::Parts;
use crate::message::Assign;
use crate::name::Name;
use crate::payload::Payload;
use crate::queue::{ClassId, ClientKey, TakenRow, TaskKey};
use crate::seq_map::SeqKey as _;
use crate::steps::step;
use crate::task::TaskOptions;
use crate::time::{Instant, Nanos};

/// Some of the places of a row: a bit for each.
pub(in crate::manager) type Places = u64;

const _: () = assert!(ROW_TASKS_MAX == Places::BITS as usize);

/// The places of some, lowest first.
pub(in crate::manager) fn each(mut places: Places) -> impl Iterator<Item = u8> {
    core::iter::from_fn(move || {
        let place = (places != 0).then(|| places.trailing_zeros() as u8)?;
        places &= places - 1;
        Some(place)
    })
}

/// Those of the places below this one.
fn below(places: Places, place: u8) -> Places {
    places & ((1 << place) - 1)
}

/// How and when the tasks of a row went out.
#[derive(Clone, Copy, Debug)]
pub(in crate::manager) struct Assigned {
    /// The worker, and the attempt at the first; the numbers of the others rise by one.
    pub(in crate::manager) first: Assignee,
    /// The worker's number of the connection.
    pub(in crate::manager) connection: u64,
    pub(in crate::manager) at: Instant,
    /// The class that they were dispatched from.
    pub(in crate::manager) class: ClassId,
    /// What their client's virtual time was charged for each, in nanoseconds.
    pub(in crate::manager) charged: u64,
}

/// Tasks that were accepted one after the other, and went to a worker one after the other.
#[derive(Clone, Debug)]
pub(in crate::manager) struct Row {
    pub(in crate::manager) client: ClientKey,
    /// The first; the numbers of the others rise by one.
    pub(in crate::manager) id: TaskId,
    /// Rank of the acceptance of the first.
    order: u64,
    pub(in crate::manager) name: Name,
    pub(in crate::manager) name_key: NameKey,
    pub(in crate::manager) options: TaskOptions,
    pub(in crate::manager) accepted_at: Instant,
    /// How long one attempt may run.
    time_limit: Nanos,
    pub(in crate::manager) assigned: Assigned,
    /// Those that are with the worker.
    with_worker: Places,
    /// The arguments of these, in order of their places.
    arguments: Parts,
    kept: Places,
    /// Those that completed and that the client has yet to acknowledge, by what they completed with.
    pub(in crate::manager) ended: Vec<(Places, EndedKey)>,
}

impl Row {
    /// Those that are with the worker.
    pub(in crate::manager) fn with_worker(&self) -> Places {
        self.with_worker
    }

    /// Those that completed and that the client has yet to acknowledge.
    pub(in crate::manager) fn ended(&self) -> Places {
        self.ended.iter().fold(0, |all, (places, _)| all | places)
    }

    /// With what this one completed, if it did.
    pub(in crate::manager) fn ended_with(&self, place: u8) -> Option<EndedKey> {
        let is_there = |(places, _): &&(Places, EndedKey)| places >> place & 1 == 1;
        self.ended.iter().find(is_there).map(|(_, key)| *key)
    }

    /// The attempt at the task of this place.
    pub(in crate::manager) fn attempt(&self, place: u8) -> Attempt {
        attempt_at(self.assigned.first.attempt, place)
    }

    /// The newest of its attempts that are with the worker, of those below this one.
    pub(in crate::manager) fn newest_attempt(&self, below: Option<Attempt>) -> Option<Attempt> {
        let first = self.assigned.first.attempt;
        let places = match below.and_then(|below| below.after(first)) {
            Some(end @ 0..64) => self.with_worker & ((1 << end) - 1),
            Some(_) | None => self.with_worker,
        };
        places
            .checked_ilog2()
            .map(|place| self.attempt(place as u8))
    }

    /// The number of the task of this place.
    pub(in crate::manager) fn task(&self, place: u8) -> TaskId {
        TaskId {
            seq: self.id.seq + u64::from(place),
            ..self.id
        }
    }

    /// The places of the tasks whose numbers are not above this one.
    pub(in crate::manager) fn places_up_to(&self, seq: u64) -> Places {
        let last = seq.checked_sub(self.id.seq);
        last.map_or(0, |last| Places::MAX >> (63 - last.min(63)))
    }

    /// This place, and those of as many of the next of these numbers as rise and are of tasks that are in
    /// it. Gives the other numbers back.
    pub(in crate::manager) fn places_of<'a>(
        &self,
        place: u8,
        seqs: &'a [u64],
    ) -> (Places, &'a [u64]) {
        let all = self.with_worker | self.ended();
        let (mut places, mut last, mut rest) = (1 << place, place, seqs);
        while let Some((seq, more)) = rest.split_first() {
            let next = seq.checked_sub(self.id.seq).filter(|next| *next < 64);
            let next = next.map_or(0, |next| next as u8);
            if next <= last || all >> next & 1 == 0 {
                break;
            }
            places |= 1 << next;
            (last, rest) = (next, more);
            step();
        }
        (places, rest)
    }

    /// Where the argument of this place is among those that are kept.
    fn argument(&self, place: u8) -> usize {
        below(self.kept, place).count_ones() as usize
    }

    /// What the task of this place counts for in flight.
    pub(in crate::manager) fn bytes(&self, place: u8) -> u32 {
        let argument = self.arguments.size(self.argument(place));
        (argument + self.name.as_str().len()) as u32
    }

    /// The arguments of all, before any has left.
    pub(in crate::manager) fn arguments(&self) -> &Parts {
        &self.arguments
    }

    /// What the worker is told of the first, when all are with it.
    pub(in crate::manager) fn assignment(&self) -> Assign {
        Assign {
            attempt: self.assigned.first.attempt,
            task: self.id,
            at_most_once: self.options.at_most_once,
            deadline: Nanos::NONE,
            time_limit: self.time_limit,
            name: self.name.clone(),
        }
    }

    /// The task of this place is with the worker no longer, or has a record of its own.
    fn leave(&mut self, place: u8) {
        let argument = self.argument(place);
        self.arguments.leave(argument);
        self.with_worker &= !(1 << place);
    }

    /// Drops the arguments of those that have left, if they are most.
    fn pack(&mut self) {
        if self.arguments.is_sparse() {
            let kept: Vec<u8> = each(self.kept).collect();
            let with_worker = self.with_worker;
            self.arguments
                .pack(|argument| with_worker >> kept[argument] & 1 == 1);
            self.kept = with_worker;
        }
    }
}

/// The attempt that is so many above this one.
pub(in crate::manager) fn attempt_at(first: Attempt, place: u8) -> Attempt {
    Attempt {
        number: first.number + u64::from(place),
        ..first
    }
}

impl ClientTasks {
    /// The row in which the task of this number may be, and its place there.
    pub(in crate::manager) fn row_around(&self, seq: u64) -> Option<(RowKey, u8)> {
        let (first, row) = self.rows.range(..=seq).next_back()?;
        let place = u8::try_from(seq - first).ok()?;
        (usize::from(place) < ROW_TASKS_MAX).then_some((*row, place))
    }

    /// Its row that went out first.
    pub(in crate::manager) fn first_row(&self) -> Option<RowKey> {
        self.rows.first_key_value().map(|(_, row)| *row)
    }

    /// Its rows, in order of their numbers.
    pub(in crate::manager) fn rows(&self) -> impl Iterator<Item = RowKey> + '_ {
        self.rows.values().copied()
    }
}

impl Tasks {
    /// A row.
    pub(in crate::manager) fn row(&self, row: RowKey) -> &Row {
        &self.rows[row]
    }

    /// How many tasks are in rows.
    pub(in crate::manager) fn in_rows(&self) -> usize {
        self.in_rows
    }

    /// All rows, by their keys.
    pub(in crate::manager) fn all_rows(&self) -> impl Iterator<Item = (RowKey, &Row)> {
        self.rows.iter()
    }

    /// So many attempts that were never made before: the first.
    pub(in crate::manager) fn new_attempts(&mut self, tasks: usize) -> Attempt {
        let number = self.next_attempt;
        self.next_attempt += tasks as u64;
        Attempt {
            epoch: self.epoch,
            number,
        }
    }

    /// Tasks that were taken out of a run go out as a row.
    pub(in crate::manager) fn assign_row(&mut self, taken: TakenRow, assigned: Assigned) -> RowKey {
        let TakenRow { first, ends } = taken;
        let (run, tasks) = (self.run(first.run), ends.len());
        debug_assert!((1..=ROW_TASKS_MAX).contains(&tasks));
        let arguments = run.payload.get(first.payload.clone()).unwrap_or_default();
        let all = Places::MAX >> (ROW_TASKS_MAX - tasks);
        let row = Row {
            client: run.client,
            id: TaskId {
                seq: run.id.seq + u64::from(first.offset),
                ..run.id
            },
            order: first.order,
            name: run.name.clone(),
            name_key: run.name_key,
            options: run.options,
            accepted_at: run.accepted_at,
            time_limit: run.time_limit,
            assigned,
            with_worker: all,
            arguments: Parts::new(run.payload.content(), arguments, ends),
            kept: all,
            ended: Vec::new(),
        };
        let bytes = arguments.len() + row.name.as_str().len() * tasks;
        self.in_flight.tasks += tasks;
        self.in_flight.bytes += bytes as u64;
        self.assigned += tasks;
        let (client, seq) = (row.client, row.id.seq);
        self.forget_row_of_run(&first, tasks);
        let key = self.rows.insert(row);
        let account = &mut self.clients[client];
        account.rows.insert(seq, key);
        account.in_rows += tasks;
        account.assigned += tasks as u32;
        self.in_rows += tasks;
        key
    }

    /// Gives a task of a row that is with the worker a record of its own.
    pub(in crate::manager) fn leave_row(&mut self, key: RowKey, place: u8) -> TaskKey {
        let row = &mut self.rows[key];
        debug_assert!(row.with_worker >> place & 1 == 1, "only these leave");
        let argument = row.arguments.get(row.argument(place));
        let task = Task {
            id: row.task(place),
            client: row.client,
            order: row.order + u64::from(place),
            name: row.name.clone(),
            name_key: row.name_key,
            payload: Payload::copy_from_slice(row.arguments.content(), argument),
            options: row.options,
            times: Times {
                accepted_at: row.accepted_at,
                due: Instant::NEVER,
                start_by: Instant::NEVER,
                time_limit: row.time_limit,
            },
            ran_earlier: false,
            may_have_run: true,
            in_flight: InFlight {
                is_counted: true,
                window_bytes: 0,
            },
            ending: None,
            state: TaskState::Assigned {
                assignee: Assignee {
                    attempt: row.attempt(place),
                    ..row.assigned.first
                },
                at: row.assigned.at,
                class: row.assigned.class,
                charged: row.assigned.charged,
            },
            attempt_log: None,
        };
        row.leave(place);
        row.pack();
        let (client, seq) = (task.client, task.id.seq);
        let task = self.records.insert(task);
        self.clients[client].by_seq.insert(seq, task);
        self.uncount_of_row(key, 1);
        task
    }

    /// Tasks of a row that were with the worker have completed. Says what they counted for in flight.
    pub(in crate::manager) fn end_of_row(
        &mut self,
        key: RowKey,
        places: Places,
        ended: EndedKey,
    ) -> u64 {
        let row = &mut self.rows[key];
        debug_assert_eq!(row.with_worker & places, places);
        let mut bytes = 0;
        for place in each(places) {
            bytes += u64::from(row.bytes(place));
            row.leave(place);
        }
        row.pack();
        row.ended.push((places, ended));
        let tasks = places.count_ones();
        self.clients[row.client].assigned -= tasks;
        self.assigned -= tasks as usize;
        self.in_flight.tasks -= tasks as usize;
        self.in_flight.bytes -= bytes;
        bytes
    }

    /// The client has acknowledged the outcomes of these tasks of a row.
    pub(in crate::manager) fn forget_of_row(&mut self, key: RowKey, places: Places) {
        let row = &mut self.rows[key];
        for (ended, _) in &mut row.ended {
            *ended &= !places;
        }
        row.ended.retain(|(ended, _)| *ended != 0);
        self.uncount_of_row(key, places.count_ones() as usize);
    }

    /// So many tasks of a row are in it no longer. It is over when none is.
    fn uncount_of_row(&mut self, key: RowKey, tasks: usize) {
        let row = &self.rows[key];
        let (client, seq) = (row.client, row.id.seq);
        let is_over = row.with_worker == 0 && row.ended.is_empty();
        let account = &mut self.clients[client];
        account.in_rows -= tasks;
        self.in_rows -= tasks;
        if is_over {
            account.rows.remove(&seq);
            self.rows.remove(key);
        }
    }

    pub(super) fn check_rows(&self) {
        let mut in_rows = 0;
        for (client, account) in self.clients.iter() {
            let mut of_client = 0;
            for (first, key) in &account.rows {
                let row = &self.rows[*key];
                assert_eq!((row.client, row.id.seq), (client, *first));
                let (with_worker, ended) = (row.with_worker, row.ended());
                assert!(with_worker & ended == 0 && with_worker | ended != 0);
                let each_ended = row.ended.iter().map(|(places, _)| places.count_ones());
                assert_eq!(each_ended.sum::<u32>(), ended.count_ones());
                assert_eq!(with_worker & row.kept, with_worker);
                let kept: Vec<u8> = each(row.kept).collect();
                let is_wanted = |argument: usize| with_worker >> kept[argument] & 1 == 1;
                row.arguments.check_invariants(is_wanted);
                for place in each(with_worker | ended) {
                    let seq = row.task(place).seq;
                    assert!(seq >= account.floor, "nothing below the floor is kept");
                    assert_eq!(account.row_around(seq), Some((*key, place)));
                    assert_eq!(account.get(seq), None, "a task has one place");
                    of_client += 1;
                }
            }
            assert_eq!(of_client, account.in_rows);
            in_rows += of_client;
        }
        assert_eq!(in_rows, self.in_rows);
        let rows = self.clients.values().map(|account| account.rows.len());
        assert_eq!(
            self.rows.len(),
            rows.sum::<usize>(),
            "every row is somebody's"
        );
    }
}
