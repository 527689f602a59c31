//! Where connections come from.
//!
//! Everything else in this crate is generic over [`Transport`], so that real sockets, pipes in
//! memory and simulated networks drive the same code. Addresses are texts that only the transport
//! understands.

mod memory;
mod tcp;

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncWrite};

pub use memory::{MemoryListener, MemoryTransport};
pub use tcp::TokioTransport;

/// Makes connections, and runs the tasks that serve them.
pub trait Transport: Clone + Send + Sync + 'static {
    /// Takes connections in.
    type Listener: Send + 'static;
    /// A connection: bytes in order, both ways.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// Listens on `address`.
    fn bind(&self, address: &str) -> impl Future<Output = io::Result<Self::Listener>> + Send;

    /// Takes the next connection in. Dropping the future loses none.
    fn accept(
        &self,
        listener: &mut Self::Listener,
    ) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// Opens a connection to `address`. May take for ever; callers bound it.
    fn connect(&self, address: &str) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// The socket address that `listener` listens on, if it has one.
    fn local_addr(&self, listener: &Self::Listener) -> Option<SocketAddr>;

    /// Where `stream` comes from, if the network has addresses.
    fn peer_addr(&self, _stream: &Self::Stream) -> Option<SocketAddr> {
        None
    }

    /// Runs `task` beside the others. A simulation runs it on its own thread, in an order that
    /// depends on nothing but its seed.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static);
}
