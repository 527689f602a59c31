//! The simulations, by subject: one program, so that the tests are linked once.

mod behaviour;
mod clocks;
mod diff;
mod encoding;
mod explore;
mod picture;
mod promises;
mod quantities;
mod study;
mod swarm;
mod turmoil;
mod waits;
