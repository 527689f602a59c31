//! A manager and a worker in one process: no third kind, only two of the known ones joined by
//! pipes in memory.

use std::net::SocketAddr;

use argon_core::access::KeyRole;
use argon_core::ids::{Epoch, PeerId};
use argon_core::manager::ManagerConfig;
use argon_core::name::Name;
use argon_core::worker::WorkerConfig;
use tokio::sync::oneshot;

use crate::client::{Client, ClientOptions};
use crate::driver::clock::entropy;
use crate::error::{RunError, StartError};
use crate::executor::Executor;
use crate::keys::Keys;
use crate::manager::{
    ManagerHandle, StopOnDrop, bind, bind_checked, check_listen, new_driver, require,
};
use crate::transport::{MemoryTransport, TokioTransport, Transport};
use crate::worker::{WorkerHandle, WorkerOptions, WorkerServer};

/// What the manager is called on the network in memory.
const MANAGER: &str = "manager";

/// How the two are to be.
#[derive(Clone, Debug)]
pub struct StandaloneOptions {
    /// The manager's part.
    pub manager: ManagerConfig,
    /// The worker's part.
    pub worker: WorkerConfig,
    /// `host:port` to listen on for clients and workers of other processes; `None`: for nobody.
    pub listen: Option<String>,
    /// Let in only who shows a key that comes from the authority of one of these.
    pub keys: Option<Keys>,
    /// Listen without keys even where other hosts can reach it, although nothing keeps strangers
    /// out.
    pub insecure: bool,
}

impl StandaloneOptions {
    /// The defaults, for a worker that runs `capacity` attempts at once; identities are drawn.
    ///
    /// # Errors
    /// If the system has no random numbers to give.
    pub fn new(name: Name, capacity: u32) -> Result<Self, StartError> {
        Ok(Self {
            manager: ManagerConfig::new(Epoch(entropy()?)),
            worker: WorkerConfig::new(PeerId(entropy()?), name, capacity),
            listen: None,
            keys: None,
            insecure: false,
        })
    }
}

/// A manager and a worker in one process. Dropping it lets them run on; [`run`](Self::run) and
/// [`stop`](Self::stop) end them.
#[derive(Debug)]
pub struct Standalone {
    network: MemoryTransport,
    manager: ManagerHandle,
    worker: WorkerHandle,
    local: Option<SocketAddr>,
    done: oneshot::Receiver<Result<(), RunError>>,
}

/// Commands to a standalone that runs.
#[derive(Clone, Debug)]
pub struct StandaloneHandle {
    manager: ManagerHandle,
}

impl Standalone {
    /// Starts both on the current tokio runtime.
    ///
    /// # Errors
    /// If there is no runtime, the options make no sense, or the address cannot be listened on.
    pub async fn start<E: Executor>(
        options: StandaloneOptions,
        executor: E,
    ) -> Result<Self, StartError> {
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(StartError::NoRuntime);
        }
        require(options.keys.as_ref(), KeyRole::Manage)?;
        let network = MemoryTransport::new();
        let worker_options = WorkerOptions {
            managers: vec![MANAGER.to_owned()],
            keys: None,
            config: options.worker,
        };
        let worker = WorkerServer::new_on(network.clone(), worker_options, executor, entropy()?)?;
        let worker_handle = worker.handle();

        let driver = new_driver(options.manager)?;
        let keys = options.keys;
        let mut inner = bind(&network, MANAGER).await?;
        let mut outer = match &options.listen {
            Some(listen) => {
                let checked = check_listen(listen, options.insecure || keys.is_some()).await?;
                Some(bind_checked(listen, &checked).await?)
            }
            None => None,
        };
        let local = outer
            .as_ref()
            .and_then(|listener| TokioTransport::default().local_addr(listener));
        let manager_handle = ManagerHandle::of(&driver);

        let (tell, done) = oneshot::channel();
        let memory = network.clone();
        let leave = worker_handle.clone();
        let manager = async move {
            let _stop = StopOnDrop(driver.clone());
            let accept_outer = async {
                match &mut outer {
                    Some(listener) => {
                        driver
                            .accept_from(&TokioTransport::default(), listener, keys.as_ref())
                            .await
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                result = driver.run() => result,
                () = driver.accept_from(&memory, &mut inner, None) => Ok(()),
                () = accept_outer => Ok(()),
            }
        };
        network.spawn(async move {
            let manager = async {
                let result = manager.await;
                // Nobody will give the worker anything any more.
                leave.stop();
                result
            };
            let (result, _) = tokio::join!(biased; manager, worker.run());
            let _ = tell.send(result);
        });
        Ok(Self {
            network,
            manager: manager_handle,
            worker: worker_handle,
            local,
            done,
        })
    }

    /// A client of it; its list of managers does not matter.
    ///
    /// # Errors
    /// If the options make no sense.
    pub fn client(&self, options: ClientOptions) -> Result<Client, StartError> {
        let options = ClientOptions {
            managers: vec![MANAGER.to_owned()],
            keys: None,
            ..options
        };
        Client::start_on(self.network.clone(), options, entropy()?)
    }

    /// Where it listens for other processes, if it does.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.local
    }

    /// To drain or stop it from elsewhere.
    #[must_use]
    pub fn handle(&self) -> StandaloneHandle {
        StandaloneHandle {
            manager: self.manager.clone(),
        }
    }

    /// How the worker's connection to the manager is doing.
    #[must_use]
    pub fn link(&self) -> crate::LinkState {
        self.worker.link()
    }

    /// Takes no new tasks, finishes what runs, then ends.
    pub fn drain(&self) {
        self.manager.drain();
    }

    /// Ends now; what runs is killed.
    pub fn stop(&self) {
        self.manager.stop();
    }

    /// Waits until it was stopped or drained and all pool processes have ended.
    ///
    /// # Errors
    /// If a state machine panicked.
    pub async fn run(self) -> Result<(), RunError> {
        // If nobody can tell any more, a panic or the end of the runtime took them.
        self.done.await.unwrap_or(Err(RunError::Broken))
    }
}

impl StandaloneHandle {
    /// Takes no new tasks, finishes what runs, then ends.
    pub fn drain(&self) {
        self.manager.drain();
    }

    /// Ends now; what runs is killed.
    pub fn stop(&self) {
        self.manager.stop();
    }
}
