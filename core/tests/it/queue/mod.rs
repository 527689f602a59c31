//! The queue and what it knows of durations.

mod classes;
mod durations;
mod laws;
mod random;
mod turns;
