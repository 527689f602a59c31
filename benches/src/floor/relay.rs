//! The relay, and workers that only echo.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as Pair;
use std::process::{Child, Command, Stdio};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};

use super::frames::{BODY, Inbox, WORKER, dial, first, pump};
use crate::parts::announce;

/// Pairs each client with a worker that is free, and copies frames both ways.
pub(crate) async fn relay() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    announce(&listener.local_addr()?.to_string());
    let mut idle: Vec<TcpStream> = Vec::new();
    loop {
        let (mut stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let Ok(who) = stream.read_u8().await else {
            continue;
        };
        if who == WORKER {
            idle.push(stream);
        } else if let Some(worker) = idle.pop() {
            let (from_client, to_client) = stream.into_split();
            let (from_worker, to_worker) = worker.into_split();
            tokio::spawn(pump(from_client, to_worker));
            tokio::spawn(pump(from_worker, to_client));
        }
    }
}

/// Echoes.
pub(crate) async fn worker(address: &str) -> io::Result<()> {
    let (read, write) = dial(address, WORKER).await?.into_split();
    announce("ready");
    pump(read, write).await
}

/// A worker that hands every frame to one child, and its answers back.
pub(crate) async fn pool(address: &str) -> io::Result<()> {
    let (_child, stream) = start_child()?;
    let (from_child, to_child) = stream.into_split();
    let (read, write) = dial(address, WORKER).await?.into_split();
    announce("ready");
    tokio::try_join!(pump(read, to_child), pump(from_child, write)).map(|_| ())
}

/// A child of the floor's pool, which ends with the stream to it.
pub(super) fn start_child() -> io::Result<(Child, UnixStream)> {
    let (ours, theirs) = Pair::pair()?;
    let child = Command::new(std::env::current_exe()?)
        .arg("floor-child")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .spawn()?;
    ours.set_nonblocking(true)?;
    Ok((child, UnixStream::from_std(ours)?))
}

/// What runs in the child: reads tasks, runs them, answers.
pub(crate) async fn child() -> io::Result<()> {
    let stream = Pair::from(io::stdin().as_fd().try_clone_to_owned()?);
    stream.set_nonblocking(true)?;
    let (mut read, mut write) = UnixStream::from_std(stream)?.into_split();
    let mut inbox = Inbox::default();
    let mut answers = Vec::new();
    loop {
        let frames = inbox.read(&mut read).await?;
        if frames.is_empty() {
            return Ok(());
        }
        answers.clear();
        answers.extend_from_slice(frames);
        let mut at = 0;
        while at < answers.len() {
            let length = first(&answers[at..])?.map_or(0, <[u8]>::len);
            let end = (at + 4 + length).min(answers.len());
            // Before the task come the numbers that manager and worker have given it.
            crate::task::run(&mut answers[end.saturating_sub(BODY).max(at + 4)..end]);
            at += 4 + length;
        }
        write.write_all(&answers).await?;
    }
}
