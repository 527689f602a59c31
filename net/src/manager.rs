//! A manager, for those who run one.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use argon_core::Manager;
use argon_core::access::KeyRole;
use argon_core::ids::Epoch;
use argon_core::manager::ManagerConfig;
use argon_core::time::Instant;
use tokio::net::{TcpListener, lookup_host};

use crate::driver::clock::{Clock, entropy};
use crate::driver::manager::ManagerDriver;
use crate::error::{RunError, StartError};
use crate::keys::Keys;
use crate::transport::{TokioTransport, Transport};

/// How a manager is to be.
#[derive(Clone, Debug)]
pub struct ManagerOptions {
    /// `host:port` to listen on; port 0 lets the system choose.
    pub listen: String,
    /// Let in only who shows a key that comes from the authority of one of these.
    pub keys: Option<Keys>,
    /// Listen without keys even where other hosts can reach it, although nothing keeps strangers
    /// out.
    pub insecure: bool,
    /// The rest.
    pub config: ManagerConfig,
}

impl ManagerOptions {
    /// The defaults, for a new life, which is drawn.
    ///
    /// # Errors
    /// If the system has no random numbers to give.
    pub fn new(listen: impl Into<String>) -> Result<Self, StartError> {
        Ok(Self {
            listen: listen.into(),
            keys: None,
            insecure: false,
            config: ManagerConfig::new(Epoch(entropy()?)),
        })
    }
}

/// A manager that listens; [`run`](Self::run) it.
#[derive(Debug)]
pub struct ManagerServer<T: Transport = TokioTransport> {
    driver: Arc<ManagerDriver<Manager>>,
    transport: T,
    listener: T::Listener,
    keys: Option<Keys>,
    local: Option<SocketAddr>,
}

impl ManagerServer {
    /// Listens over TCP.
    ///
    /// # Errors
    /// If the address cannot be listened on or must not be, or the settings contradict each
    /// other.
    pub async fn bind(options: ManagerOptions) -> Result<Self, StartError> {
        require(options.keys.as_ref(), KeyRole::Manage)?;
        let open = options.insecure || options.keys.is_some();
        let checked = check_listen(&options.listen, open).await?;
        let listener = bind_checked(&options.listen, &checked).await?;
        Self::with_listener(TokioTransport::default(), options, listener)
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local.expect("a TCP listener has an address")
    }
}

impl<T: Transport> ManagerServer<T> {
    /// Listens on any transport. Who can reach it is the transport's business. A manager leaves
    /// nothing to chance but its epoch, which is in the options.
    ///
    /// # Errors
    /// If the address cannot be listened on, or the settings contradict each other.
    pub async fn bind_on(transport: T, options: ManagerOptions) -> Result<Self, StartError> {
        let listener = bind(&transport, &options.listen).await?;
        Self::with_listener(transport, options, listener)
    }

    fn with_listener(
        transport: T,
        options: ManagerOptions,
        listener: T::Listener,
    ) -> Result<Self, StartError> {
        let driver = new_driver(options.config)?;
        let local = transport.local_addr(&listener);
        Ok(Self {
            driver,
            transport,
            listener,
            keys: options.keys,
            local,
        })
    }

    /// To drain or stop it while it runs.
    #[must_use]
    pub fn handle(&self) -> ManagerHandle {
        ManagerHandle::of(&self.driver)
    }

    /// Takes no new tasks, finishes what runs, then ends.
    pub fn drain(&self) {
        self.driver.drain();
    }

    /// Ends now. Its peers keep what they know and wait for another manager at this address.
    pub fn stop(&self) {
        self.driver.stop();
    }

    /// Runs until it is stopped or drained.
    ///
    /// # Errors
    /// If the state machine panicked.
    pub async fn run(self) -> Result<(), RunError> {
        let Self {
            driver,
            transport,
            mut listener,
            keys,
            ..
        } = self;
        let _stop = StopOnDrop(Arc::clone(&driver));
        tokio::select! {
            biased;
            result = driver.run() => result,
            () = driver.accept_from(&transport, &mut listener, keys.as_ref()) => Ok(()),
        }
    }
}

/// Commands to a manager that runs.
#[derive(Clone, Debug)]
pub struct ManagerHandle {
    driver: Arc<ManagerDriver<Manager>>,
}

impl ManagerHandle {
    pub(crate) fn of(driver: &Arc<ManagerDriver<Manager>>) -> Self {
        Self {
            driver: Arc::clone(driver),
        }
    }

    /// Takes no new tasks, finishes what runs, then ends.
    pub fn drain(&self) {
        self.driver.drain();
    }

    /// Ends now. Its peers keep what they know and wait for another manager at this address.
    pub fn stop(&self) {
        self.driver.stop();
    }
}

/// Connections have tasks of their own, which must not outlive the manager.
pub(crate) struct StopOnDrop(pub(crate) Arc<ManagerDriver<Manager>>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// A manager without connections.
pub(crate) fn new_driver(config: ManagerConfig) -> Result<Arc<ManagerDriver<Manager>>, StartError> {
    config.validate().map_err(StartError::Config)?;
    let (payload_max, memory) = (config.payload_max, config.memory);
    let clock = Clock::start();
    let machine = Manager::new(config, Instant::ZERO);
    Ok(ManagerDriver::new(machine, clock, payload_max, memory))
}

/// Listens, and says what was wrong if that does not work.
pub(crate) async fn bind<T: Transport>(
    transport: &T,
    address: &str,
) -> Result<T::Listener, StartError> {
    transport
        .bind(address)
        .await
        .map_err(|error| StartError::Bind {
            address: address.to_owned(),
            error,
        })
}

/// Listens on the first of these addresses that lets us. A name is not looked up once more: what
/// was checked is what is bound.
pub(crate) async fn bind_checked(
    listen: &str,
    checked: &[SocketAddr],
) -> Result<TcpListener, StartError> {
    let mut last = None;
    for address in checked {
        match bind(&TokioTransport::default(), &address.to_string()).await {
            Ok(listener) => return Ok(listener),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| StartError::Resolve {
        given: listen.to_owned(),
        error: io::Error::other("the host has no address"),
    }))
}

/// Checks that the key that is used, if one is, has a role.
pub(crate) fn require(keys: Option<&Keys>, role: KeyRole) -> Result<(), StartError> {
    keys.map_or(Ok(()), |keys| keys.require(role).map_err(StartError::Key))
}

/// Checks that only this host can reach `listen`, unless the manager is `open` to others. Returns what it stands for.
pub(crate) async fn check_listen(listen: &str, open: bool) -> Result<Vec<SocketAddr>, StartError> {
    let given = listen.to_owned();
    let is_address = listen
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    if !is_address {
        return Err(StartError::Address { given });
    }
    let addresses = match lookup_host(listen).await {
        Ok(addresses) => addresses.collect::<Vec<_>>(),
        Err(error) => return Err(StartError::Resolve { given, error }),
    };
    for &address in &addresses {
        if !open && !address.ip().is_loopback() {
            return Err(StartError::NotLoopback { address });
        }
    }
    Ok(addresses)
}
