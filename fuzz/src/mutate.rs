//! New inputs from old ones: the same from the same seed.

use argon_core::rng::Rng;

use crate::Target;

/// Most changes between an input and the one that it comes from.
const CHANGES_MAX: u64 = 6;
/// Most bytes that are put in or taken out at once.
const STRETCH_MAX: u64 = 64;
/// Of so many inputs one is not made from another.
const NEW_ONE_IN: u64 = 16;

/// Numbers at which programs go wrong.
const NUMBERS: [u64; 12] = [
    0,
    1,
    0x7f,
    0xff,
    0x100,
    0x7fff,
    0xffff,
    0x1_0000,
    0x4_0000,
    0x7fff_ffff,
    0xffff_ffff,
    u64::MAX,
];

/// Makes inputs for one target.
pub struct Mutator<'a> {
    target: &'a Target,
    /// What they are made from.
    old: &'a [Vec<u8>],
    rng: Rng,
}

impl<'a> Mutator<'a> {
    /// From `old` inputs; the same ones for the same seed.
    #[must_use]
    pub fn new(target: &'a Target, old: &'a [Vec<u8>], seed: u64) -> Self {
        Self {
            target,
            old,
            rng: Rng::from_seed(seed),
        }
    }

    /// Puts the next one into `input`.
    pub fn next(&mut self, input: &mut Vec<u8>) {
        input.clear();
        if self.old.is_empty() || self.rng.one_in(NEW_ONE_IN) {
            let length = self.below(1 + self.target.longest);
            self.any(length, input);
        } else {
            let old = &self.old[self.below(self.old.len())];
            input.extend_from_slice(old);
        }
        for _ in 0..=self.rng.up_to(CHANGES_MAX - 1) {
            self.change(input);
        }
        input.truncate(self.target.longest);
    }

    /// A number below `n`, which is not 0.
    fn below(&mut self, n: usize) -> usize {
        self.rng.up_to(n as u64 - 1) as usize
    }

    fn any(&mut self, length: usize, out: &mut Vec<u8>) {
        out.extend((0..length).map(|_| self.rng.draw() as u8));
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let at = self.below(input.len() + 1);
        let stretch = 1 + self.rng.up_to(STRETCH_MAX - 1) as usize;
        let stretch = stretch.min(input.len() - at);
        match self.rng.up_to(9) {
            0 | 1 if at < input.len() => input[at] ^= 1 << self.rng.up_to(7),
            2 if at < input.len() => input[at] = self.rng.draw() as u8,
            3 => {
                let number = NUMBERS[self.below(NUMBERS.len())].to_le_bytes();
                let width = [1, 2, 4, 8][self.below(4)].min(input.len() - at);
                input[at..at + width].copy_from_slice(&number[..width]);
            }
            4 => {
                let mut new = Vec::new();
                let length = 1 + self.below(8);
                self.any(length, &mut new);
                input.splice(at..at, new);
            }
            5 => {
                input.drain(at..at + stretch);
            }
            6 => {
                let again = input[at..at + stretch].to_vec();
                let to = self.below(input.len() + 1);
                input.splice(to..to, again);
            }
            7 if !self.target.words.is_empty() => {
                let word = self.target.words[self.below(self.target.words.len())];
                let replaced = if self.rng.one_in(2) {
                    word.len().min(input.len() - at)
                } else {
                    0
                };
                input.splice(at..at + replaced, word.iter().copied());
            }
            8 if !self.old.is_empty() => {
                let other = &self.old[self.below(self.old.len())];
                let from = self.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            9 => input.truncate(at),
            _ => {
                if let Some(byte) = input.get_mut(at) {
                    *byte = byte.wrapping_add(1);
                }
            }
        }
    }
}
