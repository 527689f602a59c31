//! How long tasks take, by name.
//!
//! Owns: for each of the [`NAMES_MAX`] most recently used names, a moving average of the run times
//! of its completed tasks and their recent maximum. Never: measures. Failures are not reported
//! here: how long a task takes to fail says little about how long it takes.
//!
//! Names are interned where a task arrives, so that everything later uses a small key. When a new
//! name needs room, the name that was interned longest ago is forgotten; its key is then unknown,
//! and not mistaken for the name that took the place. Times are nanoseconds.

use alloc::collections::BTreeMap;
use core::mem;

use crate::arena::{Key as _, SecondaryMap, arena_key};
use crate::limits::NAMES_MAX;
use crate::name::Name;

/// A name that was interned. Meaningful only to the [`Durations`] that gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameKey(u32);

impl NameKey {
    /// The low bits say where; the others count how often the place has been given away, so that
    /// an old key is recognised (until a place has changed hands four million times).
    const SLOT_BITS: u32 = 10;

    fn new(slot: SlotKey, generation: u32) -> Self {
        Self(generation << Self::SLOT_BITS | slot.0)
    }

    /// Where the name is kept: below [`NAMES_MAX`], and used again for other names.
    pub(crate) fn place(self) -> usize {
        self.slot().index()
    }

    fn slot(self) -> SlotKey {
        SlotKey(self.0 & ((1 << Self::SLOT_BITS) - 1))
    }
}

const _: () = assert!(NAMES_MAX <= 1 << NameKey::SLOT_BITS);

arena_key!(
    /// Where a name is kept; none is the end of the list.
    struct SlotKey(u32)
);

/// Names at the front of the list that are compared before the tree is searched: most tasks in a
/// row have the same name, or one of a few.
const GLANCE: usize = 4;
/// A new run time counts for one part in this many of the average.
const WEIGHT: u64 = 8;
/// The recent maximum loses one part in this many with each completed task: a tenth of it is
/// left after 73 shorter tasks.
const DECAY: u64 = 32;
/// What a task is expected to take when no task of any name has completed yet.
const UNKNOWN: u64 = 1_000_000;
/// Longer run times count as this long (52 days), so that no sum overflows.
const RAN_MAX: u64 = 1 << 52;

#[derive(Clone, Debug)]
struct Slot {
    name: Name,
    key: NameKey,
    /// Average run time; meaningful once `completed`.
    expected: u64,
    recent_max: u64,
    completed: bool,
    /// Neighbours in the order of use: the one used after this, and the one used before.
    newer: SlotKey,
    older: SlotKey,
}

/// Run times by name.
#[derive(Clone, Debug)]
pub struct Durations {
    slots: SecondaryMap<SlotKey, Slot>,
    by_name: BTreeMap<Name, SlotKey>,
    newest: SlotKey,
    oldest: SlotKey,
    /// Sum of `expected`, and number, of the names of which a task has completed.
    sum: u64,
    known: u64,
}

impl Default for Durations {
    fn default() -> Self {
        Self::new()
    }
}

impl Durations {
    /// Knows no name.
    #[must_use]
    pub fn new() -> Self {
        Self {
            slots: SecondaryMap::default(),
            by_name: BTreeMap::new(),
            newest: SlotKey::NONE,
            oldest: SlotKey::NONE,
            sum: 0,
            known: 0,
        }
    }

    /// How many names are remembered.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.reached()
    }

    /// Whether no name is remembered.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.reached() == 0
    }

    /// The key of `name`. Counts as a use of it; may forget the least recently used name.
    pub fn intern(&mut self, name: &Name) -> NameKey {
        let slot = match self.find(name) {
            Some(slot) => slot,
            None if self.slots.reached() < NAMES_MAX => {
                let slot = SlotKey::from_index(self.slots.reached());
                self.slots
                    .push(Slot::new(name.clone(), NameKey::new(slot, 0)));
                self.by_name.insert(name.clone(), slot);
                self.link(slot);
                slot
            }
            None => self.replace_oldest(name),
        };
        if self.newest != slot {
            self.unlink(slot);
            self.link(slot);
        }
        self.slots[slot].key
    }

    /// Whether a task of this name has completed, of those that are remembered.
    #[must_use]
    pub fn is_measured(&self, name: &Name) -> bool {
        self.find(name)
            .is_some_and(|slot| self.slots[slot].completed)
    }

    /// How long a task of this name is expected to run, in nanoseconds: the moving average of its
    /// completed tasks. For a name of which none has completed, or that has been forgotten, the
    /// mean over all names of which one has; before the first, a millisecond.
    #[must_use]
    pub fn expected(&self, key: NameKey) -> u64 {
        match self.slot(key) {
            Some(slot) if slot.completed => slot.expected,
            _ => self.sum.checked_div(self.known).unwrap_or(UNKNOWN),
        }
    }

    /// A task of this name completed after running for `ran` nanoseconds. A key whose name has
    /// been forgotten is ignored.
    pub fn completed(&mut self, key: NameKey, ran: u64) {
        let ran = ran.min(RAN_MAX);
        let Some(slot) = self
            .slots
            .get_mut(key.slot())
            .filter(|slot| slot.key == key)
        else {
            return;
        };
        if slot.completed {
            let expected = blend(slot.expected, ran, WEIGHT);
            self.sum = self.sum - slot.expected + expected;
            slot.expected = expected;
            slot.recent_max = ran.max(slot.recent_max - slot.recent_max / DECAY);
        } else {
            slot.completed = true;
            slot.expected = ran;
            slot.recent_max = ran;
            self.sum += ran;
            self.known += 1;
        }
    }

    /// The longest that a task of this name took recently, in nanoseconds; it fades with each
    /// shorter one. `u64::MAX` for a name of which none has completed, or that has been
    /// forgotten: whoever asks "is this name always short?" must not be told yes.
    #[must_use]
    pub fn recent_max(&self, key: NameKey) -> u64 {
        match self.slot(key) {
            Some(slot) if slot.completed => slot.recent_max,
            _ => u64::MAX,
        }
    }

    fn slot(&self, key: NameKey) -> Option<&Slot> {
        self.slots.get(key.slot()).filter(|slot| slot.key == key)
    }

    fn find(&self, name: &Name) -> Option<SlotKey> {
        let mut slot = self.newest;
        for _ in 0..GLANCE {
            let Some(seen) = self.slots.get(slot) else {
                break;
            };
            if seen.name == *name {
                return Some(slot);
            }
            slot = seen.older;
        }
        self.by_name.get(name).copied()
    }

    fn replace_oldest(&mut self, name: &Name) -> SlotKey {
        let index = self.oldest;
        let slot = &mut self.slots[index];
        if slot.completed {
            self.sum -= slot.expected;
            self.known -= 1;
        }
        // The shift drops what overflows, so the count wraps around.
        let generation = (slot.key.0 >> NameKey::SLOT_BITS).wrapping_add(1);
        let mut fresh = Slot::new(name.clone(), NameKey::new(index, generation));
        (fresh.newer, fresh.older) = (slot.newer, slot.older);
        let forgotten = mem::replace(slot, fresh);
        self.by_name.remove(&forgotten.name);
        self.by_name.insert(name.clone(), index);
        index
    }

    /// Takes a slot out of the order of use; not the most recently used one.
    fn unlink(&mut self, slot: SlotKey) {
        let Slot { newer, older, .. } = self.slots[slot];
        self.slots[newer].older = older;
        match self.slots.get_mut(older) {
            Some(neighbour) => neighbour.newer = newer,
            None => self.oldest = newer,
        }
    }

    /// Makes a slot the most recently used one.
    fn link(&mut self, slot: SlotKey) {
        let newest = mem::replace(&mut self.newest, slot);
        match self.slots.get_mut(newest) {
            Some(neighbour) => neighbour.newer = slot,
            None => self.oldest = slot,
        }
        let slot = &mut self.slots[slot];
        (slot.newer, slot.older) = (SlotKey::NONE, newest);
    }

    /// Asserts that the list, the tree and the sums say the same as the slots.
    ///
    /// # Panics
    /// If they do not.
    pub fn check_invariants(&self) {
        assert!(self.slots.reached() <= NAMES_MAX);
        assert_eq!(self.slots.reached(), self.by_name.len());
        let (mut listed, mut newer, mut at) = (0, SlotKey::NONE, self.newest);
        while let Some(slot) = self.slots.get(at) {
            assert_eq!(slot.newer, newer);
            assert_eq!(slot.key.slot(), at);
            assert_eq!(self.by_name.get(&slot.name), Some(&at));
            (listed, newer, at) = (listed + 1, at, slot.older);
        }
        assert_eq!(self.oldest, newer);
        assert_eq!(listed, self.slots.reached());
        let known = || self.slots.values().filter(|slot| slot.completed);
        assert_eq!(self.known, known().count() as u64);
        assert_eq!(self.sum, known().map(|slot| slot.expected).sum());
    }
}

impl Slot {
    fn new(name: Name, key: NameKey) -> Self {
        Self {
            name,
            key,
            expected: 0,
            recent_max: 0,
            completed: false,
            newer: SlotKey::NONE,
            older: SlotKey::NONE,
        }
    }
}

/// Moves `average` towards `sample` by one part in `weight`, rounded towards the sample so that it
/// arrives.
pub(crate) fn blend(average: u64, sample: u64, weight: u64) -> u64 {
    if sample > average {
        average + (sample - average).div_ceil(weight)
    } else {
        average - (average - sample).div_ceil(weight)
    }
}
