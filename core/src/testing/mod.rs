//! Peers and surroundings that do anything at all: one generator, for the simulators, the fuzzer
//! and property tests. With the feature `testing` alone.

mod draw;
mod from_manager;
mod heard;
mod machines;
mod streams;
mod to_manager;

pub use draw::Draw;
pub use from_manager::{from_manager, welcome};
pub use heard::{Told, at_manager, at_peer, by_manager, by_peer};
pub use machines::{Driven, drive};
pub use to_manager::{hello, to_manager};

use crate::name::Name;

/// A millisecond, in nanoseconds.
const MS: u64 = 1_000_000;

fn named(text: &str) -> Name {
    Name::new(text).expect("short and printable")
}
