//! Benchmarks of the whole: real processes over loopback, next to the floor and to gearmand.
//!
//! Each program in `benches/` calls [`bench()`] with what it measures. What it starts is the real
//! `argon`, built as it is shipped and by itself, and [`parts`] of this package: loads and workers on the
//! library, and the floor. They are built by themselves too, and not with the workspace, where the
//! simulations turn on parts of tokio that no user has.
//!
//! `docs/performance.md` says what is measured, and how.

mod argon_side;
mod clock;
mod floor;
mod gearman;
mod histogram;
mod parts;
mod process;
mod report;
mod runs;
mod settings;
mod systems;
mod task;

pub use parts::parts;
pub use runs::{Bench, bench};

/// Whatever went wrong, for people.
type Problem = Box<dyn std::error::Error + Send + Sync>;
