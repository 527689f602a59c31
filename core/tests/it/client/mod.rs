//! The client, by subject.

pub(crate) mod bench;
mod bounds;
mod false_answers;
mod overload;
mod random;
mod retries;
mod rules;
mod runs;
