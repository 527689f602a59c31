//! A peer's connection to its manager.

mod bench;
mod dialling;
mod heartbeats;
