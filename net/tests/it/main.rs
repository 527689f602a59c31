//! The library as its users have it, by subject: one program, so that the tests are linked once.

mod clusters;
mod end_to_end;
mod functions;
mod pools;
mod process_commands;
mod process_death;
mod process_pool;
mod thread_pool;
mod writes;
