//! Runs that wait: tasks that came together, of which there is one record until each goes its own way.
//!
//! Which of them are left, and where the payload of each lies, the queue knows.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Range;

use super::record::{InFlight, Task, TaskState, Times};
use super::{ClientTasks, Tasks};
use crate::durations::NameKey;
use crate::ids::TaskId;
use crate::manager::keys::RowKey;
use crate::message::Submit;
use crate::name::Name;
use crate::payload::Payload;
use crate::queue::{ClientKey, Item, RunKey, TakenOfRun, TaskKey};
use crate::task::TaskOptions;
use crate::time::{Instant, Nanos};

/// What is known of tasks that came together.
#[derive(Clone, Debug)]
pub(in crate::manager) struct WaitingRun {
    pub(super) client: ClientKey,
    /// The first; the numbers of the others rise by one.
    pub(super) id: TaskId,
    pub(in crate::manager) name: Name,
    pub(in crate::manager) name_key: NameKey,
    pub(super) options: TaskOptions,
    pub(super) accepted_at: Instant,
    /// How long one attempt may run.
    pub(super) time_limit: Nanos,
    /// The arguments of those that are left, and of some that are not, one after the other.
    pub(super) payload: Payload,
}

/// Where a task is that is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::manager) enum Place {
    /// It has a record of its own.
    Record(TaskKey),
    /// It waits in a run, with so many accepted before it there.
    InRun(RunKey, u16),
    /// It is in a row, at this place.
    InRow(RowKey, u8),
}

impl WaitingRun {
    /// Tasks that came now, each as `first` but for its number.
    pub(in crate::manager) fn new(
        now: Instant,
        client: ClientKey,
        id: TaskId,
        first: &Submit,
        name_key: NameKey,
        payload: Payload,
    ) -> Self {
        Self {
            client,
            id,
            name: first.name.clone(),
            name_key,
            options: first.options(),
            accepted_at: now,
            time_limit: first.time_limit,
            payload,
        }
    }
}

impl ClientTasks {
    /// Whether no task of this number or a higher one was among those that are here.
    pub(in crate::manager) fn is_above_all(&self, seq: u64) -> bool {
        seq >= self.runs_end && self.by_seq.last().is_none_or(|last| last < seq)
    }

    /// Whether nothing is remembered of tasks that are not here.
    pub(in crate::manager) fn remembers_nothing(&self) -> bool {
        self.may_have_run.is_empty()
    }

    /// The run in which the task of this number may be, and its offset there.
    pub(in crate::manager) fn run_around(&self, seq: u64) -> Option<(RunKey, u16)> {
        let (first, run) = self.runs.range(..=seq).next_back()?;
        let offset = u16::try_from(seq - first).ok()?;
        Some((*run, offset))
    }

    /// Its runs that have come first.
    pub(in crate::manager) fn first_run(&self) -> Option<(u64, RunKey)> {
        self.runs.first_key_value().map(|(seq, run)| (*seq, *run))
    }
}

impl Tasks {
    /// How many wait in runs.
    pub(in crate::manager) fn in_runs(&self) -> usize {
        self.in_runs
    }

    /// All runs that wait, by their keys.
    pub(in crate::manager) fn all_runs(&self) -> impl Iterator<Item = RunKey> + '_ {
        let runs = self.runs.iter().filter(|(_, run)| run.is_some());
        runs.map(|(key, _)| key)
    }

    /// A run that waits.
    pub(in crate::manager) fn run(&self, run: RunKey) -> &WaitingRun {
        self.runs[run].as_deref().expect("what waits has a record")
    }

    /// The name of what waits.
    pub(in crate::manager) fn name_of(&self, item: Item) -> (&Name, NameKey) {
        match item {
            Item::Task(task, _) => (&self[task].name, self[task].name_key),
            Item::Run(run) => (&self.run(run).name, self.run(run).name_key),
        }
    }

    /// When what waits was accepted.
    pub(in crate::manager) fn accepted_at(&self, item: Item) -> Instant {
        match item {
            Item::Task(task, _) => self[task].times.accepted_at,
            Item::Run(run) => self.run(run).accepted_at,
        }
    }

    /// The ranks of so many tasks that are accepted now: the first of them.
    pub(in crate::manager) fn next_orders(&mut self, tasks: usize) -> u64 {
        let first = self.next_order;
        self.next_order += tasks as u64;
        first
    }

    /// So many tasks wait as this run from now on.
    pub(in crate::manager) fn add_run(&mut self, key: RunKey, run: WaitingRun, tasks: usize) {
        let account = &mut self.clients[run.client];
        account.runs.insert(run.id.seq, key);
        account.runs_end = run.id.seq.saturating_add(tasks as u64);
        account.in_runs += tasks;
        self.in_runs += tasks;
        *self.runs.reach(key) = Some(Box::new(run));
    }

    /// Makes the record of a task that was taken out of a run. It is detached.
    pub(in crate::manager) fn separate(&mut self, taken: &TakenOfRun) -> TaskKey {
        let run = self.run(taken.run);
        let bytes = run.payload.get(taken.payload.clone()).unwrap_or_default();
        let task = Task {
            id: TaskId {
                seq: run.id.seq + u64::from(taken.offset),
                ..run.id
            },
            client: run.client,
            order: taken.order,
            name: run.name.clone(),
            name_key: run.name_key,
            payload: Payload::copy_from_slice(run.payload.content(), bytes),
            options: run.options,
            times: Times {
                accepted_at: run.accepted_at,
                due: Instant::NEVER,
                start_by: Instant::NEVER,
                time_limit: run.time_limit,
            },
            ran_earlier: false,
            may_have_run: false,
            in_flight: InFlight::default(),
            ending: None,
            state: TaskState::Detached,
            attempt_log: None,
        };
        let (client, seq) = (task.client, task.id.seq);
        let key = self.records.insert(task);
        self.clients[client].by_seq.insert(seq, key);
        self.forget_of_run(taken);
        key
    }

    /// A task that was taken out of a run needs no record.
    pub(in crate::manager) fn forget_of_run(&mut self, taken: &TakenOfRun) {
        self.forget_row_of_run(taken, 1);
    }

    /// Nor do so many, of which this is the first.
    pub(super) fn forget_row_of_run(&mut self, taken: &TakenOfRun, tasks: usize) {
        let run = self.run(taken.run);
        let (client, first) = (run.client, run.id.seq);
        let account = &mut self.clients[client];
        account.in_runs -= tasks;
        self.in_runs -= tasks;
        if taken.is_over {
            account.runs.remove(&first);
            self.runs[taken.run] = None;
        }
    }

    /// Keeps of a run's arguments those at these places.
    pub(in crate::manager) fn pack(&mut self, run: RunKey, kept: &[Range<usize>]) {
        if let Some(run) = self.runs[run].as_deref_mut() {
            let parts = kept.iter().map(|part| run.payload.get(part.clone()));
            let parts: Vec<&[u8]> = parts.flatten().collect();
            run.payload = Payload::copy_from_slice(run.payload.content(), &parts.concat());
        }
    }

    pub(super) fn check_runs(&self, left: impl Fn(RunKey) -> Vec<u16>) {
        let mut in_runs = 0;
        for (client, account) in self.clients.iter() {
            let mut of_client = 0;
            for (first, key) in &account.runs {
                let run = self.run(*key);
                assert_eq!((run.client, run.id.seq), (client, *first));
                let offsets = left(*key);
                of_client += offsets.len();
                for offset in offsets {
                    let seq = first + u64::from(offset);
                    assert!(seq >= account.floor, "nothing below the floor is kept");
                    assert!(seq < account.runs_end);
                    assert_eq!(account.run_around(seq), Some((*key, offset)));
                    assert_eq!(account.get(seq), None, "a task has one place");
                }
            }
            assert_eq!(of_client, account.in_runs);
            in_runs += of_client;
        }
        assert_eq!(in_runs, self.in_runs);
        let known = self.runs.values().filter(|run| run.is_some()).count();
        let runs = self.clients.values().map(|account| account.runs.len());
        assert_eq!(known, runs.sum::<usize>(), "every run is somebody's");
    }
}
