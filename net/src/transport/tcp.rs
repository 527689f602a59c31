//! TCP, as the system has it.

mod lookups;

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket, TcpStream, lookup_host};

use super::Transport;
use lookups::Lookups;

/// Connections that may wait to be accepted: after a manager's restart all its peers come back
/// within a moment.
const BACKLOG: u32 = 4_096;

/// TCP on the current tokio runtime. Addresses are `host:port`.
#[derive(Clone, Debug, Default)]
pub struct TokioTransport {
    lookups: Lookups,
}

impl Transport for TokioTransport {
    type Listener = TcpListener;
    type Stream = TcpStream;

    async fn bind(&self, address: &str) -> io::Result<TcpListener> {
        let mut last = None;
        for address in lookup_host(address).await? {
            match listen(address) {
                Ok(listener) => return Ok(listener),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| io::Error::other("the host has no address")))
    }

    async fn accept(&self, listener: &mut TcpListener) -> io::Result<TcpStream> {
        let (stream, _) = listener.accept().await?;
        without_delay(stream)
    }

    async fn connect(&self, address: &str) -> io::Result<TcpStream> {
        let found = match address.parse() {
            Ok(address) => vec![address],
            Err(_) => self.lookups.find(address, lookup(address)).await?,
        };
        without_delay(TcpStream::connect(&found[..]).await?)
    }

    fn local_addr(&self, listener: &TcpListener) -> Option<SocketAddr> {
        listener.local_addr().ok()
    }

    fn peer_addr(&self, stream: &TcpStream) -> Option<SocketAddr> {
        stream.peer_addr().ok()
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(task);
    }
}

fn lookup(address: &str) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send + use<> {
    let address = address.to_owned();
    async move { Ok(lookup_host(address).await?.collect()) }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    // A restarted manager gets its port back although old connections linger in the kernel.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// We write whole batches; waiting for more to send would only delay them.
fn without_delay(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    Ok(stream)
}
