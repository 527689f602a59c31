//! The `argon` command.
mod map;
mod units;
fn main() {}
