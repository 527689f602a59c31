//! Tasks that wait as a run, and how each leaves it to go its own way.
//!
//! A run is accepted as one where that says nothing of any of its tasks alone: none has a deadline or may
//! have run, and there is room for it. Whatever then concerns one of them takes that out of the run, and
//! gives it a record of its own.

use alloc::vec::Vec;

use crate::ids::TaskId;
use crate::limits::{ATTEMPTS_MAX, RUN_BYTES_MAX};
use crate::message::{Run, Submit};
use crate::payload::Payload;
use crate::queue::{ClientKey, NewRun, RunKey, TaskKey};
use crate::time::{Instant, Nanos};

use super::Manager;
use super::tasks::{Place, WaitingRun};

impl Manager {
    /// Lets the first tasks of a run wait as one: as many as are accepted without a word about any of
    /// them alone. Says how many.
    pub(super) fn enqueue_run(
        &mut self,
        now: Instant,
        client: ClientKey,
        run: &Run<Submit>,
        payload: &Payload,
    ) -> usize {
        let first = &run.first;
        let fits = self.fits_as_run(client, run, payload);
        if fits < self.config.inner.waiting_run.max(1) {
            return 0;
        }
        let ends = run.sizes[..fits].iter().scan(0, |end, size| {
            *end += size;
            Some(*end)
        });
        let ends: Vec<u32> = ends.collect();
        let end = ends.last().map_or(0, |end| *end as usize);
        let bytes = payload.get(..end).unwrap_or_default();
        let argument = Payload::copy_from_slice(payload.content(), bytes);
        let name_key = self.placement.intern(&first.name);
        let new = NewRun {
            client,
            class: self.placement.class_of(&first.name, name_key),
            priority: first.priority,
            order: self.tasks.next_orders(fits),
            beside: first.name.as_str().len() as u32,
            ends,
        };
        let id = TaskId {
            client: self.clients[client].peer.id,
            seq: first.seq,
        };
        let waiting = WaitingRun::new(now, client, id, first, name_key, argument);
        let awake = self.schedule.awake(now);
        let (key, is_unroutable) = self
            .placement
            .enqueue_run(awake, &self.tasks, &first.name, new);
        self.tasks.add_run(key, waiting, fits);
        self.totals.accepted += fits as u64;
        if is_unroutable {
            self.watch_unroutable();
        }
        fits
    }

    /// How many of the first tasks of a run may wait as one.
    fn fits_as_run(&self, client: ClientKey, run: &Run<Submit>, payload: &Payload) -> usize {
        let first = &run.first;
        let account = self.tasks.of(client);
        let is_plain = !first.may_have_run
            && first.deadline == Nanos::NONE
            && first.max_wait == Nanos::NONE
            && (1..=ATTEMPTS_MAX).contains(&first.max_attempts)
            && payload.len() <= RUN_BYTES_MAX;
        let is_new = first.seq >= account.floor()
            && account.is_above_all(first.seq)
            && account.remembers_nothing()
            && self.orphans.len() == 0;
        let largest = run.sizes.iter().max().copied().unwrap_or(0);
        if !is_plain || !is_new || self.why_rejected(first, client, largest as usize).is_some() {
            return 0;
        }
        let beside = first.name.as_str().len() as u32;
        let fits = self.placement.queue().room_for(beside, &run.sizes);
        fits.min(self.config.client_tasks - account.count())
    }

    /// The record of a task that is here, unless it has ended in a row. One that waits in a run is taken out of
    /// it, and detached; the run is then to be tidied, unless all of it goes.
    pub(super) fn take_out(&mut self, place: Place) -> Option<TaskKey> {
        match place {
            Place::Record(task) => Some(task),
            Place::InRun(run, offset) => {
                let taken = self.placement.withdraw_of_run(run, offset)?;
                Some(self.tasks.separate(&taken))
            }
            Place::InRow(row, place) => self.leave_row(row, place),
        }
    }

    /// Something was taken out of a run, which may be over: gives the room back that it takes where little
    /// of it is left. What few tasks are left wait alone.
    pub(super) fn tidy(&mut self, run: RunKey) {
        let Some(rest) = self.placement.rest_of(run, self.config.inner.waiting_run) else {
            if let Some(kept) = self.placement.pack(run) {
                self.tasks.pack(run, &kept);
            }
            return;
        };
        let separate = |taken| {
            let task = self.tasks.separate(taken);
            self.tasks.queued(task);
            task
        };
        let tasks: Vec<TaskKey> = rest.iter().map(separate).collect();
        self.placement.dissolve(run, &tasks);
    }

    /// Where a task is that is here.
    pub(super) fn place_of(&self, client: ClientKey, seq: u64) -> Option<Place> {
        let account = self.tasks.of(client);
        if let Some(task) = account.get(seq) {
            return Some(Place::Record(task));
        }
        if let Some((run, offset)) = account.run_around(seq)
            && self.placement.queue().has_of_run(run, offset)
        {
            return Some(Place::InRun(run, offset));
        }
        let (row, place) = account.row_around(seq)?;
        let of_row = self.tasks.row(row);
        let is_there = (of_row.with_worker() | of_row.ended()) >> place & 1 == 1;
        is_there.then_some(Place::InRow(row, place))
    }

    /// Removes every trace of a task, which may wait in a run: that is then to be tidied, as above.
    pub(super) fn forget_at(&mut self, now: Instant, place: Place) {
        match place {
            Place::Record(task) => self.forget(now, task),
            Place::InRun(run, offset) => {
                if let Some(taken) = self.placement.withdraw_of_run(run, offset) {
                    self.tasks.forget_of_run(&taken);
                }
            }
            Place::InRow(row, place) => self.forget_in_row(now, row, 1 << place),
        }
    }
}
