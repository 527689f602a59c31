//! Workers on which tasks fail that do well elsewhere: they get one task at a time, seldom, until
//! one completes.
//!
//! A worker that fails at once is always free, so it would get nearly every task. Each failure
//! weighs as much as it is surprising: little if the name fails at others too, much if it does well
//! there (the logarithm of its odds, as in a sequential test; Wald, 1945). A completed task clears
//! the worker. Tasks that only one worker can run could go nowhere else. What fails where nobody
//! else runs it raises no doubt, and who is left alone with a class of tasks is trusted again.
//!
//! A worker that gives back unasked what it was given is doubted too, and even if it is alone: it lacks
//! something, or it lies, and would be given the same again at once.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::time::Duration;

use crate::durations::NameKey;
use crate::queue::ClassId;
use crate::router::WorkerKey;
use crate::steps::step;
use crate::time::Instant;

use super::Placement;
use super::groups::GroupKey;

/// Workers whose share of failures is remembered for each name, those that ran it last.
const WITNESSES: usize = 4;
/// Bits of surprise after which a worker is doubted.
const DOUBT: u32 = 16;
/// What a failure weighs if no other worker has run the name.
const UNKNOWN: u32 = 4;
/// What it weighs at most.
const MOST: u32 = 6;
/// Times that a worker gives something back unasked, however much, after which it is doubted.
const RETURNS: u32 = 3;
/// Pause before the first task that a doubted worker is tried with; doubles with each that fails.
const PAUSE_FIRST: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Shares of failures are kept in parts of this.
const ALL: u32 = 256;
/// A new end counts for one part in this many.
const WEIGHT: u32 = 8;

/// What becomes of tasks of one name, by worker.
#[derive(Clone, Debug)]
struct Record {
    name: NameKey,
    /// The share of failures at each, the last that ran it first.
    by: Vec<(WorkerKey, u32)>,
}

impl Record {
    /// Whether two workers never fail, so that a failure at any is as surprising as can be.
    fn does_well(&self) -> bool {
        self.by.iter().filter(|(_, share)| *share == 0).count() >= 2
    }
}

/// What is known of names, by worker.
#[derive(Clone, Debug, Default)]
pub(super) struct Trust {
    /// By the place of the name among those remembered.
    records: Vec<Option<Record>>,
    /// Workers that are doubted.
    doubted: BTreeSet<WorkerKey>,
    /// Those of them that are of a group, by that.
    by_group: BTreeSet<(GroupKey, WorkerKey)>,
}

/// How a worker stands.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Doubt {
    /// Bits of surprise at its failures since a task completed there.
    weight: u32,
    /// Times that it has given something back unasked since then.
    returns: u32,
    /// Tasks that it was tried with since it is doubted.
    tries: u32,
    standing: Standing,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Standing {
    #[default]
    Trusted,
    /// Gets nothing for a while.
    Resting,
    /// Gets one task.
    Trying,
}

impl Doubt {
    /// How many more attempts a worker of this capacity may be given that has `outstanding`. After a
    /// failure nothing waits there: failures may make it look fast.
    pub(super) fn lets(&self, outstanding: u32, capacity: u32) -> u32 {
        match self.standing {
            Standing::Trusted if self.weight == 0 => u32::MAX,
            Standing::Trusted => capacity.saturating_sub(outstanding),
            Standing::Resting => 0,
            Standing::Trying => u32::from(outstanding == 0),
        }
    }

    pub(super) fn is_trusted(&self) -> bool {
        self.standing == Standing::Trusted
    }
}

impl Trust {
    pub(super) fn is_doubted(&self, worker: WorkerKey) -> bool {
        self.doubted.contains(&worker)
    }

    /// The worker is trusted, or gone.
    pub(super) fn forget(&mut self, worker: WorkerKey, group: Option<GroupKey>) {
        self.doubted.remove(&worker);
        if let Some(group) = group {
            self.by_group.remove(&(group, worker));
        }
    }

    /// The worker is of another group than before.
    pub(super) fn moved(
        &mut self,
        worker: WorkerKey,
        before: Option<GroupKey>,
        now: Option<GroupKey>,
    ) {
        if let Some(group) = before {
            self.by_group.remove(&(group, worker));
        }
        if let Some(group) = now
            && self.is_doubted(worker)
        {
            self.by_group.insert((group, worker));
        }
    }

    /// Asserts that who is doubted is known by group; `group` says which each is of.
    pub(super) fn check_invariants(&self, group: impl Fn(WorkerKey) -> Option<GroupKey>) {
        let grouped = self.doubted.iter();
        let grouped: BTreeSet<_> = grouped
            .filter_map(|worker| Some((group(*worker)?, *worker)))
            .collect();
        assert_eq!(grouped, self.by_group);
    }

    /// How surprising a failure of this name at this worker is.
    fn surprise(&self, name: NameKey, worker: WorkerKey) -> u32 {
        let record = self.records.get(name.place()).and_then(Option::as_ref);
        let others = record
            .filter(|record| record.name == name)
            .into_iter()
            .flat_map(|record| &record.by)
            .filter(|(other, _)| *other != worker);
        match others.map(|(_, share)| *share).min() {
            None => UNKNOWN,
            Some(share) => (ALL / share.max(1)).ilog2().min(MOST),
        }
    }

    fn note(&mut self, name: NameKey, worker: WorkerKey, failed: bool) {
        let place = name.place();
        if self.records.len() <= place {
            self.records.resize(place + 1, None);
        }
        let record = match &mut self.records[place] {
            Some(record) if record.name == name => record,
            other => other.insert(Record {
                name,
                by: Vec::new(),
            }),
        };
        let sample = if failed { ALL } else { 0 };
        let share = match record.by.iter().position(|(known, _)| *known == worker) {
            // The way of nearly all: nothing is learned.
            Some(place) if !failed && record.by[place].1 == 0 => return,
            // Nor from one more: each already has another that does well.
            None if !failed && record.does_well() => return,
            Some(place) => {
                let (_, share) = record.by.remove(place);
                (share * (WEIGHT - 1) + sample) / WEIGHT
            }
            None => sample,
        };
        record.by.truncate(WITNESSES - 1);
        record.by.insert(0, (worker, share));
    }
}

/// A doubted worker gets nothing for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::manager) struct Pause {
    /// When it is tried with one task.
    pub(in crate::manager) until: Instant,
    /// It was trusted until now.
    pub(in crate::manager) is_first: bool,
}

impl Placement {
    /// A task of this name has completed at this worker. True if it is trusted again.
    pub(in crate::manager) fn trust(&mut self, worker: WorkerKey, name: NameKey) -> bool {
        self.trust.note(name, worker, false);
        let doubt = &mut self.candidates[worker].doubt;
        doubt.weight = 0;
        doubt.returns = 0;
        !doubt.is_trusted()
    }

    /// A worker has given back what it was given, although nobody asked. Says when it is to get nothing
    /// for a while: also one that is alone, since to give it the same again at once helps nobody.
    pub(in crate::manager) fn doubt_return(
        &mut self,
        now: Instant,
        worker: WorkerKey,
    ) -> Option<Pause> {
        self.rescore_later(worker);
        let doubt = &mut self.candidates[worker].doubt;
        doubt.returns = doubt.returns.saturating_add(1);
        let (standing, returns) = (doubt.standing, doubt.returns);
        match standing {
            Standing::Resting => None,
            Standing::Trusted if returns < RETURNS => None,
            Standing::Trusted | Standing::Trying => Some(self.rest(now, worker)),
        }
    }

    /// A task of this name and class has failed at this worker, or has taken its pool process down. Says
    /// when it is to get nothing for a while.
    pub(in crate::manager) fn doubt(
        &mut self,
        now: Instant,
        worker: WorkerKey,
        name: NameKey,
        class: ClassId,
    ) -> Option<Pause> {
        let surprise = self.trust.surprise(name, worker);
        self.trust.note(name, worker, true);
        self.rescore_later(worker);
        let doubt = &mut self.candidates[worker].doubt;
        doubt.weight = doubt.weight.saturating_add(surprise);
        let (standing, weight) = (doubt.standing, doubt.weight);
        match standing {
            Standing::Resting => None,
            Standing::Trusted if weight < DOUBT => None,
            Standing::Trusted if !self.has_other(worker, class) => {
                self.candidates[worker].doubt.weight = 0;
                None
            }
            Standing::Trusted | Standing::Trying => Some(self.rest(now, worker)),
        }
    }

    /// From now on the worker is doubted, and gets nothing for a while: the longer, the oftener it was
    /// tried.
    fn rest(&mut self, now: Instant, worker: WorkerKey) -> Pause {
        self.trust.doubted.insert(worker);
        let group = self.candidates[worker].group;
        self.trust.moved(worker, None, group);
        let doubt = &mut self.candidates[worker].doubt;
        let is_first = doubt.is_trusted();
        doubt.standing = Standing::Resting;
        let pause = (PAUSE_FIRST * (1 << doubt.tries.min(16))).min(PAUSE_MAX);
        doubt.tries += 1;
        Pause {
            until: now + pause,
            is_first,
        }
    }

    /// A doubted worker has rested, and is tried with one task. True if it was resting.
    pub(in crate::manager) fn try_again(&mut self, worker: WorkerKey) -> bool {
        let doubt = &mut self.candidates[worker].doubt;
        let rested = doubt.standing == Standing::Resting;
        if rested {
            doubt.standing = Standing::Trying;
        }
        rested
    }

    /// Whether a worker gets nothing for a while.
    pub(in crate::manager) fn is_resting(&self, worker: WorkerKey) -> bool {
        self.candidates[worker].doubt.standing == Standing::Resting
    }

    /// Whether a worker that is trusted, other than this, is there for tasks of this class.
    fn has_other(&self, worker: WorkerKey, class: ClassId) -> bool {
        let candidate = &self.candidates[worker];
        let runs = |group| self.groups.runs(group, class);
        let is_one = candidate.counted_trusted && candidate.group.is_some_and(runs);
        self.groups.trusted_for(class) > u32::from(is_one)
    }

    /// The worker is trusted again.
    pub(in crate::manager) fn pardon(&mut self, worker: WorkerKey) {
        self.trust.forget(worker, self.candidates[worker].group);
        self.candidates[worker].doubt = Doubt::default();
    }

    /// Doubted workers that are the only ones left for some class of tasks.
    pub(in crate::manager) fn needed_again(&self) -> Vec<WorkerKey> {
        if self.trust.by_group.is_empty() {
            return Vec::new();
        }
        let of_group = |group| {
            let doubted = self.trust.by_group.range((group, WorkerKey(0))..);
            doubted.take_while(move |(other, _)| *other == group)
        };
        let needed = self.groups.needed().flat_map(of_group);
        needed
            .inspect(|_| step())
            .map(|(_, worker)| *worker)
            .collect()
    }
}
