//! Frames of the floor: four bytes of length, then so many bytes.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// Bytes of a task.
pub(super) const BODY: usize = 64;
/// Bytes of one read, at most.
pub(super) const BUFFER: usize = 256 * 1024;
const FRAME_MAX: usize = 1 << 20;
/// What the two kinds of peers say first.
pub(super) const CLIENT: u8 = b'C';
pub(super) const WORKER: u8 = b'W';

/// What has been read and not been used.
#[derive(Default)]
pub(super) struct Inbox {
    bytes: Vec<u8>,
    used: usize,
}

impl Inbox {
    /// Waits for whole frames, and gives all that are there; none at the end of the stream.
    pub(super) async fn read(&mut self, from: &mut (impl AsyncRead + Unpin)) -> io::Result<&[u8]> {
        self.bytes.drain(..self.used);
        self.used = 0;
        loop {
            self.bytes
                .reserve(BUFFER.saturating_sub(self.bytes.len()).max(1));
            if from.read_buf(&mut self.bytes).await? == 0 {
                return Ok(&[]);
            }
            while let Some(body) = first(&self.bytes[self.used..])? {
                self.used += 4 + body.len();
            }
            if self.used > 0 {
                return Ok(&self.bytes[..self.used]);
            }
        }
    }
}

/// The body of the first frame, if it is whole.
pub(super) fn first(bytes: &[u8]) -> io::Result<Option<&[u8]>> {
    let Some((length, rest)) = bytes.split_first_chunk() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes(*length) as usize;
    if length > FRAME_MAX {
        return Err(io::Error::other("a frame is too long"));
    }
    Ok(rest.get(..length))
}

/// Calls `each` with the body of every frame.
pub(super) fn each(mut frames: &[u8], mut each: impl FnMut(&[u8])) -> io::Result<()> {
    while let Some(body) = first(frames)? {
        each(body);
        frames = &frames[4 + body.len()..];
    }
    Ok(())
}

/// Copies whole frames until the stream ends.
pub(super) async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    let mut inbox = Inbox::default();
    loop {
        let frames = inbox.read(&mut from).await?;
        if frames.is_empty() {
            return Ok(());
        }
        to.write_all(frames).await?;
    }
}

/// Connects and says who it is.
pub(super) async fn dial(address: &str, who: u8) -> io::Result<TcpStream> {
    let dialling = TcpStream::connect(address);
    let mut stream = tokio::time::timeout(Duration::from_secs(5), dialling).await??;
    stream.set_nodelay(true)?;
    stream.write_all(&[who]).await?;
    Ok(stream)
}
