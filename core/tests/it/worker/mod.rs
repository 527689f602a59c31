//! The worker, by subject.

mod answers;
mod attempts;
mod bench;
mod bounds;
mod pool;
mod random;
mod sessions;
