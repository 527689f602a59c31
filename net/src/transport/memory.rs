//! Pipes in memory: for a manager and a worker in one process, and for tests.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::DuplexStream;
use tokio::sync::mpsc;

use super::Transport;

/// Connections that may wait to be accepted.
const BACKLOG: usize = 64;
/// Bytes that one direction of a pipe holds; as much as a socket buffer, for the same reason.
const PIPE_BYTES: usize = 256 * 1024;

type Listeners = BTreeMap<String, mpsc::Sender<DuplexStream>>;

/// A network of its own, within this process. Clones share it. Addresses are any texts.
#[derive(Clone, Debug, Default)]
pub struct MemoryTransport {
    listeners: Arc<Mutex<Listeners>>,
}

/// Takes in connections of a [`MemoryTransport`].
#[derive(Debug)]
pub struct MemoryListener(mpsc::Receiver<DuplexStream>);

impl MemoryTransport {
    /// A network without listeners.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn with<R>(&self, act: impl FnOnce(&mut Listeners) -> R) -> R {
        act(&mut self
            .listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner))
    }
}

impl Transport for MemoryTransport {
    type Listener = MemoryListener;
    type Stream = DuplexStream;

    async fn bind(&self, address: &str) -> io::Result<MemoryListener> {
        self.with(|listeners| {
            if listeners.get(address).is_some_and(|old| !old.is_closed()) {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            let (sender, receiver) = mpsc::channel(BACKLOG);
            listeners.insert(address.to_owned(), sender);
            Ok(MemoryListener(receiver))
        })
    }

    async fn accept(&self, listener: &mut MemoryListener) -> io::Result<DuplexStream> {
        match listener.0.recv().await {
            Some(stream) => Ok(stream),
            // The network is gone, so nobody can ever come.
            None => std::future::pending().await,
        }
    }

    async fn connect(&self, address: &str) -> io::Result<DuplexStream> {
        let listener = self
            .with(|listeners| listeners.get(address).cloned())
            .ok_or(io::ErrorKind::ConnectionRefused)?;
        let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
        listener
            .send(theirs)
            .await
            .map_err(|_| io::ErrorKind::ConnectionRefused)?;
        Ok(ours)
    }

    fn local_addr(&self, _listener: &MemoryListener) -> Option<SocketAddr> {
        None
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(task);
    }
}
