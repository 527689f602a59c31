//! The worker, by subject.

mod answers;
mod attempts;
pub(crate) mod bench;
mod bounds;
mod pool;
mod random;
mod runs;
mod sessions;
mod streams;
