//! The one source of chance: a named, seeded generator handed in at construction.

use core::fmt;
use core::time::Duration;

use rand::RngExt as _;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use crate::time::saturating_nanos;

/// A generator whose algorithm is fixed by name, so that a seed means the same in every release.
#[derive(Clone)]
pub struct Rng(ChaCha8Rng);

/// How far it has drawn: of two generators from one seed, those that will draw the same look the
/// same, and no others.
impl fmt::Debug for Rng {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rng({})", self.0.get_word_pos())
    }
}

impl Rng {
    /// A generator that depends on nothing but `seed`.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// A generator of its own for one part, so that an extra draw there moves no other part.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self::from_seed(self.draw())
    }

    /// Any 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.0.random()
    }

    /// A number from 0 to `max`, both included.
    pub fn up_to(&mut self, max: u64) -> u64 {
        self.0.random_range(0..=max)
    }

    /// A span from zero to `max`: full jitter.
    pub fn jitter(&mut self, max: Duration) -> Duration {
        Duration::from_nanos(self.up_to(saturating_nanos(max)))
    }

    /// True once in `n` draws on average; never for 0.
    pub fn one_in(&mut self, n: u64) -> bool {
        n != 0 && self.up_to(n - 1) == 0
    }
}
