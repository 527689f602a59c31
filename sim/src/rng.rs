//! Streams of chance, one for each part, so that taking one part away does not move the others.

use argon_core::rng::Rng;

/// A stream that depends on `seed` and on what `keys` name, and on nothing else.
#[must_use]
pub fn stream(seed: u64, keys: &[u64]) -> Rng {
    Rng::from_seed(mix(seed, keys))
}

/// One number for a seed and a list of keys (the finaliser of splitmix64, once a key).
#[must_use]
pub fn mix(seed: u64, keys: &[u64]) -> u64 {
    keys.iter().fold(seed, |state, key| {
        let mut z = state
            .wrapping_add(0x9e37_79b9_7f4a_7c15)
            .wrapping_add(key.wrapping_mul(0xd6e8_feb8_6659_fd93));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

/// Draws that the simulator needs often.
pub trait Draw {
    /// A number from `low` to `high`, both included.
    fn between(&mut self, low: u64, high: u64) -> u64;
    /// True in `percent` of a hundred cases.
    fn percent(&mut self, percent: u64) -> bool;
    /// One of `items`.
    fn pick<T: Copy>(&mut self, items: &[T]) -> T;
    /// A number from `low` to `high`, as likely to be in one power of two as in another.
    fn log_between(&mut self, low: u64, high: u64) -> u64;
}

impl Draw for Rng {
    fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.up_to(high.max(low) - low)
    }

    fn percent(&mut self, percent: u64) -> bool {
        self.up_to(99) < percent
    }

    fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.up_to(items.len() as u64 - 1) as usize]
    }

    fn log_between(&mut self, low: u64, high: u64) -> u64 {
        let low = low.max(1);
        let (first, last) = (low.ilog2(), high.max(low).ilog2());
        let power = self.between(u64::from(first), u64::from(last)) as u32;
        let floor = low.max(1 << power);
        let ceiling = high.max(low).min((1 << power) * 2 - 1);
        self.between(floor, ceiling)
    }
}
