//! Workers on which tasks fail that do well elsewhere: they get one task at a time, seldom, until
//! one completes.
//!
//! A worker that fails at once is always free, so it would get nearly every task. Each failure
//! weighs as much as it is surprising: little if the name fails at others too, much if it does well
//! there (the logarithm of its odds, as in a sequential test; Wald, 1945). A completed task clears
//! the worker. To whom else could tasks go that only one worker can run? What fails where nobody
//! else runs it raises no doubt, and who is left alone with a class of tasks is trusted again.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::time::Duration;

use crate::durations::NameKey;
use crate::event::Event;
use crate::queue::{ClassId, TaskKey};
use crate::router::WorkerKey;
use crate::steps::step;
use crate::time::Instant;

use super::abilities::KindKey;
use super::tasks::State;
use super::{Alarm, Manager};

/// Workers whose share of failures is remembered for each name, those that ran it last.
const WITNESSES: usize = 4;
/// Bits of surprise after which a worker is doubted.
const DOUBT: u32 = 16;
/// What a failure weighs if no other worker has run the name.
const UNKNOWN: u32 = 4;
/// What it weighs at most.
const MOST: u32 = 6;
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
}

/// How a worker stands.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Doubt {
    /// Bits of surprise at its failures since a task completed there.
    weight: u32,
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
    /// Whether a worker of this capacity that has `outstanding` attempts may be given one more.
    /// After a failure nothing waits there: failures may make it look fast.
    pub(super) fn lets(&self, outstanding: u32, capacity: u32) -> bool {
        match self.standing {
            Standing::Trusted => self.weight == 0 || outstanding < capacity,
            Standing::Resting => false,
            Standing::Trying => outstanding == 0,
        }
    }

    pub(super) fn is_trusted(&self) -> bool {
        self.standing == Standing::Trusted
    }
}

impl Trust {
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

impl Manager {
    /// A task of this name has completed at this worker.
    pub(super) fn trust(&mut self, key: WorkerKey, name: NameKey) {
        self.trust.note(name, key, false);
        let session = self.worker(key);
        session.doubt.weight = 0;
        if !session.doubt.is_trusted() {
            self.pardon(key);
        }
    }

    /// A task has failed at this worker, or has taken its pool process down.
    pub(super) fn doubt(&mut self, now: Instant, key: WorkerKey, task: TaskKey) {
        let record = &self.tasks[task];
        let name = record.name_key;
        let State::Assigned { class, .. } = record.state else {
            return;
        };
        let surprise = self.trust.surprise(name, key);
        self.trust.note(name, key, true);
        let doubt = &mut self.worker(key).doubt;
        doubt.weight = doubt.weight.saturating_add(surprise);
        self.rescore_later(key);
        let doubt = &mut self.worker(key).doubt;
        let (standing, weight) = (doubt.standing, doubt.weight);
        match standing {
            Standing::Resting => {}
            Standing::Trying => self.rest(now, key),
            Standing::Trusted if weight < DOUBT => {}
            Standing::Trusted if !self.has_other(key, class) => self.worker(key).doubt.weight = 0,
            Standing::Trusted => {
                self.trust.doubted.insert(key);
                let name = self.worker(key).name.clone();
                self.notify(Event::WorkerDoubted { name });
                self.rest(now, key);
            }
        }
    }

    fn rest(&mut self, now: Instant, key: WorkerKey) {
        let doubt = &mut self.worker(key).doubt;
        doubt.standing = Standing::Resting;
        let pause = (PAUSE_FIRST * (1 << doubt.tries.min(16))).min(PAUSE_MAX);
        doubt.tries += 1;
        self.alarms.set(Alarm::Trial(key), now + pause);
        self.rescore(key);
    }

    /// A doubted worker has rested, and is tried with one task.
    pub(super) fn on_trial(&mut self, key: WorkerKey) {
        let doubt = &mut self.worker(key).doubt;
        if doubt.standing == Standing::Resting {
            doubt.standing = Standing::Trying;
            self.rescore(key);
        }
    }

    /// Whether a worker that is trusted, other than this, is there for tasks of this class.
    fn has_other(&self, key: WorkerKey, class: ClassId) -> bool {
        let session = &self.workers[key];
        let runs = |kind| self.abilities.runs(kind, class);
        let is_one = session.counted_trusted && session.kind.is_some_and(runs);
        self.abilities.trusted_for(class) > u32::from(is_one)
    }

    fn pardon(&mut self, key: WorkerKey) {
        self.trust.doubted.remove(&key);
        self.alarms.cancel(Alarm::Trial(key));
        self.worker(key).doubt = Doubt::default();
        self.rescore(key);
    }

    /// Workers have gone, or take nothing any more, or other names: those that are doubted may be
    /// the only ones left.
    pub(super) fn pardon_needed(&mut self) {
        if self.trust.doubted.is_empty() {
            return;
        }
        let needed: Vec<KindKey> = self.abilities.needed().collect();
        let is_needed = |key: &WorkerKey| {
            step();
            let kind = self.workers[*key].kind;
            kind.is_some_and(|kind| needed.contains(&kind))
        };
        let doubted = self.trust.doubted.iter().copied();
        let pardoned: Vec<WorkerKey> = doubted.filter(is_needed).collect();
        pardoned.into_iter().for_each(|key| self.pardon(key));
    }

    /// The session of this worker ends.
    pub(super) fn forget_doubt(&mut self, key: WorkerKey) {
        self.trust.doubted.remove(&key);
        self.alarms.cancel(Alarm::Trial(key));
    }

    pub(super) fn check_trust(&self) {
        for (key, session) in &self.workers {
            let trusted = session.doubt.is_trusted();
            assert_eq!(trusted, !self.trust.doubted.contains(&key));
            let counted = session.kind.is_some() && session.is_trusted();
            assert_eq!(counted, session.counted_trusted);
            let resting = session.doubt.standing == Standing::Resting;
            assert_eq!(resting, self.alarms.get(Alarm::Trial(key)).is_some());
        }
        assert!(self.trust.doubted.len() <= self.workers.len());
    }
}
