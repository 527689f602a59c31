//! A map for sequence numbers: keys that come in rising and leave in about that order.
//!
//! Owns: a row of entries, oldest first, in which those that are gone leave gaps; and a tree of
//! the few that come out of order. Never: needs more than twice the space of what it holds, and a
//! little. Invariants: the row rises, and neither end of it is a gap. For keys that behave, every
//! call costs the same however many there are.

use alloc::collections::{BTreeMap, VecDeque};

use crate::ids::{Attempt, ConnId};

/// Gaps that are let be, however few entries there are.
const GAPS: usize = 64;

/// A sequence number.
pub trait SeqKey: Copy + Ord {
    /// How many keys there may be from `earlier` up to this one, if that can be told.
    fn after(self, earlier: Self) -> Option<u64>;
}

impl SeqKey for u64 {
    fn after(self, earlier: Self) -> Option<u64> {
        self.checked_sub(earlier)
    }
}

impl SeqKey for ConnId {
    fn after(self, earlier: Self) -> Option<u64> {
        self.0.checked_sub(earlier.0)
    }
}

impl SeqKey for Attempt {
    /// A manager numbers all its attempts, so one worker has fewer.
    fn after(self, earlier: Self) -> Option<u64> {
        (self.epoch == earlier.epoch).then(|| self.number.saturating_sub(earlier.number))
    }
}

/// The map.
#[derive(Clone, Debug)]
pub struct SeqMap<K, V> {
    row: VecDeque<(K, Option<V>)>,
    gaps: usize,
    out_of_order: BTreeMap<K, V>,
}

impl<K, V> Default for SeqMap<K, V> {
    fn default() -> Self {
        Self {
            row: VecDeque::new(),
            gaps: 0,
            out_of_order: BTreeMap::new(),
        }
    }
}

impl<K: SeqKey, V> SeqMap<K, V> {
    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.row.len() - self.gaps + self.out_of_order.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds an entry that is not there yet; false, and nothing happens, if it is.
    pub fn insert(&mut self, key: K, value: V) -> bool {
        if self.row.back().is_none_or(|(last, _)| *last < key) && self.out_of_order.is_empty() {
            self.row.push_back((key, Some(value)));
            return true;
        }
        self.insert_out_of_order(key, value)
    }

    fn insert_out_of_order(&mut self, key: K, value: V) -> bool {
        if let Some(at) = self.find(key) {
            let place = &mut self.row[at].1;
            let fresh = place.is_none();
            if fresh {
                *place = Some(value);
                self.gaps -= 1;
            }
            return fresh;
        }
        if self.out_of_order.contains_key(&key) {
            return false;
        }
        if self.row.back().is_none_or(|(last, _)| *last < key) {
            self.row.push_back((key, Some(value)));
        } else {
            self.out_of_order.insert(key, value);
        }
        true
    }

    /// Whether there is an entry with this key.
    pub fn contains(&self, key: K) -> bool {
        self.get(key).is_some()
    }

    /// The entry with this key.
    pub fn get(&self, key: K) -> Option<&V> {
        match self.find(key) {
            Some(at) => self.row[at].1.as_ref(),
            None if self.out_of_order.is_empty() => None,
            None => self.out_of_order.get(&key),
        }
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, key: K) -> Option<&mut V> {
        match self.find(key) {
            Some(at) => self.row[at].1.as_mut(),
            None if self.out_of_order.is_empty() => None,
            None => self.out_of_order.get_mut(&key),
        }
    }

    /// Takes an entry out.
    pub fn remove(&mut self, key: K) -> Option<V> {
        let Some(at) = self.find(key) else {
            return self.out_of_order.remove(&key);
        };
        self.remove_at(at)
    }

    /// Takes out what is there in the row.
    fn remove_at(&mut self, at: usize) -> Option<V> {
        if at == 0 {
            return self.pop_front();
        }
        let value = self.row[at].1.take()?;
        self.gaps += 1;
        self.close_gaps();
        Some(value)
    }

    /// Takes an entry out if it is there and `pick` holds for it.
    pub fn remove_if(&mut self, key: K, pick: impl FnOnce(&V) -> bool) -> Option<V> {
        let Some(at) = self.find(key) else {
            let picked = self.out_of_order.get(&key).is_some_and(pick);
            return if picked {
                self.out_of_order.remove(&key)
            } else {
                None
            };
        };
        if !self.row[at].1.as_ref().is_some_and(pick) {
            return None;
        }
        self.remove_at(at)
    }

    /// Takes out the first entry of the row: most leave in the order in which they came.
    fn pop_front(&mut self) -> Option<V> {
        let (_, value) = self.row.pop_front()?;
        if self.gaps > 0 {
            self.close_gaps();
        }
        value
    }

    /// Drops an entry where it is, after a last look at it: large ones need not be moved.
    pub fn retire<R>(&mut self, key: K, look: impl FnOnce(&V) -> R) -> Option<R> {
        let Some(at) = self.find(key) else {
            return self.out_of_order.remove(&key).as_ref().map(look);
        };
        let place = &mut self.row[at].1;
        let seen = look(place.as_ref()?);
        *place = None;
        self.gaps += 1;
        self.close_gaps();
        Some(seen)
    }

    /// Gives up what gaps there are at the ends, and all if they are many.
    fn close_gaps(&mut self) {
        while self.row.front().is_some_and(|(_, value)| value.is_none()) {
            self.row.pop_front();
            self.gaps -= 1;
        }
        while self.row.back().is_some_and(|(_, value)| value.is_none()) {
            self.row.pop_back();
            self.gaps -= 1;
        }
        if self.gaps > GAPS + self.row.len() / 2 {
            self.row.retain(|(_, value)| value.is_some());
            self.gaps = 0;
        }
    }

    /// The lowest key.
    pub fn first(&self) -> Option<K> {
        let row = self.row.front().map(|(key, _)| *key);
        let out_of_order = self.out_of_order.first_key_value().map(|(key, _)| *key);
        match (row, out_of_order) {
            (Some(row), Some(out_of_order)) => Some(row.min(out_of_order)),
            (row, out_of_order) => row.or(out_of_order),
        }
    }

    /// Takes out the entry with the lowest key.
    pub fn pop_first(&mut self) -> Option<(K, V)> {
        let row = self.row.front().map(|(key, _)| *key);
        if let Some(out_of_order) = self.out_of_order.first_entry()
            && row.is_none_or(|row| *out_of_order.key() < row)
        {
            return Some(out_of_order.remove_entry());
        }
        Some((row?, self.pop_front()?))
    }

    /// The lowest key above `key`.
    pub fn first_above(&self, key: K) -> Option<K> {
        let start = self.row.partition_point(|(other, _)| *other <= key);
        let mut row = self.row.range(start..);
        let row = row.find(|(_, value)| value.is_some()).map(|(key, _)| *key);
        let above = (core::ops::Bound::Excluded(key), core::ops::Bound::Unbounded);
        let out_of_order = self.out_of_order.range(above).next().map(|(key, _)| *key);
        match (row, out_of_order) {
            (Some(row), Some(out_of_order)) => Some(row.min(out_of_order)),
            (row, out_of_order) => row.or(out_of_order),
        }
    }

    /// The highest key.
    pub fn last(&self) -> Option<K> {
        let row = self.row.back().map(|(key, _)| *key);
        let out_of_order = self.out_of_order.last_key_value().map(|(key, _)| *key);
        row.max(out_of_order)
    }

    /// The highest key below `key`.
    pub fn last_below(&self, key: K) -> Option<K> {
        let end = self.row.partition_point(|(other, _)| *other < key);
        let mut row = self.row.range(..end).rev();
        let row = row.find(|(_, value)| value.is_some()).map(|(key, _)| *key);
        let out_of_order = self
            .out_of_order
            .range(..key)
            .next_back()
            .map(|(key, _)| *key);
        row.max(out_of_order)
    }

    /// Drops all entries.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// All values, in order of their keys.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// All keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = K> {
        self.iter().map(|(key, _)| key)
    }

    /// All values, in no useful order.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        let row = self.row.iter_mut().filter_map(|(_, value)| value.as_mut());
        row.chain(self.out_of_order.values_mut())
    }

    /// All entries, in order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (K, &V)> {
        let row = self.row.iter();
        let mut row = row
            .filter_map(|(key, value)| value.as_ref().map(|value| (*key, value)))
            .peekable();
        let mut out_of_order = self
            .out_of_order
            .iter()
            .map(|(key, value)| (*key, value))
            .peekable();
        core::iter::from_fn(move || match (row.peek(), out_of_order.peek()) {
            (Some((in_row, _)), Some((is_out_of_order, _))) if is_out_of_order < in_row => {
                out_of_order.next()
            }
            (Some(_), _) => row.next(),
            (None, _) => out_of_order.next(),
        })
    }

    /// Where in the row `key` is, or its gap. As a rule it is the first, or no key is missing
    /// between it and the last.
    #[inline]
    fn find(&self, key: K) -> Option<usize> {
        let (first, _) = self.row.front()?;
        if key == *first {
            return Some(0);
        }
        self.find_further(key)
    }

    fn find_further(&self, key: K) -> Option<usize> {
        let (last, _) = self.row.back()?;
        if key > *last {
            return None;
        }
        let back = last.after(key).and_then(|back| usize::try_from(back).ok());
        let guess = back.and_then(|back| (self.row.len() - 1).checked_sub(back));
        if let Some(at) = guess
            && self.row[at].0 == key
        {
            return Some(at);
        }
        self.row.binary_search_by(|(other, _)| other.cmp(&key)).ok()
    }

    /// Asserts that the row rises and the gaps are counted.
    ///
    /// # Panics
    /// If not.
    pub fn check_invariants(&self) {
        let gaps = self.row.iter().filter(|(_, value)| value.is_none());
        assert_eq!(gaps.count(), self.gaps);
        assert!(self.gaps <= GAPS + self.row.len() / 2);
        let rises = self.row.iter().zip(self.row.iter().skip(1));
        for ((key, _), (next, _)) in rises {
            assert!(key < next, "the row rises");
        }
        for end in [self.row.front(), self.row.back()].into_iter().flatten() {
            assert!(end.1.is_some(), "no gap at an end");
        }
        for key in self.out_of_order.keys() {
            assert_eq!(self.find(*key), None, "in one place");
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::rng::Rng;

    #[test]
    fn what_came_late_is_first_when_the_row_has_gone() {
        let mut map = SeqMap::default();
        for key in [10_u64, 5, 7] {
            assert!(map.insert(key, key));
        }
        assert_eq!(map.remove(10), Some(10));
        assert_eq!(map.pop_first(), Some((5, 5)));
        assert_eq!(map.pop_first(), Some((7, 7)));
        assert_eq!(map.pop_first(), None);
    }

    #[test]
    fn it_is_a_map_in_order() {
        let mut rng = Rng::from_seed(7);
        for spread in [1, 4, 64] {
            let (mut model, mut map) = (BTreeMap::new(), SeqMap::default());
            let mut next = 0_u64;
            for step in 0..20_000_u64 {
                let draw = rng.draw();
                let near = next.saturating_sub(draw >> 32 & 0x3ff);
                let key = if draw & 7 == 0 { near } else { next };
                match draw >> 3 & 3 {
                    0 | 1 if model.len() < 300 => {
                        let fresh = model.insert(key, step).is_none();
                        if !fresh {
                            map.remove(key);
                        }
                        assert!(map.insert(key, step));
                        assert!(!map.insert(key, 0));
                        next = next.max(key + 1 + (draw >> 44) % spread);
                    }
                    2 if draw & 32 == 0 => assert_eq!(map.remove(near), model.remove(&near)),
                    2 => assert_eq!(map.retire(near, |&value| value), model.remove(&near)),
                    _ => {
                        let first = model.first_key_value().map(|(key, _)| *key);
                        assert_eq!(map.first(), first);
                        if draw & 32 == 0 {
                            assert_eq!(map.pop_first(), model.pop_first());
                        } else if let Some(first) = first {
                            assert_eq!(map.remove(first), model.remove(&first));
                        }
                    }
                }
                assert_eq!(map.get(near), model.get(&near));
                assert_eq!(map.get_mut(key), model.get_mut(&key));
                let above = model.range(near + 1..).next().map(|(key, _)| *key);
                assert_eq!(map.first_above(near), above);
                let below = model.range(..near).next_back().map(|(key, _)| *key);
                assert_eq!(map.last_below(near), below);
                assert_eq!(map.last(), model.last_key_value().map(|(key, _)| *key));
                assert_eq!(map.len(), model.len());
                if step % 64 == 0 {
                    map.check_invariants();
                    let all: Vec<_> = map.iter().map(|(key, value)| (key, *value)).collect();
                    let expected: Vec<_> =
                        model.iter().map(|(&key, &value)| (key, value)).collect();
                    assert_eq!(all, expected);
                }
            }
        }
    }

    #[test]
    fn what_came_late_is_found_when_the_row_is_gone() {
        let mut map = SeqMap::default();
        for key in [10_u64, 9, 8] {
            assert!(map.insert(key, key));
        }
        assert_eq!(map.remove(10), Some(10));
        assert!(!map.insert(9, 0) && !map.insert(8, 0));
        assert!(map.insert(10, 10));
        assert_eq!(map.keys().collect::<Vec<_>>(), [8, 9, 10]);
        map.check_invariants();
        assert!(!map.is_empty());
        map.clear();
        assert!(map.is_empty() && map.first().is_none() && map.keys().next().is_none());
    }

    #[test]
    fn one_that_stays_does_not_keep_the_space_of_all_that_came_after() {
        let mut map = SeqMap::default();
        map.insert(0, ());
        for key in 1..100_000_u64 {
            map.insert(key, ());
            if key > 10 {
                map.remove(key - 10);
            }
            assert!(
                map.row.len() <= 2 * (map.len() + GAPS + 1),
                "{}",
                map.row.len()
            );
        }
        assert_eq!(map.first(), Some(0));
    }

    #[test]
    fn a_row_that_is_taken_from_its_start_does_not_keep_the_gaps_behind() {
        let mut map = SeqMap::default();
        for key in 0..400_u64 {
            map.insert(key, key);
        }
        for key in 250..399 {
            map.remove(key);
        }
        for key in 0..250 {
            assert_eq!(map.pop_first(), Some((key, key)));
            map.check_invariants();
        }
        assert_eq!(map.pop_first(), Some((399, 399)));
        assert!(map.pop_first().is_none());
    }
}
