//! Argon spreads tasks over machines and stays responsive when too many arrive.
//!
//! - A [`Client`] submits tasks and gets exactly one outcome back for each.
//! - A [`ManagerServer`] queues them, within bounds, and routes them to workers.
//! - A [`WorkerServer`] runs them in an [`Executor`].
//! - A [`Standalone`] is a manager and a worker in one process.
//!
//! This crate is the part that does input and output: it reads frames, feeds the state machines
//! of [`core`], writes what they say and runs what they decide. It is generic over the
//! [`Transport`], so that real and simulated networks drive the same code, and over the
//! [`Executor`] of attempts.

mod client;
pub mod command;
mod connection;
mod driver;
mod error;
pub mod executor;
mod frames;
pub mod guard;
mod link;
mod manager;
mod observe;
mod proc;
pub mod runtime;
mod standalone;
mod text;
pub mod transport;
mod worker;

pub use argon_core as core;
pub use argon_core::ids::{Attempt, Epoch, PeerId, TaskId};
pub use argon_core::manager::ManagerConfig;
pub use argon_core::name::{Name, NameError};
pub use argon_core::offer::Offer;
pub use argon_core::payload::{Content, Payload};
pub use argon_core::status::{
    ClientStatus, KindStatus, ManagerStatus, RunningReport, RunningTask, StatusReport, WorkerStatus,
};
pub use argon_core::task::{
    AttemptLoss, AttemptRecord, Completion, ErrorKind, ExitCause, Failure, Outcome, Priority,
    RejectReason, TaskError, TaskSpec,
};
pub use argon_core::worker::WorkerConfig;
pub use client::{Client, ClientOptions, Ended, Submission};
pub use error::{RunError, StartError, StatusError, SubmitError};
pub use executor::Executor;
pub use link::LinkState;
pub use manager::{ManagerHandle, ManagerOptions, ManagerServer};
pub use observe::{status, status_on};
pub use standalone::{Standalone, StandaloneHandle, StandaloneOptions};
pub use transport::{MemoryTransport, TokioTransport, Transport};
pub use worker::{WorkerHandle, WorkerOptions, WorkerServer};
