//! A whole Argon in this process: for tests, and for programs that one machine is enough for.

use std::thread;
use std::time::Duration;

use argon_core::limits::CAPACITY_MAX;
use argon_core::name::Name;

use crate::client::{Client, ClientOptions};
use crate::error::Error;
use crate::standalone::{Standalone, StandaloneHandle, StandaloneOptions};
use crate::tasks::Tasks;

/// A manager and a worker in this process, and a client of them. Tasks run on threads, one for
/// each CPU unless told otherwise. Ends when it is dropped; what runs then is cancelled.
///
/// ```standalone_crate
/// #[argon::task]
/// fn add(x: i64, y: i64) -> i64 {
///     x + y
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), argon::Error> {
/// let local = argon::local().await?;
/// assert_eq!(local.client().process(add(2, 3)).await?, 5);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Local {
    client: Client,
    server: StandaloneHandle,
}

/// Starts a [`Local`] with all tasks of this program, on the current tokio runtime.
///
/// # Errors
/// If there is no tokio runtime, or the program has no tasks, or two with the same name.
pub async fn local() -> Result<Local, Error> {
    Local::start(Tasks::all()).await
}

impl Local {
    /// Starts one with these tasks; see [`tasks!`](crate::tasks).
    ///
    /// # Errors
    /// If there is no tokio runtime, or there are no tasks, or two with the same name.
    pub async fn start(tasks: Tasks) -> Result<Self, Error> {
        let cpus = thread::available_parallelism().map_or(1, usize::from);
        let threads = u32::try_from(cpus).unwrap_or(1);
        Self::with_threads(tasks, threads.min(CAPACITY_MAX)).await
    }

    /// The same with so many threads.
    ///
    /// # Errors
    /// If it cannot be; also if there are to be none, or more than a worker may have.
    pub async fn with_threads(tasks: Tasks, threads: u32) -> Result<Self, Error> {
        let name = Name::new("local").expect("a valid name");
        let mut options = StandaloneOptions::new(name, threads)?;
        // Nobody else can come who runs what this program does not.
        options.manager.runner_wait = Duration::ZERO;
        let standalone = Standalone::start(options, tasks.threads()?).await?;
        let client = standalone.client(ClientOptions::new(Vec::new()))?;
        Ok(Self {
            client,
            server: standalone.handle(),
        })
    }

    /// The client. Clones of it are of no use when this is dropped.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.client.stop();
        self.server.stop();
    }
}
