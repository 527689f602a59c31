//! Payloads that lie one after the other in one buffer, and leave it one by one.

use alloc::vec::Vec;
use core::ops::Range;

use crate::payload::{Content, Payload};

/// What has left is dropped when less than one payload, or one byte, in so many is still wanted: so all is
/// never much larger than what is in it, and dropping costs less than what left.
const SPARSE: usize = 2;
/// Of so few payloads, or bytes, nothing is dropped.
const SMALL_PARTS: usize = 8;
const SMALL_BYTES: usize = 256;

/// The payloads of some tasks, by their places. When what has left is dropped, the places of the others
/// move up.
#[derive(Clone, Debug)]
pub(in crate::manager) struct Parts {
    bytes: Payload,
    /// Where each ends.
    ends: Vec<u32>,
    /// How many have not left, and their bytes.
    wanted: usize,
    wanted_bytes: usize,
}

impl Parts {
    /// Payloads that end at these places of `bytes`, which has nothing behind the last.
    pub(in crate::manager) fn new(content: Content, bytes: &[u8], ends: Vec<u32>) -> Self {
        debug_assert_eq!(ends.last().map_or(0, |end| *end as usize), bytes.len());
        Self {
            wanted: ends.len(),
            wanted_bytes: bytes.len(),
            bytes: Payload::copy_from_slice(content, bytes),
            ends,
        }
    }

    /// What kind of bytes all are.
    pub(in crate::manager) fn content(&self) -> Content {
        self.bytes.content()
    }

    fn range(&self, place: usize) -> Range<usize> {
        let start = place.checked_sub(1).map_or(0, |before| self.ends[before]);
        start as usize..self.ends[place] as usize
    }

    /// Bytes of the payload at this place.
    pub(in crate::manager) fn size(&self, place: usize) -> usize {
        self.range(place).len()
    }

    /// The bytes of the payload at this place, which has not left.
    pub(in crate::manager) fn get(&self, place: usize) -> &[u8] {
        self.bytes.get(self.range(place)).unwrap_or_default()
    }

    /// All in their order, of which none has left.
    pub(in crate::manager) fn all(&self) -> &[u8] {
        debug_assert_eq!(self.wanted, self.ends.len());
        &self.bytes
    }

    /// The payload at this place is wanted no longer.
    pub(in crate::manager) fn leave(&mut self, place: usize) {
        self.wanted -= 1;
        self.wanted_bytes -= self.size(place);
    }

    /// Whether most of it is of payloads that have left.
    pub(in crate::manager) fn is_sparse(&self) -> bool {
        let (parts, bytes) = (self.ends.len(), self.bytes.len());
        parts > SMALL_PARTS && self.wanted * SPARSE < parts
            || bytes > SMALL_BYTES && self.wanted_bytes * SPARSE < bytes
    }

    /// Drops those that have left: those at whose places `is_wanted` is false.
    pub(in crate::manager) fn pack(&mut self, is_wanted: impl Fn(usize) -> bool) {
        let wanted = (0..self.ends.len()).filter(|place| is_wanted(*place));
        let mut bytes = Vec::with_capacity(self.wanted_bytes);
        let mut ends = Vec::with_capacity(self.wanted);
        for place in wanted {
            bytes.extend_from_slice(self.get(place));
            ends.push(bytes.len() as u32);
        }
        *self = Self::new(self.content(), &bytes, ends);
    }

    /// Asserts that what is wanted is counted, and the buffer not much larger.
    pub(in crate::manager) fn check_invariants(&self, is_wanted: impl Fn(usize) -> bool) {
        let wanted = || (0..self.ends.len()).filter(|place| is_wanted(*place));
        let bytes = wanted().map(|place| self.size(place)).sum::<usize>();
        assert_eq!((wanted().count(), bytes), (self.wanted, self.wanted_bytes));
        assert!(!self.is_sparse(), "what has left is dropped");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec;

    proptest! {
        /// What has not left is what it was, and what has left takes little room.
        #[test]
        fn what_has_not_left_stays_as_it_was(
            sizes in prop::collection::vec(0_usize..200, 1..40),
            leaving in prop::collection::vec(0_usize..40, 0..60),
        ) {
            let payloads: Vec<Vec<u8>> = sizes.iter().enumerate()
                .map(|(number, size)| vec![number as u8; *size]).collect();
            let ends = sizes.iter().scan(0, |end, size| { *end += *size as u32; Some(*end) });
            let mut parts = Parts::new(Content::JSON, &payloads.concat(), ends.collect());
            // Which payload is at each place, and whether it has left.
            let mut places: Vec<(usize, bool)> = (0..sizes.len()).map(|number| (number, true)).collect();
            for number in leaving {
                let Some(place) = places.iter().position(|at| *at == (number, true)) else {
                    continue;
                };
                places[place].1 = false;
                parts.leave(place);
                if parts.is_sparse() {
                    parts.pack(|place| places[place].1);
                    places.retain(|(_, is_wanted)| *is_wanted);
                }
                parts.check_invariants(|place| places[place].1);
                for (place, (number, is_wanted)) in places.iter().enumerate() {
                    prop_assert!(!is_wanted || parts.get(place) == payloads[*number]);
                }
            }
            prop_assert_eq!(parts.content(), Content::JSON);
        }
    }
}
