//! Argon spreads tasks over machines and stays responsive when too many arrive.
//!
//! A *task* is a function; a *client* calls it; a *manager* holds a bounded queue of calls; a
//! *worker* runs them in a pool of processes. Any part may be killed and restarted at any time.
//!
//! # Quick start
//!
//! One program that is both: started by a worker it runs tasks, started by you it calls them.
//!
//! ```no_run
//! #[argon::task]
//! async fn square(x: i64) -> Result<i64, String> {
//!     x.checked_mul(x).ok_or_else(|| format!("{x} is too large"))
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), argon::Error> {
//!     argon::serve_if_pool();
//!     let client = argon::Client::connect("127.0.0.1:8000").await?;
//!     println!("{}", client.process(square(7)).await?);
//!     let squares = client.map((0..1_000).map(square)).try_collect().await?;
//!     println!("{}", squares.iter().sum::<i64>());
//!     Ok(())
//! }
//! ```
//!
//! ```text
//! argon manager --port 8000
//! argon worker --manager 127.0.0.1:8000 -- ./this-program
//! ./this-program
//! ```
//!
//! Without manager and worker, [`local()`] runs everything in this process, for tests and small
//! programs. Between machines, connections are TLS and both sides show a key: see
//! [`ClientBuilder::key`] and [`Keys`].
//!
//! # What is where
//!
//! - [`task`]: makes a function a task. [`serve`] and [`serve_if_pool`] run a program's tasks.
//! - [`Client`]: [`process`](Client::process) one call, [`defer`](Client::defer) it, or
//!   [`map`](Client::map) many. [`blocking`] is the same without async, [`simple`] the same with
//!   one client for the whole program.
//! - [`Call`]: what is called, and how: priority, deadline, limits. [`call()`] is for tasks of
//!   other programs and languages.
//! - [`Error`]: why there is no result, and whether the task may have run.
//!
//! # Underneath
//!
//! - [`Client::submit`] takes any [`TaskSpec`] and gives its [`Outcome`].
//! - A [`ManagerServer`] queues tasks, within bounds, and routes them to workers; a
//!   [`WorkerServer`] runs them in an [`Executor`]; a [`Standalone`] is both in one process.
//! - This crate is the part that does input and output: it reads frames, feeds the state machines
//!   of [`core`], writes what they say and runs what they decide. It is generic over the
//!   [`Transport`], so that real and simulated networks drive the same code.

#![deny(missing_docs)]

// What the attribute makes says `::argon`, here too.
extern crate self as argon;

pub mod blocking;
mod call;
mod client;
pub mod command;
mod connection;
mod driver;
mod error;
pub mod executor;
mod frames;
pub mod guard;
mod keys;
mod link;
mod local;
mod manager;
mod observe;
mod pool_frames;
mod proc;
mod ready;
pub mod runtime;
mod secure;
pub mod simple;
mod standalone;
mod tasks;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod testing;
mod text;
pub mod transport;
mod values;
mod who;
mod worker;
mod yielding;

// What a program that submits tasks says and hears.
pub use argon_core::ids::{Attempt, Epoch, PeerId, TaskId};
pub use argon_core::name::{Name, NameError};
pub use argon_core::payload::{Content, Payload};
pub use argon_core::task::{
    AttemptLoss, AttemptRecord, Completion, ErrorKind, ExitCause, Failure, LastAttempt, Outcome,
    Priority, RejectReason, TaskError, TaskSpec,
};
// What one that runs a manager or a worker sets, and what its pool can run.
pub use argon_core::access::{Access, KeyRole};
pub use argon_core::capabilities::Capabilities;
pub use argon_core::manager::ManagerConfig;
pub use argon_core::worker::WorkerConfig;
// What one that asks a manager is told.
pub use argon_core::status::{
    ClientStatus, GroupStatus, ManagerStatus, RunningReport, RunningTask, StatusReport,
    WorkerStatus,
};

/// Makes a function a task: something that can run in another process, on another machine.
///
/// It becomes
///
/// - a function of the same name and arguments that makes a typed [`Call`] of it, to be handed to
///   a [`Client`];
/// - a type of the same name whose function `local` is the function itself: `add::local(2, 3)`;
/// - an entry in the list that [`serve`], [`serve_if_pool`], [`local()`] and [`Tasks::all`] take.
///
/// ```standalone_crate
/// use std::num::TryFromIntError;
///
/// #[argon::task]
/// fn shorten(number: i64) -> Result<i8, TryFromIntError> {
///     i8::try_from(number)
/// }
///
/// #[argon::task(name = "text:join", codec = "bincode")]
/// async fn join(parts: &[String], between: &str) -> String {
///     parts.join(between)
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), argon::Error> {
/// let local = argon::local().await?;
/// let client = local.client();
/// assert_eq!(client.process(shorten(7)).await?, 7);
/// assert_eq!(shorten::local(8), Ok(8));
/// let parts = ["a".to_owned(), "b".to_owned()];
/// assert_eq!(client.process(join(&parts, "-")).await?, "a-b");
///
/// let error = client.process(shorten(1_000)).await.unwrap_err();
/// assert!(error.failed().unwrap().message.contains("out of range"));
/// # Ok(())
/// # }
/// ```
///
/// # The function
///
/// It may be `async` or not, take up to 16 arguments by value or by `&`, and return a value,
/// nothing, or a `Result`. Arguments and values are anything with serde's `Serialize` and
/// `Deserialize`; an only argument, and a result, that is `Vec<u8>` or `Bytes` travels as it is.
/// The error of a `Result` (spelled so, or ending in `::Result`) is anything that `?` turns into
/// a `Box<dyn Error + Send + Sync>`: the caller sees its type, its text and those of its causes as
/// [`Error::Failed`]. A [`TaskFailure`](runtime::TaskFailure) decides all of that itself. A panic
/// is a failure too, with its message and place.
///
/// # Settings
///
/// - `name = "..."`: what the task is called on the wire; the function's name if nothing is said.
///   All programs of a cluster share these names.
/// - `codec = "json"` or `"bincode"`: how calls that this program makes write their arguments.
///   JSON, the default, is for all languages; bincode is smaller and faster between Rust programs
///   of the same types. The task itself reads both, and answers as it was asked.
pub use argon_macros::task;
pub use call::{Arguments, Call, call};
pub use client::{
    Addresses, Calls, Client, ClientBuilder, ClientOptions, Deferred, Ended, Map, Submission,
};
pub use error::{Error, Failed, RunError, StartError, StatusError, SubmitError};
pub use executor::Executor;
pub use keys::{KeyError, KeyFacts, KeyProblem, Keys, make_key, make_lesser_key};
pub use link::LinkState;
pub use local::{Local, local};
pub use manager::{ManagerHandle, ManagerOptions, ManagerServer};
pub use observe::{status, status_on};
pub use standalone::{Standalone, StandaloneHandle, StandaloneOptions};
#[doc(hidden)]
pub use tasks::support as __private;
pub use tasks::{Definition, Task, Tasks, is_pool, serve, serve_if_pool};
pub use transport::{MemoryTransport, TokioTransport, Transport};
pub use values::Codec;
pub use who::process_name;
pub use worker::{WorkerHandle, WorkerOptions, WorkerServer};
pub use yielding::yield_before_sleep;
