//! A set of sequence numbers: they come in rising and leave in about that order.
//!
//! Owns: ranges of numbers that are in it, the lowest apart, since most are taken from there. Never:
//! needs more space than a range for each row of numbers. Invariants: the ranges rise, none is empty,
//! and none follows the one before without a gap. For numbers that behave, every call costs the same
//! however many there are; else as the logarithm of how many ranges there are.

use alloc::collections::BTreeMap;
use core::ops::Bound;

/// From the first number to before the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Row {
    start: u64,
    end: u64,
}

/// The set.
#[derive(Clone, Debug, Default)]
pub(crate) struct SeqSet {
    /// The lowest; the others are by their starts.
    lowest: Option<Row>,
    others: BTreeMap<u64, u64>,
    len: usize,
}

impl SeqSet {
    /// How many numbers are in it.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The lowest number.
    #[inline]
    pub(crate) fn first(&self) -> Option<u64> {
        self.lowest.map(|row| row.start)
    }

    /// The lowest number above `seq`.
    pub(crate) fn first_above(&self, seq: u64) -> Option<u64> {
        let next = seq.checked_add(1)?;
        if self.contains(next) {
            return Some(next);
        }
        let lowest = self.first().filter(|&start| start > next);
        let above = (Bound::Excluded(next), Bound::Unbounded);
        lowest.or_else(|| self.others.range(above).next().map(|(&start, _)| start))
    }

    /// Whether it is there.
    pub(crate) fn contains(&self, seq: u64) -> bool {
        self.lowest
            .is_some_and(|row| row.start <= seq && seq < row.end)
            || self.other(seq).is_some()
    }

    /// The range with this number, unless it is the lowest.
    fn other(&self, seq: u64) -> Option<Row> {
        let (&start, &end) = self.others.range(..=seq).next_back()?;
        (seq < end).then_some(Row { start, end })
    }

    /// Adds a number; false, and nothing happens, if it is there.
    #[inline]
    pub(crate) fn insert(&mut self, seq: u64) -> bool {
        if self.others.is_empty()
            && let Some(row) = &mut self.lowest
            && row.end == seq
        {
            row.end += 1;
            self.len += 1;
            return true;
        }
        self.insert_anywhere(seq)
    }

    fn insert_anywhere(&mut self, seq: u64) -> bool {
        if self.contains(seq) {
            return false;
        }
        self.len += 1;
        // What follows it becomes one with it, and it with what it follows.
        let end = match self.lowest {
            Some(row) if row.start == seq + 1 => row.end,
            Some(row) if row.start > seq => {
                self.others.insert(row.start, row.end);
                seq + 1
            }
            _ => self.others.remove(&(seq + 1)).unwrap_or(seq + 1),
        };
        match &mut self.lowest {
            Some(row) if row.start < seq => {
                if row.end == seq {
                    row.end = end;
                } else if let Some((_, before)) = self.others.range_mut(..seq).next_back()
                    && *before == seq
                {
                    *before = end;
                } else {
                    self.others.insert(seq, end);
                }
            }
            lowest => *lowest = Some(Row { start: seq, end }),
        }
        true
    }

    /// Takes a number out; whether it was there.
    #[inline]
    pub(crate) fn remove(&mut self, seq: u64) -> bool {
        if let Some(row) = &mut self.lowest
            && row.start == seq
            && seq + 1 < row.end
        {
            row.start += 1;
            self.len -= 1;
            return true;
        }
        self.remove_anywhere(seq)
    }

    fn remove_anywhere(&mut self, seq: u64) -> bool {
        let Some(row) = self.lowest else {
            return false;
        };
        if seq < row.start {
            return false;
        }
        let row = if seq < row.end {
            self.lowest = (row.start < seq).then_some(Row {
                start: row.start,
                end: seq,
            });
            row
        } else {
            let Some(row) = self.other(seq) else {
                return false;
            };
            if row.start < seq {
                self.others.insert(row.start, seq);
            } else {
                self.others.remove(&seq);
            }
            row
        };
        if seq + 1 < row.end {
            self.others.insert(seq + 1, row.end);
        }
        if self.lowest.is_none() {
            let next = self.others.pop_first();
            self.lowest = next.map(|(start, end)| Row { start, end });
        }
        self.len -= 1;
        true
    }

    /// Asserts that the ranges rise with gaps between them, and that their numbers are counted.
    ///
    /// # Panics
    /// If not.
    pub(crate) fn check_invariants(&self) {
        assert!(self.lowest.is_some() || self.others.is_empty());
        let (mut len, mut reached) = (0, None);
        let others = self.others.iter();
        let others = others.map(|(&start, &end)| Row { start, end });
        for row in self.lowest.into_iter().chain(others) {
            assert!(row.start < row.end, "no range is empty");
            assert!(reached.is_none_or(|end| end < row.start), "gaps between");
            reached = Some(row.end);
            len += row.end - row.start;
        }
        assert_eq!(len, self.len as u64);
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use super::*;
    use crate::rng::Rng;

    #[test]
    fn it_is_a_set_in_order() {
        let mut rng = Rng::from_seed(11);
        // Within few numbers, ranges meet and part all the time; among many they stay apart.
        for among in [4, 12, 64, 1_000] {
            let (mut model, mut set) = (BTreeSet::new(), SeqSet::default());
            for _ in 0..20_000 {
                let draw = rng.draw();
                let seq = draw % among;
                match draw >> 32 & 3 {
                    0 | 1 => assert_eq!(set.insert(seq), model.insert(seq)),
                    2 => assert_eq!(set.remove(seq), model.remove(&seq)),
                    _ => {
                        if let Some(first) = set.first() {
                            assert!(set.remove(first) && model.remove(&first));
                        }
                    }
                }
                set.check_invariants();
                assert_eq!(set.first(), model.first().copied());
                assert_eq!(set.contains(seq), model.contains(&seq));
                let above = model.range(seq + 1..).next().copied();
                assert_eq!(set.first_above(seq), above);
                assert_eq!(set.len(), model.len());
            }
        }
    }

    #[test]
    fn a_row_of_numbers_is_one_range_however_it_came() {
        let mut set = SeqSet::default();
        for seq in [5, 7, 6, 3, 4, 9, 8] {
            assert!(set.insert(seq));
        }
        assert_eq!(set.lowest, Some(Row { start: 3, end: 10 }));
        assert!(set.others.is_empty());
    }
}
