//! What stands between strangers' bytes and the machines, without sockets, files and processes: for
//! the fuzzer, which looks behind the public interface. With the feature `testing` alone.

use std::io;
use std::task::{Context, Poll};

use argon_core::access::Access;
use argon_core::codec::DecodeError;
use argon_core::message::Message;
use bincode::Decode;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::connection::Incoming;
use crate::keys::{KeyError, KeyFacts, Keys};
use crate::secure;

pub use crate::executor::{PoolBroke, PoolEars, PoolHeard};

/// A manager's side of a handshake: what the peer may do, or why it is kept out.
///
/// # Errors
/// If it is kept out: whether that cost a handshake, and why.
pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
    keys: &Keys,
    stream: S,
) -> Result<Access, (bool, String)> {
    let accepted = match secure::look(stream).await {
        Ok(stream) => secure::accept(keys, stream).await,
        Err(kept_out) => Err(kept_out),
    };
    match accepted {
        Ok((_, access)) => Ok(access),
        Err(kept_out) => Err((kept_out.was_costly(), kept_out.reason().to_owned())),
    }
}

/// The other side of it.
///
/// # Errors
/// If either side refused the other.
pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(keys: &Keys, stream: S) -> io::Result<()> {
    secure::connect(Some(keys), stream).await.map(|_| ())
}

/// What a key's text says about itself.
///
/// # Errors
/// If it is no key.
pub fn key_facts(text: &str) -> Result<KeyFacts, KeyError> {
    KeyFacts::of_text(text)
}

/// The frames of a connection, read as a driver reads them.
#[derive(Debug)]
pub struct Frames(Incoming);

impl Frames {
    /// For frames of at most `frame_max` bytes.
    #[must_use]
    pub fn new(frame_max: usize) -> Self {
        Self(Incoming::new(frame_max))
    }

    /// Reads once; 0 is the end.
    pub fn poll_read<S: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
    ) -> Poll<io::Result<usize>> {
        self.0.poll_read(cx, stream)
    }

    /// The next whole frame.
    ///
    /// # Errors
    /// If what came is no frame.
    #[expect(
        clippy::should_implement_trait,
        reason = "the type of what comes is chosen at each call"
    )]
    pub fn next<B: Decode<()>>(&mut self) -> Result<Option<Message<B>>, DecodeError> {
        self.0.next()
    }

    /// What is spoken there instead.
    #[must_use]
    pub fn other_protocol(&self) -> Option<&'static str> {
        self.0.other_protocol()
    }
}
