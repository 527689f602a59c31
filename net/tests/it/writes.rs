//! How often a client writes: what it says in one go costs its manager one wake-up.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use crate::clusters::{echo_worker, echoes, manager};
use argon::transport::{TokioTransport, Transport};
use argon::{Client, ClientOptions};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// TCP that counts the writes of all its connections.
#[derive(Clone, Default)]
struct Counting(Arc<AtomicUsize>);

struct Counted {
    stream: TcpStream,
    writes: Arc<AtomicUsize>,
}

impl Transport for Counting {
    type Listener = TcpListener;
    type Stream = Counted;

    async fn bind(&self, address: &str) -> io::Result<TcpListener> {
        TokioTransport::default().bind(address).await
    }

    async fn accept(&self, listener: &mut TcpListener) -> io::Result<Counted> {
        let stream = TokioTransport::default().accept(listener).await?;
        let writes = Arc::clone(&self.0);
        Ok(Counted { stream, writes })
    }

    async fn connect(&self, address: &str) -> io::Result<Counted> {
        let stream = TokioTransport::default().connect(address).await?;
        let writes = Arc::clone(&self.0);
        Ok(Counted { stream, writes })
    }

    fn local_addr(&self, listener: &TcpListener) -> Option<SocketAddr> {
        TokioTransport::default().local_addr(listener)
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        TokioTransport::default().spawn(task);
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn a_task_and_the_thanks_for_the_one_before_it_are_one_write() {
    const TASKS: usize = 1_000;
    let (server, address) = manager().await;
    let handle = server.handle();
    let running = tokio::spawn(server.run());
    let _worked = echo_worker(&address, "w1", 1);
    let counting = Counting::default();
    let options = ClientOptions::new(vec![address]);
    let client = Client::start_on(counting.clone(), options, 1).unwrap();
    echoes(&client, 1, 64).await;
    let before = counting.0.load(Ordering::Relaxed);
    for _ in 0..TASKS {
        echoes(&client, 1, 64).await;
    }
    let writes = counting.0.load(Ordering::Relaxed) - before;
    // Heartbeats come in between, a few a second.
    assert!(
        writes < TASKS + TASKS / 2,
        "{writes} writes for {TASKS} tasks"
    );
    client.close().await;
    handle.stop();
    running.await.unwrap().unwrap();
}
