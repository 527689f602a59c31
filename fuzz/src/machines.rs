//! Arbitrary steps into each machine, see [`argon_core::testing`].

use argon_core::rng::Rng;
use argon_core::testing::{Driven, drive};

pub(crate) fn manager(input: &[u8]) {
    drive(Driven::Manager, input);
}

pub(crate) fn worker(input: &[u8]) {
    drive(Driven::Worker, input);
}

pub(crate) fn client(input: &[u8]) {
    drive(Driven::Client, input);
}

/// Any bytes are steps.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut rng = Rng::from_seed(1);
    let seed = |length| (0..length).map(|_| rng.draw() as u8).collect();
    [50, 200, 800, 2_000].map(seed).into()
}
