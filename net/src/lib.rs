//! The library that people depend on.

pub mod command;
pub mod executor;
mod frames;
pub mod guard;
mod proc;
pub mod runtime;
mod text;
