//! The floor: what no system of client, manager and worker can go below on this machine.
//!
//! The same frames of 64 bytes, the same batching, the same number of processes, and as little
//! done with them as possible. A *relay* copies frames both ways. The *least manager* does what a
//! manager cannot avoid: three bounded queues, a record of each task until its result is there, a
//! window for each worker, refusal when full. Its worker echoes, or has one child behind it, or
//! children with so many tasks each.

mod client;
mod frames;
mod least;
mod relay;

pub(crate) use self::client::client;
pub(crate) use self::least::{children, manager};
pub(crate) use self::relay::{child, pool, relay, worker};
