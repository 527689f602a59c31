//! Bytes on the wire: the client and the worker of one process, over sockets that count.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};

use argon::{
    Client, ClientOptions, Outcome, TokioTransport, Transport, WorkerOptions, WorkerServer,
};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::JoinSet;

use super::{executor, name, spec};
use crate::Problem;

/// A transport that counts what passes, both ways.
#[derive(Clone, Default)]
struct Counted {
    inner: TokioTransport,
    bytes: Arc<AtomicU64>,
}

struct CountedStream<S> {
    inner: S,
    bytes: Arc<AtomicU64>,
}

impl Transport for Counted {
    type Listener = <TokioTransport as Transport>::Listener;
    type Stream = CountedStream<<TokioTransport as Transport>::Stream>;

    async fn bind(&self, address: &str) -> io::Result<Self::Listener> {
        self.inner.bind(address).await
    }

    async fn accept(&self, listener: &mut Self::Listener) -> io::Result<Self::Stream> {
        let inner = self.inner.accept(listener).await?;
        let bytes = Arc::clone(&self.bytes);
        Ok(CountedStream { inner, bytes })
    }

    async fn connect(&self, address: &str) -> io::Result<Self::Stream> {
        let inner = self.inner.connect(address).await?;
        let bytes = Arc::clone(&self.bytes);
        Ok(CountedStream { inner, bytes })
    }

    fn local_addr(&self, listener: &Self::Listener) -> Option<SocketAddr> {
        self.inner.local_addr(listener)
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.inner.spawn(task);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for CountedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, into);
        let read = into.filled().len() - before;
        self.bytes.fetch_add(read as u64, Relaxed);
        polled
    }
}

impl<S: AsyncWrite + Unpin> CountedStream<S> {
    fn count(&self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(written)) = &polled {
            self.bytes.fetch_add(*written as u64, Relaxed);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for CountedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.count(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        self.count(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// Runs so many tasks, so many at a time; says how many bytes each cost, on both sides of the
/// manager together.
pub(crate) async fn bytes(manager: &str, in_flight: usize, tasks: usize) -> Result<Value, Problem> {
    let transport = Counted::default();
    let managers = vec![manager.to_owned()];
    let options = WorkerOptions::new(managers.clone(), name("counted"), 2)?;
    let seed = u64::from(std::process::id());
    let worker = WorkerServer::new_on(transport.clone(), options, executor(), seed)?;
    let worker = tokio::spawn(worker.run());
    let mut options = ClientOptions::new(managers);
    options.retries = None;
    let client = Client::start_on(transport.clone(), options, seed + 1)?;
    // The first tasks pay for greetings.
    some(&client, in_flight, in_flight.max(100)).await?;
    let before = transport.bytes.load(Relaxed);
    some(&client, in_flight, tasks).await?;
    let bytes = transport.bytes.load(Relaxed) - before;
    worker.abort();
    Ok(json!({ "bytes": bytes as f64 / tasks as f64 }))
}

async fn some(client: &Client, in_flight: usize, tasks: usize) -> Result<(), Problem> {
    let mut loops = JoinSet::new();
    for _ in 0..in_flight {
        let client = client.clone();
        loops.spawn(async move {
            for _ in 0..tasks.div_ceil(in_flight) {
                let ended = client.submit(spec(Default::default())).await?.await;
                if !matches!(ended.outcome, Outcome::Completed(_)) {
                    return Err(Problem::from(format!("{:?}", ended.outcome)));
                }
            }
            Ok(())
        });
    }
    while let Some(ended) = loops.join_next().await {
        ended??;
    }
    Ok(())
}
