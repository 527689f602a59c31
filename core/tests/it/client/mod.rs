//! The client, by subject.

mod bench;
mod bounds;
mod false_answers;
mod overload;
mod random;
mod retries;
mod rules;
