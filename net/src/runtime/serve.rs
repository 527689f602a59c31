//! The loop of a pool process.

use std::env;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use argon_core::codec;
use argon_core::limits::{HEADER_MAX, PAYLOAD_MAX_CEILING, PAYLOAD_MAX_DEFAULT};
use argon_core::message::{MAGIC, POOL_VERSION, PoolBody};
use argon_core::name::Name;
use argon_core::task::{self, TaskError};
use argon_core::time::Nanos;
use bytes::{Bytes, BytesMut};
use nix::unistd::{dup2_stdin, dup2_stdout};

use super::TaskFailure;
use super::panics::{catch, remember_places};
use crate::frames::OutBuffer;
use crate::text::cut_error;

/// Bytes of one read.
const READ: usize = 64 * 1024;
/// Answers are written when nothing more is here to be done, and at the latest when there are
/// this many bytes of them or they have waited this long.
const FLUSH_BYTES: usize = 64 * 1024;
const FLUSH_AFTER: Duration = Duration::from_micros(200);

/// Runs attempts with `handler` until the worker closes standard input.
///
/// While it runs, standard input is empty and standard output is standard error for everything
/// else in the process, so that a task that prints cannot break the protocol. A panic of the
/// handler fails its attempt only.
///
/// # Errors
/// If standard input or output cannot be read or written, or what comes is not the pool protocol.
pub fn serve<E: Into<TaskFailure>>(
    mut handler: impl FnMut(&Name, Bytes) -> Result<Bytes, E>,
) -> io::Result<()> {
    remember_places();
    let (input, output) = take_stdio()?;
    serve_on(input, output, payload_max(), |name, payload| {
        handler(name, payload).map_err(Into::into)
    })
}

/// Largest result that the worker takes.
pub(super) fn payload_max() -> usize {
    let said = env::var("ARGON_PAYLOAD_MAX")
        .ok()
        .and_then(|text| text.parse().ok());
    said.unwrap_or(PAYLOAD_MAX_DEFAULT).min(PAYLOAD_MAX_CEILING)
}

/// Keeps the pipes to the worker for the protocol alone.
fn take_stdio() -> io::Result<(File, File)> {
    let input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    dup2_stdin(OpenOptions::new().read(true).open("/dev/null")?)?;
    dup2_stdout(io::stderr())?;
    Ok((input, output))
}

/// The loop itself.
fn serve_on(
    mut input: impl Read,
    mut output: impl Write,
    payload_max: usize,
    mut handler: impl FnMut(&Name, Bytes) -> Result<Bytes, TaskFailure>,
) -> io::Result<()> {
    let mut inbox = BytesMut::new();
    let mut outbox = OutBuffer::default();
    let mut scratch = vec![0; READ];
    push(
        &mut outbox,
        PoolBody::Ready {
            magic: MAGIC,
            version: POOL_VERSION,
        },
        Bytes::new(),
    )?;
    let mut now = Instant::now();
    let mut flushed = now;
    loop {
        // Above the limit come no answers but long arguments: their limit is the worker's affair.
        let frame = codec::decode::<PoolBody>(&mut inbox, HEADER_MAX + PAYLOAD_MAX_CEILING);
        let Some(message) = frame.map_err(io::Error::other)? else {
            flush(&mut outbox, &mut output)?;
            if !read(&mut input, &mut inbox, &mut scratch)? {
                return Ok(());
            }
            now = Instant::now();
            flushed = now;
            continue;
        };
        let PoolBody::Run { id, name } = message.body else {
            return Err(io::Error::other(
                "the worker said what only a pool process says",
            ));
        };
        let begun = now;
        let end = catch(|| handler(&name, message.payload));
        now = Instant::now();
        let (body, payload) = answer(id, Nanos::from(now - begun), end, payload_max);
        push(&mut outbox, body, payload)?;
        if outbox.len() >= FLUSH_BYTES || now - flushed >= FLUSH_AFTER {
            flush(&mut outbox, &mut output)?;
            now = Instant::now();
            flushed = now;
        }
    }
}

fn push(outbox: &mut OutBuffer, body: PoolBody, payload: Bytes) -> io::Result<()> {
    outbox.push(body, payload).map_err(io::Error::other)
}

fn answer(
    id: u64,
    ran: Nanos,
    end: Result<Bytes, TaskFailure>,
    payload_max: usize,
) -> (PoolBody, Bytes) {
    let failure = match end {
        Ok(result) if result.len() <= payload_max => {
            return (PoolBody::Completed { id, ran }, result);
        }
        Ok(result) => {
            let length = result.len();
            let text =
                format!("a result of {length} bytes, where at most {payload_max} are allowed");
            TaskError::new(task::ErrorKind::ResultTooLarge, text).into()
        }
        Err(failure) => failure,
    };
    let TaskFailure {
        mut error,
        mut detail,
    } = failure;
    cut_error(&mut error);
    if detail.len() > payload_max {
        detail = Bytes::new();
    }
    (
        PoolBody::Failed {
            id,
            ran,
            error: *error,
        },
        detail,
    )
}

/// Waits for more; whether there was any.
fn read(input: &mut impl Read, inbox: &mut BytesMut, scratch: &mut [u8]) -> io::Result<bool> {
    loop {
        match input.read(scratch) {
            Ok(length) => {
                inbox.extend_from_slice(&scratch[..length]);
                return Ok(length > 0);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn flush(outbox: &mut OutBuffer, output: &mut impl Write) -> io::Result<()> {
    while !outbox.is_empty() {
        let front = outbox.front();
        let length = front.len();
        output.write_all(front)?;
        outbox.advance(length);
    }
    Ok(())
}
