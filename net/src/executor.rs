//! How attempts really run.
//!
//! Decisions are core's: who runs what, when a pool process is replaced, what is killed and when.
//! An executor only carries them out and says what happened.
#![warn(clippy::wildcard_enum_match_arm)]

mod process;
mod thread;

use std::path::Path;
use std::task::{Context, Poll};

use argon_core::ids::PeerId;
use argon_core::worker::{PoolInput, PoolOutput};

pub use self::process::{
    Launcher, ProcessExecutor, ProcessOptions, TASK_OUTPUT, TASK_OUTPUT_DEFAULT,
};
#[cfg(feature = "testing")]
#[doc(hidden)]
pub use self::process::{PoolBroke, PoolEars, PoolHeard};
pub use self::thread::{Handler, ThreadExecutor};

/// Carries out what a worker's state machine decides about its pool.
pub trait Executor: Send + 'static {
    /// Told once, before all else: the worker that this is the pool of.
    fn belong_to(&mut self, _worker: PeerId) {}

    /// What its processes run, if they run a program: for people to read.
    fn program(&self) -> Option<&Path> {
        None
    }

    /// Takes an action. Never blocks: what is to be written is written in a batch at `poll`.
    fn execute(&mut self, action: PoolOutput);

    /// Carries on (starts, writes, reads, reaps) and appends what happened to `events`. Ready
    /// when at least one event was appended; otherwise the waker is registered. To be called
    /// after every batch of `execute`.
    fn poll(&mut self, cx: &mut Context<'_>, events: &mut Vec<PoolInput>) -> Poll<()>;
}
