//! How far a turn goes: which of a flow's first tasks a worker is given at a time.
//!
//! A turn takes at least one task, and no more of them than the manager's turn time has room for. A
//! task counts there as the recent maximum of its name: tasks that may be long, and those of a name that
//! nobody has measured, go one by one. That is reckoned once for all tasks of a name in a row.
//!
//! Owns: what is left of a turn. Never: takes a task, or chooses whose turn it is.

use crate::durations::{Durations, NameKey};
use crate::manager::room::Room;
use crate::queue::{self, CHARGE_MIN};

/// The turn of one client at one worker.
#[derive(Debug)]
pub(in crate::manager) struct Turn {
    pub(super) of: queue::Turn,
    left: Left,
}

/// What a turn may still take.
#[derive(Clone, Copy, Debug)]
struct Left {
    /// Run time that no stretch of tasks has taken, in nanoseconds; less than `u64::MAX`, which is what one
    /// counts that nobody has measured.
    time: u64,
    /// Tasks that no stretch has taken, and bytes.
    room: Room,
    stretch: Stretch,
}

/// Tasks of one name in a row.
#[derive(Clone, Copy, Debug, Default)]
struct Stretch {
    /// `None` before the first.
    name: Option<NameKey>,
    /// What one counts of the turn's time, and what its client is charged for it, in nanoseconds.
    each: u64,
    charge: u64,
    /// How many more may go.
    tasks: u32,
}

impl Turn {
    /// A turn of `of` for so long and with so much room; one task is always let through.
    pub(super) fn new(of: queue::Turn, time: u64, room: Room) -> Self {
        debug_assert!(!room.is_none(), "only who has room is given a turn");
        Self {
            of,
            left: Left::new(time, room),
        }
    }

    /// Lets a task of this name and size go, if the turn goes so far: says what its client is charged
    /// for it, in nanoseconds.
    pub(super) fn let_go(
        &mut self,
        durations: &Durations,
        name: NameKey,
        bytes: u32,
    ) -> Option<u64> {
        let charge = self.left.let_go(durations, name, bytes)?;
        self.of.charge(charge);
        Some(charge)
    }
}

impl Turn {
    /// How many of the first of a row of tasks of this name the turn goes on with, and what their client is
    /// charged for each, in nanoseconds. `sizes` are what they take in bytes.
    pub(super) fn fitting(
        &mut self,
        durations: &Durations,
        name: NameKey,
        sizes: impl Iterator<Item = u32>,
    ) -> (usize, u64) {
        self.left.fitting(durations, name, sizes)
    }

    /// Lets that many go, which take so many bytes together.
    pub(super) fn let_row_go(&mut self, tasks: u32, bytes: u64) {
        let charge = self.left.let_row_go(tasks, bytes);
        self.of.charge_row(charge, tasks);
    }
}

impl Left {
    fn new(time: u64, room: Room) -> Self {
        Self {
            time,
            room: Room {
                tasks: room.tasks.max(1),
                bytes: room.bytes.max(1),
            },
            stretch: Stretch::default(),
        }
    }

    fn let_go(&mut self, durations: &Durations, name: NameKey, bytes: u32) -> Option<u64> {
        self.go_on_with(durations, name);
        if self.stretch.tasks == 0 || self.room.bytes == 0 {
            return None;
        }
        Some(self.let_row_go(1, u64::from(bytes)))
    }

    fn fitting(
        &mut self,
        durations: &Durations,
        name: NameKey,
        sizes: impl Iterator<Item = u32>,
    ) -> (usize, u64) {
        self.go_on_with(durations, name);
        let mut bytes = self.room.bytes;
        let mut fits = |size: &u32| {
            let has_room = bytes > 0;
            bytes = bytes.saturating_sub(u64::from(*size));
            has_room
        };
        let sizes = sizes.take(self.stretch.tasks as usize);
        (
            sizes.take_while(|size| fits(size)).count(),
            self.stretch.charge,
        )
    }

    fn let_row_go(&mut self, tasks: u32, bytes: u64) -> u64 {
        self.stretch.tasks -= tasks;
        self.room.bytes = self.room.bytes.saturating_sub(bytes);
        self.stretch.charge
    }

    fn go_on_with(&mut self, durations: &Durations, name: NameKey) {
        if self.stretch.name != Some(name) {
            self.begin_stretch(durations, name);
        }
    }

    /// Gives a stretch of tasks of this name as much as there is room and time for.
    fn begin_stretch(&mut self, durations: &Durations, name: NameKey) {
        // What the stretch before has not used is there for this one.
        self.room.tasks += self.stretch.tasks;
        self.time += u64::from(self.stretch.tasks) * self.stretch.each;
        let is_first = self.stretch.name.is_none();
        let each = durations.recent_max(name).max(CHARGE_MIN);
        let fitting = (self.time / each).max(u64::from(is_first));
        let tasks =
            u32::try_from(fitting).map_or(self.room.tasks, |fits| fits.min(self.room.tasks));
        self.room.tasks -= tasks;
        self.time = self
            .time
            .saturating_sub(each.saturating_mul(u64::from(tasks)));
        self.stretch = Stretch {
            name: Some(name),
            each,
            charge: durations.expected(name).max(1),
            tasks,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Name;
    use core::iter;
    use proptest::prelude::*;
    use std::format;
    use std::vec::Vec;

    /// Durations of names that take so long; of a name without a time none has completed.
    fn durations(times: &[Option<u64>]) -> (Durations, Vec<NameKey>) {
        let mut durations = Durations::new();
        let mut keys = Vec::new();
        for (number, time) in times.iter().enumerate() {
            let key = durations.intern(&Name::new(&format!("n{number}")).expect("short"));
            if let Some(time) = time {
                durations.completed(key, *time);
            }
            keys.push(key);
        }
        (durations, keys)
    }

    proptest! {
        /// What is reckoned for a stretch at a time goes as far as what is decided task by task, and is
        /// within the time, or one task.
        #[test]
        fn a_turn_goes_as_far_as_time_and_room(
            times in prop::array::uniform3(prop::option::of(0_u64..40_000)),
            tasks in prop::collection::vec((0_usize..3, 0_u32..100), 1..200),
            time in prop_oneof![Just(0), 0_u64..100_000, Just(u64::MAX - 1)],
            room in (1_u32..100, prop_oneof![1_u64..2_000, Just(u64::MAX)]),
        ) {
            let (durations, names) = durations(&times);
            let room = Room { tasks: room.0, bytes: room.1 };
            let mut left = Left::new(time, room);
            let (mut used, mut given, mut bytes) = (0_u64, 0, 0);
            for (name, size) in tasks {
                let (fits_one, charge_of_one) = left.fitting(&durations, names[name], iter::once(size));
                let each = times[name].map_or(u64::MAX, |time| time.max(CHARGE_MIN));
                let fits = used.saturating_add(each) <= time && each < u64::MAX;
                let lets = given == 0 || (fits && given < room.tasks && bytes < room.bytes);
                let charge = left.let_go(&durations, names[name], size);
                prop_assert_eq!(charge.is_some(), lets);
                prop_assert_eq!(fits_one, usize::from(lets));
                prop_assert!(charge.is_none_or(|charge| charge == charge_of_one));
                if !lets {
                    break;
                }
                prop_assert_eq!(charge, Some(durations.expected(names[name]).max(1)));
                used = used.saturating_add(each);
                given += 1;
                bytes += u64::from(size);
            }
            prop_assert!(given > 0 && (given == 1 || used <= time));
        }

        /// A row goes as far as its tasks go one by one, and what follows it finds the same left.
        #[test]
        fn a_row_goes_as_far_as_its_tasks(
            each in prop::option::of(0_u64..8_000),
            rows in prop::collection::vec(prop::collection::vec(0_u32..100, 1..40), 1..6),
            time in prop_oneof![Just(0), 0_u64..100_000],
            room in (1_u32..100, prop_oneof![1_u64..2_000, Just(u64::MAX)]),
        ) {
            let (durations, names) = durations(&[each]);
            let room = Room { tasks: room.0, bytes: room.1 };
            let (mut by_rows, mut one_by_one) = (Left::new(time, room), Left::new(time, room));
            for row in rows {
                let (fits, charge) = by_rows.fitting(&durations, names[0], row.iter().copied());
                for (place, size) in row.iter().enumerate() {
                    let charged = one_by_one.let_go(&durations, names[0], *size);
                    prop_assert_eq!(charged, (place < fits).then_some(charge));
                    if charged.is_none() {
                        break;
                    }
                }
                let bytes = row[..fits].iter().copied().map(u64::from).sum();
                prop_assert_eq!(by_rows.let_row_go(fits as u32, bytes), charge);
                if fits < row.len() {
                    break;
                }
            }
        }
    }
}
