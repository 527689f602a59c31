//! turmoil's network as a transport: the whole of `net` runs over this unchanged.
//!
//! Over what turmoil does, it makes writes and reads short, repeats lost requests to connect as a
//! kernel would, refuses nothing by itself, and lets faults break single connections.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use argon::Transport;
use argon_core::rng::Rng;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::sleep;
use turmoil::net::{TcpListener, TcpStream};

use super::guard::Guarded;
use super::host::called;
use super::scene::{Abort, Scene, host_called};
use super::tap::Tap;
use crate::options::Host;
use crate::rng::{Draw, stream};

/// Where managers listen.
pub(super) const PORT: u16 = 8000;
/// Between two tries to reach a host that does not answer.
const SYN_EVERY: Duration = Duration::from_secs(1);
/// Most bytes of one read or write where they are short.
const SHORT_MAX: usize = 64;
/// Most bytes of several pieces that are taken at once.
const GATHER_MAX: usize = 64 * 1024;
/// Most parts into which one write falls there.
const PARTS_MAX: usize = 64;

/// The network as one life of a process sees it.
#[derive(Clone)]
pub(super) struct TurmoilTransport {
    pub scene: Arc<Scene>,
    pub host: Host,
    pub life: usize,
}

impl TurmoilTransport {
    fn wrap(&self, inner: TcpStream, peer: Host) -> SimStream {
        let mut locked = self.scene.lock();
        let (count, conn) = locked
            .process(self.host, self.life)
            .map_or((0, 0), |process| {
                process.next_conn += 1;
                (process.count, process.next_conn)
            });
        drop(locked);
        let keys = [50, u64::from(self.host), count, conn];
        let mut rng = stream(self.scene.plan.seed, &keys);
        let short = rng.percent(10).then_some(rng);
        let end = self.scene.open_end(self.host, peer);
        SimStream {
            inner: Some(inner),
            end,
            short,
            tap: Tap::new(&self.scene, self.host, peer),
            host: self.host,
            scene: Arc::clone(&self.scene),
        }
    }
}

impl Transport for TurmoilTransport {
    type Listener = TcpListener;
    type Stream = SimStream;

    async fn bind(&self, address: &str) -> io::Result<TcpListener> {
        TcpListener::bind(address).await
    }

    async fn accept(&self, listener: &mut TcpListener) -> io::Result<SimStream> {
        let (stream, origin) = listener.accept().await?;
        let peer = turmoil::reverse_lookup(origin.ip())
            .and_then(|name| host_called(&name))
            .ok_or(io::ErrorKind::NotFound)?;
        Ok(self.wrap(stream, peer))
    }

    async fn connect(&self, address: &str) -> io::Result<SimStream> {
        let peer = address
            .split_once(':')
            .and_then(|(name, _)| host_called(name))
            .ok_or(io::ErrorKind::NotFound)?;
        // turmoil's own answer would come at once, and the way back past a cut.
        while {
            let links = &self.scene.lock().links;
            links.is_cut(self.host, peer) || links.is_cut(peer, self.host)
        } {
            sleep(SYN_EVERY).await;
        }
        let name = called(self.scene.options(), peer);
        let stream = TcpStream::connect((name.as_str(), PORT)).await?;
        Ok(self.wrap(stream, peer))
    }

    fn local_addr(&self, listener: &TcpListener) -> Option<SocketAddr> {
        listener.local_addr().ok()
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let task = Guarded::new(&self.scene, self.host, self.life, true, task);
        tokio::task::spawn_local(task);
    }
}

/// One end of a connection, until a fault breaks it.
pub(super) struct SimStream {
    /// Taken only when it is dropped.
    inner: Option<TcpStream>,
    end: u64,
    /// Where reads and writes are short: how short.
    short: Option<Rng>,
    tap: Tap,
    host: Host,
    scene: Arc<Scene>,
}

impl SimStream {
    /// Fails if the connection was broken; else remembers whom to tell when it is.
    fn check(&self, cx: &Context<'_>, half: usize) -> io::Result<()> {
        let mut inner = self.scene.lock();
        match inner.ends.get_mut(&self.end) {
            Some(end) if end.abort.is_none() => {
                end.wakers[half] = Some(cx.waker().clone());
                Ok(())
            }
            _ => Err(io::ErrorKind::ConnectionReset.into()),
        }
    }

    /// How many of `bytes` are taken at once.
    fn most(&mut self, bytes: usize, short_max: usize) -> usize {
        match &mut self.short {
            Some(rng) => bytes.min(rng.between(1, short_max as u64) as usize),
            None => bytes,
        }
    }
}

impl AsyncRead for SimStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx, 0)?;
        let most = self.most(buf.remaining(), SHORT_MAX);
        let this = &mut *self;
        let Some(inner) = &mut this.inner else {
            return Poll::Ready(Ok(()));
        };
        let before = buf.filled().len();
        let polled = if most < buf.remaining() {
            let mut space = [0; SHORT_MAX];
            let mut part = ReadBuf::new(&mut space[..most]);
            let polled = Pin::new(inner).poll_read(cx, &mut part);
            buf.put_slice(part.filled());
            polled
        } else {
            Pin::new(inner).poll_read(cx, buf)
        };
        if let Poll::Ready(Ok(())) = polled {
            this.tap.read(&this.scene, &buf.filled()[before..]);
        }
        polled
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(cx, 1)?;
        let most = self.most(bytes.len(), SHORT_MAX.max(bytes.len() / PARTS_MAX));
        let this = &mut *self;
        let Some(inner) = &mut this.inner else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let polled = Pin::new(inner).poll_write(cx, &bytes[..most]);
        if let Poll::Ready(Ok(count)) = polled {
            this.scene.wrote(this.host, this.end, &bytes[..count]);
            this.tap.wrote(&this.scene, &bytes[..count]);
        }
        polled
    }

    /// turmoil would take the first piece only; a socket takes what it has room for.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let bytes = pieces.iter().flat_map(|piece| piece.iter().copied());
        let bytes: Vec<u8> = bytes.take(GATHER_MAX).collect();
        self.poll_write(cx, &bytes)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx, 1)?;
        match &mut self.inner {
            Some(inner) => Pin::new(inner).poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        let mut inner = self.scene.lock();
        let end = inner.ends.remove(&self.end);
        let buried = if end.is_some_and(|end| end.abort == Some(Abort::Silent)) {
            self.inner.take()
        } else {
            None
        };
        inner.graveyard.extend(buried);
    }
}
