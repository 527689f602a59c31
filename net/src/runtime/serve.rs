//! The loop of a pool process.

use std::env;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::Instant;

use argon_core::capabilities::Capabilities;
use argon_core::codec;
use argon_core::limits::{PAYLOAD_MAX_CEILING, PAYLOAD_MAX_DEFAULT};
use argon_core::message::{MAGIC, POOL_VERSION, PoolBody, PoolMessage};
use argon_core::name::Name;
use argon_core::payload::Payload;
use argon_core::task::{self, TaskError};
use argon_core::time::Nanos;
use bytes::BytesMut;
use nix::unistd::{dup2_stdin, dup2_stdout};

use super::answers::Answers;
use super::{TaskFailure, catch, remember_places};
use crate::text::cut_error;
use crate::yielding::before_sleep;

/// Bytes of one read.
const READ: usize = 64 * 1024;
/// Runs attempts of the tasks in `capabilities` with `handler` until the worker closes standard input.
///
/// While it runs, standard input is empty and standard output is standard error for everything
/// else in the process, so that a task that prints cannot break the protocol. A panic of the
/// handler fails its attempt only. The handler runs on the thread that calls this; one more thread
/// takes care that no answer waits for a later attempt.
///
/// # Errors
/// If standard input or output cannot be read or written, or what comes is not the pool protocol.
pub fn serve<E: Into<TaskFailure>>(
    capabilities: Capabilities,
    mut handler: impl FnMut(&Name, Payload) -> Result<Payload, E>,
) -> io::Result<()> {
    remember_places();
    let (input, output) = take_stdio()?;
    serve_on(
        input,
        output,
        payload_max(),
        capabilities,
        |name, payload| handler(name, payload).map_err(Into::into),
    )
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

/// Set when a signal has told this process to leave as soon as it has nothing to do.
static LEAVING: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// From now on `signal` no longer ends this process: it answers what it has, and then leaves.
pub(super) fn leave_at(signal: i32) -> io::Result<()> {
    let told = LEAVING.get_or_init(Arc::default);
    signal_hook::flag::register(signal, Arc::clone(told)).map(drop)
}

/// The loop, beside the thread that looks after answers.
fn serve_on(
    input: impl Read,
    output: impl Write + Send,
    payload_max: usize,
    capabilities: Capabilities,
    handler: impl FnMut(&Name, Payload) -> Result<Payload, TaskFailure>,
) -> io::Result<()> {
    let answers = Answers::new(output);
    thread::scope(|scope| {
        let watcher = thread::Builder::new()
            .name("argon-answers".to_owned())
            .spawn_scoped(scope, || answers.watch())?;
        let served = run_all(
            input,
            &answers,
            watcher.thread(),
            payload_max,
            capabilities,
            handler,
        );
        answers.end(watcher.thread());
        served
    })
}

fn run_all(
    mut input: impl Read,
    answers: &Answers<impl Write>,
    watcher: &Thread,
    payload_max: usize,
    capabilities: Capabilities,
    handler: impl FnMut(&Name, Payload) -> Result<Payload, TaskFailure>,
) -> io::Result<()> {
    let mut inbox = BytesMut::new();
    let mut scratch = vec![0; READ];
    let ready = PoolBody::Ready {
        magic: MAGIC,
        version: POOL_VERSION,
        capabilities,
    };
    answers.push(&PoolMessage::from(ready))?;
    let mut server = Server {
        answers,
        watcher,
        payload_max,
        handler,
        has_runs: false,
        now: Instant::now(),
    };
    loop {
        // Above the limit come no answers but long arguments: their limit is the worker's affair.
        let frame = codec::decode::<PoolBody>(&mut inbox, codec::frame_max(PAYLOAD_MAX_CEILING));
        let Some(message) = frame.map_err(io::Error::other)? else {
            answers.flush()?;
            if LEAVING
                .get()
                .is_some_and(|told| told.load(Ordering::Relaxed))
            {
                return Ok(());
            }
            before_sleep();
            if !read(&mut input, &mut inbox, &mut scratch)? {
                return Ok(());
            }
            server.now = Instant::now();
            continue;
        };
        match message.body {
            PoolBody::Run { id, name } => server.run(id, &name, message.payload)?,
            PoolBody::RunMany(run) => {
                server.has_runs = true;
                let arguments = run.arguments(&message.payload);
                let wrong = || io::Error::other("the worker sent a run that is none");
                for (id, argument) in arguments.ok_or_else(wrong)? {
                    server.run(id, &run.first.name, argument)?;
                }
            }
            PoolBody::Ready { .. }
            | PoolBody::Completed { .. }
            | PoolBody::CompletedMany(_)
            | PoolBody::Failed { .. } => {
                return Err(io::Error::other(
                    "the worker sent a message that only pool processes send",
                ));
            }
        }
    }
}

/// Runs attempts and answers them.
struct Server<'a, W, H> {
    answers: &'a Answers<W>,
    watcher: &'a Thread,
    payload_max: usize,
    handler: H,
    /// The worker has said a run, so it understands them.
    has_runs: bool,
    /// When the last attempt ended, or the last were read.
    now: Instant,
}

impl<W, H> Server<'_, W, H>
where
    W: Write,
    H: FnMut(&Name, Payload) -> Result<Payload, TaskFailure>,
{
    fn run(&mut self, id: u64, name: &Name, argument: Payload) -> io::Result<()> {
        self.answers.leave_to(self.watcher);
        let begun = self.now;
        let end = catch(|| (self.handler)(name, argument));
        self.now = Instant::now();
        let ran = Nanos::from(self.now - begun);
        let TaskFailure {
            mut error,
            mut detail,
        } = match end {
            Ok(result) if result.len() <= self.payload_max => {
                return self.answers.push_completed(self.has_runs, id, ran, result);
            }
            Ok(result) => too_large(result.len(), self.payload_max).into(),
            Err(failure) => failure,
        };
        cut_error(&mut error);
        if detail.len() > self.payload_max {
            detail = Payload::empty();
        }
        let error = *error;
        self.answers.push(&PoolMessage {
            body: PoolBody::Failed { id, ran, error },
            payload: detail,
        })
    }
}

fn too_large(length: usize, payload_max: usize) -> TaskError {
    let text = format!("a result of {length} bytes, where at most {payload_max} are allowed");
    TaskError::new(task::ErrorKind::ResultTooLarge, text)
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
