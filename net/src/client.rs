//! A client, for those who submit tasks.

mod builder;
mod completions;
mod deferred;
mod endpoint;
mod map;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use argon_core::access::KeyRole;
use argon_core::client::{self, ClientConfig};
use argon_core::ids::{PeerId, PoolProcess, TaskId};
use argon_core::limits;
use argon_core::name::Name;
use argon_core::payload::Payload;
use argon_core::rng::Rng;
use argon_core::task::{Outcome, TaskSpec};
use argon_core::time::Instant;

pub use self::builder::{Addresses, ClientBuilder};
use self::completions::CompletionTable;
pub use self::deferred::Deferred;
use self::endpoint::{ClientEndpoint, ClientMachine, Shared};
pub use self::map::{Calls, Map};
use crate::driver::clock::{Clock, entropy};
use crate::driver::peer::PeerDriver;
use crate::driver::uplink::Uplink;
use crate::error::{StartError, SubmitError};
use crate::keys::Keys;
use crate::link::LinkState;
use crate::manager::require;
use crate::transport::{TokioTransport, Transport};
use crate::who::{pool_process, process_name};

/// Output that may wait for the manager beyond the tasks that the client holds.
const OUTPUT_SLACK: usize = 64 * 1024 * 1024;

/// How a client is to be.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// `host:port` of each manager; the first that answers is used.
    pub managers: Vec<String>,
    /// To show to them, and to know them by.
    pub keys: Option<Keys>,
    /// For people to read; `None`: [`process_name`](crate::process_name).
    pub name: Option<Name>,
    /// How often a rejected task is submitted again before it ends as `Rejected`; `None`: for
    /// ever.
    pub retries: Option<u32>,
    /// Most tasks held, and outcomes that nobody has taken.
    pub tasks: usize,
    /// Most bytes of their payloads; one task is always let in.
    pub bytes: u64,
    /// Largest payload that is sent, in bytes; the manager's own limit counts too.
    pub payload_max: usize,
    /// The process of a worker's pool that the client runs in; `None`: what the worker has put into
    /// the environment, if there is one. Its tasks end with that process.
    pub within: Option<PoolProcess>,
}

impl ClientOptions {
    /// The defaults.
    #[must_use]
    pub fn new(managers: Vec<String>) -> Self {
        Self {
            managers,
            keys: None,
            name: None,
            retries: Some(limits::RETRIES_DEFAULT),
            tasks: limits::CLIENT_HELD_DEFAULT,
            bytes: limits::QUEUE_BYTES_DEFAULT,
            payload_max: limits::PAYLOAD_MAX_DEFAULT,
            within: None,
        }
    }
}

/// Sends tasks to a manager. Clones are handles of the same client.
///
/// [`connect`](Self::connect) makes one; then there are two levels. Calls are typed:
/// [`process`](Self::process), [`defer`](Self::defer) and [`map`](Self::map) take a
/// [`Call`](crate::Call) and give its result or an [`Error`](crate::Error). Below them,
/// [`submit`](Self::submit) takes a [`TaskSpec`] with any payload and gives its [`Outcome`].
///
/// If the connection breaks, the client connects again, to any of its managers, and resumes: those
/// who wait for results notice only the delay. When the last handle is dropped, the client leaves
/// as soon as its tasks have ended.
///
/// To a manager that has a key, give one that comes from it: [`ClientBuilder::key`], or the
/// environment's `ARGON_KEY`.
#[derive(Clone, Debug)]
pub struct Client {
    handle: Arc<Handle<client::Client>>,
    seen: Arc<Seen>,
}

/// The latest change of the link that this handle was told of.
#[derive(Debug, Default)]
struct Seen(AtomicU64);

impl Client {
    /// Starts a client on the current tokio runtime. Does not wait for a manager.
    ///
    /// # Errors
    /// If there is no runtime, or the options make no sense.
    pub fn start(mut options: ClientOptions) -> Result<Self, StartError> {
        options.name.get_or_insert_with(|| process_name(None));
        options.within = options.within.or_else(pool_process);
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(StartError::NoRuntime);
        }
        require(options.keys.as_ref(), KeyRole::Submit)?;
        Self::start_on(TokioTransport::default(), options, entropy()?)
    }

    /// Starts a client on any transport; all its choices, and its identity, follow from `seed`.
    ///
    /// # Errors
    /// If the options make no sense.
    pub fn start_on<T: Transport>(
        transport: T,
        options: ClientOptions,
        seed: u64,
    ) -> Result<Self, StartError> {
        if options.managers.is_empty() {
            return Err(StartError::NoManager);
        }
        let mut rng = Rng::from_seed(seed);
        let peer = PeerId(rng.draw());
        let name = options.name.clone().unwrap_or_else(|| default_name(peer));
        let config = ClientConfig {
            addresses: options.managers.len(),
            tasks: options.tasks,
            bytes: options.bytes,
            retries: options.retries,
            payload_max: options.payload_max,
            within: options.within,
            ..ClientConfig::new(peer, name)
        };
        let clock = Clock::start();
        let machine = client::Client::new(config, rng, Instant::ZERO);
        Ok(Self {
            handle: start_machine(transport, options, clock, machine),
            seen: Arc::default(),
        })
    }

    /// Takes a task in, as soon as there is room.
    ///
    /// Room is taken by a task until its outcome is taken from its [`Submission`] or that is
    /// dropped. So do not hold more submissions than `ClientOptions::tasks` without awaiting any.
    ///
    /// # Errors
    /// If the task can never be sent, or the client is closed.
    pub async fn submit(&self, spec: TaskSpec) -> Result<Submission, SubmitError> {
        self.handle.shared.submit(spec).await
    }

    /// How the connection to the manager is doing.
    #[must_use]
    pub fn link(&self) -> LinkState {
        let (link, version) = self.handle.shared.completions.link();
        self.seen.0.store(version, Ordering::Relaxed);
        link
    }

    /// Whether a manager has let the client in, now or before: tasks may have been sent, and may run.
    #[must_use]
    pub fn was_let_in(&self) -> bool {
        self.handle.shared.completions.was_let_in()
    }

    /// Waits until [`link`](Self::link) has something new to say to this handle's clones.
    pub async fn link_changed(&self) {
        let seen = self.seen.0.load(Ordering::Relaxed);
        self.handle.shared.completions.link_after(seen).await;
    }

    /// Begins to leave.
    pub(crate) fn stop(&self) {
        self.handle.shared.completions.stop();
    }

    /// Leaves: what has no outcome yet ends as cancelled, here and at the manager.
    pub async fn close(self) {
        self.stop();
        self.handle.shared.completions.ended().await;
    }
}

/// Drives `machine` in a task of its own.
fn start_machine<T: Transport, M: ClientMachine>(
    transport: T,
    options: ClientOptions,
    clock: Clock,
    machine: M,
) -> Arc<Handle<M>> {
    let held = usize::try_from(options.bytes).unwrap_or(usize::MAX);
    let output_max = held
        .saturating_add(options.payload_max)
        .saturating_add(OUTPUT_SLACK);
    let completions = Arc::new(CompletionTable::new(options.tasks, options.bytes));
    let shared = Arc::new(Shared {
        clock,
        machine: Mutex::new(machine),
        completions,
    });
    let uplink = Uplink::new(
        transport.clone(),
        options.keys,
        options.managers,
        output_max,
    );
    let driver = PeerDriver::new(clock, uplink, ClientEndpoint::new(Arc::clone(&shared)));
    transport.spawn(driver.run());
    Arc::new(Handle { shared })
}

/// What the clones of a client share; the driver has only what is shared.
struct Handle<M> {
    shared: Arc<Shared<M>>,
}

impl<M> fmt::Debug for Handle<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

impl<M> Drop for Handle<M> {
    fn drop(&mut self) {
        self.shared.completions.stop_when_empty();
    }
}

/// A task that was taken in. Resolves to its one end.
///
/// Dropping it lets the task run on and discards its outcome.
#[must_use = "the outcome of a task whose submission is dropped is discarded"]
#[derive(Debug)]
pub struct Submission {
    id: TaskId,
    completions: Arc<CompletionTable>,
    taken: bool,
}

impl Submission {
    /// The task's id.
    #[must_use]
    pub fn id(&self) -> TaskId {
        self.id
    }

    /// Whether its outcome is there, so that awaiting it does not wait.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.taken || self.completions.is_done(self.id.seq)
    }

    /// Asks for the task's end. Its outcome still comes: `Cancelled`, or what was sooner.
    pub fn cancel(&self) {
        self.completions.cancel(self.id.seq);
    }
}

impl Future for Submission {
    type Output = Ended;

    /// # Panics
    /// If polled again after it was ready.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ended> {
        assert!(!self.taken, "a submission was polled after its outcome");
        let polled = self.completions.poll_outcome(self.id.seq, cx);
        self.taken = polled.is_ready();
        polled
    }
}

impl Drop for Submission {
    fn drop(&mut self) {
        if !self.taken {
            self.completions.abandon(self.id.seq);
        }
    }
}

/// The one end of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// How it ended.
    pub outcome: Outcome,
    /// Its result, or the detail of its error.
    pub payload: Payload,
}

fn default_name(peer: PeerId) -> Name {
    Name::new(&format!("client-{:08x}", peer.0 >> 32))
        .expect("short, and without control characters")
}

#[cfg(test)]
mod tests;
