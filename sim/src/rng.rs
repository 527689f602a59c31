//! Streams of chance, one for each part, so that taking one part away does not move the others.

use argon_core::rng::Rng;
pub use argon_core::testing::Draw;

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
