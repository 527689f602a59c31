//! The real manager among peers that mean harm. In each test one manager has a worker and a client who
//! keep to the rules, and a stranger who does not: the stranger is closed or bounded, with the reason in
//! the log, and the client gets every outcome. Each prints a line: what was done, the memory that the
//! manager had at most, and the client's outcomes a second while it was done, over those before.
//!
//! `cargo test -p argon-cli --test hostile -- --nocapture` shows the lines.

#![expect(clippy::unwrap_used, reason = "in a test, to panic is to fail")]

#[path = "../end_to_end/common.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod common;

mod children;
mod connections;
mod load;
mod names;
mod protocol;
mod raw;
mod resources;
mod stage;
mod strangers;
mod workers;
