//! Choices, from a seed or from bytes.

use crate::rng::Rng;

/// A source of choices.
pub trait Draw {
    /// Any number.
    fn draw(&mut self) -> u64;
    /// A number from 0 to `max`, both included.
    fn up_to(&mut self, max: u64) -> u64;

    /// A number from `low` to `high`, both included.
    fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.up_to(high.max(low) - low)
    }

    /// True in `percent` of a hundred cases.
    fn percent(&mut self, percent: u64) -> bool {
        self.up_to(99) < percent
    }

    /// One of `items`.
    ///
    /// # Panics
    /// If there are none.
    fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.up_to(items.len() as u64 - 1) as usize]
    }

    /// A number from `low` to `high`, as likely to be in one power of two as in another.
    fn log_between(&mut self, low: u64, high: u64) -> u64 {
        let low = low.max(1);
        let (first, last) = (low.ilog2(), high.max(low).ilog2());
        let power = self.between(u64::from(first), u64::from(last)) as u32;
        let floor = low.max(1 << power);
        let ceiling = high.max(low).min((1 << power) * 2 - 1);
        self.between(floor, ceiling)
    }
}

impl Draw for Rng {
    fn draw(&mut self) -> u64 {
        Rng::draw(self)
    }

    fn up_to(&mut self, max: u64) -> u64 {
        Rng::up_to(self, max)
    }
}

/// Bytes as a source of choices, a byte for a small one; zeros when they are used up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choices<'a>(pub(super) &'a [u8]);

impl Choices<'_> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        first
    }
}

impl Draw for Choices<'_> {
    fn draw(&mut self) -> u64 {
        u64::from_le_bytes([(); 8].map(|()| self.byte()))
    }

    fn up_to(&mut self, max: u64) -> u64 {
        match u8::try_from(max) {
            Ok(u8::MAX) => u64::from(self.byte()),
            Ok(max) => u64::from(self.byte() % (max + 1)),
            Err(_) => match max.checked_add(1) {
                Some(count) => self.draw() % count,
                None => self.draw(),
            },
        }
    }
}
