//! What the tests of process pools run: `guard` and `pool` as the `argon` command has them, a
//! worker that can be killed, and programs that misbehave.

use std::convert::Infallible;
use std::env;
use std::ffi::OsString;
use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::process::{self, ExitCode};
use std::thread;
use std::time::Duration;

use argon::command::RUN;
use argon::executor::{Executor, Launcher, ProcessExecutor, ProcessOptions};
use argon::runtime::TaskFailure;
use argon::{guard, runtime};
use argon_core::capabilities::Capabilities;
use argon_core::codec;
use argon_core::ids::{Attempt, Epoch, PeerId, SlotId, TaskId};
use argon_core::message::{Answer, Answers, MAGIC, POOL_VERSION, PoolBody, PoolMessage, Version};
use argon_core::name::Name;
use argon_core::payload::{Content, Payload};
use argon_core::task::{ErrorKind, TaskError};
use argon_core::time::Nanos;
use argon_core::worker::{Job, PoolInput, PoolOutput, SlotLife};
use bytes::{Bytes, BytesMut};

fn main() -> ExitCode {
    let mut args = env::args_os().skip(1);
    let mode = args.next().unwrap_or_default();
    let rest: Vec<OsString> = args.collect();
    let first = rest
        .first()
        .and_then(|arg| arg.to_str())
        .unwrap_or_default();
    let result = match mode.to_str() {
        Some("guard") => return guard::main(rest),
        Some("pool") => return runtime::builtin::main(),
        Some("tasks") => runtime::serve(Capabilities::anything(), task),
        Some("bad") => bad(first),
        Some("ignorant") => ignorant(),
        Some("worker") => worker(rest).map(|never| match never {}),
        _ => Err(io::Error::other("no such mode")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// A Rust program's own tasks.
fn task(name: &Name, payload: Payload) -> Result<Payload, TaskFailure> {
    let text = String::from_utf8_lossy(&payload);
    match name.as_str() {
        "panic" => panic!("{text}"),
        // To standard output, as tasks do.
        "say" => println!("{text}"),
        "say-and-fail" => {
            println!("{text}");
            let error = TaskError::new(ErrorKind::Raised("Sad".to_owned()), "as asked");
            return Err(TaskFailure {
                error: Box::new(error),
                detail: "detail".into(),
            });
        }
        "say-and-abort" => {
            println!("{text}");
            process::abort();
        }
        "chatter" => {
            for number in 0..100_000 {
                eprintln!("line {number}");
            }
            return Err(TaskError::new(ErrorKind::Raised("Sad".to_owned()), "as asked").into());
        }
        "fail-when-told" => {
            while !std::fs::exists(&*text).unwrap_or(true) {
                thread::sleep(Duration::from_millis(1));
            }
            eprintln!("told");
            return Err(TaskError::new(ErrorKind::Raised("Sad".to_owned()), "as asked").into());
        }
        "eat" => {
            let bytes = vec![1u8; text.parse().unwrap_or_default()];
            thread::sleep(Duration::from_secs(86_400));
            drop(bytes);
        }
        name => return Err(TaskError::new(ErrorKind::UnknownTask, name).into()),
    }
    Ok(Payload::empty())
}

fn say(body: PoolBody, payload: Payload) -> io::Result<()> {
    let mut bytes = BytesMut::new();
    codec::encode(&PoolMessage { body, payload }, &mut bytes).map_err(io::Error::other)?;
    io::stdout().write_all(&bytes)?;
    io::stdout().flush()
}

fn ready() -> io::Result<()> {
    ready_as(POOL_VERSION)
}

fn ready_as(version: Version) -> io::Result<()> {
    say(
        PoolBody::Ready {
            magic: MAGIC,
            version,
            capabilities: Capabilities::anything(),
        },
        Payload::empty(),
    )
}

fn completed(id: u64) -> io::Result<()> {
    say(
        PoolBody::Completed {
            id,
            ran: Nanos::ZERO,
        },
        Payload::empty(),
    )
}

/// Says that so many attempts completed in a row.
fn completed_many(first: u64, count: usize) -> io::Result<()> {
    let answers = vec![Answer { ran: 0, size: 0 }; count];
    let many = Answers { first, answers };
    say(PoolBody::CompletedMany(Box::new(many)), Payload::empty())
}

/// Waits until something is given, if anything ever is.
fn wait_for_work() -> io::Result<()> {
    io::stdin().read_exact(&mut [0; 16])
}

/// Programs that do not keep to the protocol.
fn bad(how: &str) -> io::Result<()> {
    match how {
        "future" => {
            let version = Version { major: 2, minor: 0 };
            say(
                PoolBody::Ready {
                    magic: MAGIC,
                    version,
                    capabilities: Capabilities::anything(),
                },
                Payload::empty(),
            )?;
        }
        "hasty" => completed(0)?,
        "twice" => {
            ready()?;
            ready()?;
        }
        "unasked" => {
            ready()?;
            completed(0)?;
        }
        "disorder" => {
            ready()?;
            wait_for_work()?;
            completed(1)?;
        }
        "many-too-new" => {
            ready_as(Version::FIRST)?;
            wait_for_work()?;
            completed_many(0, 2)?;
        }
        "many-too-few" => {
            ready()?;
            wait_for_work()?;
            completed_many(0, 1)?;
        }
        "many-disorder" => {
            ready()?;
            wait_for_work()?;
            completed_many(1, 2)?;
        }
        "many-unasked" => {
            ready()?;
            wait_for_work()?;
            completed_many(0, 3)?;
        }
        "print" => {
            ready()?;
            wait_for_work()?;
            println!("oops, I printed this to standard output");
        }
        "close" => {
            ready()?;
            wait_for_work()?;
            let null = std::fs::OpenOptions::new().write(true).open("/dev/null")?;
            nix::unistd::dup2_stdout(null)?;
        }
        "last-words" => {
            ready()?;
            // Answers at the last moment, and more of them than one look reads.
            wait_for_work()?;
            for id in 0..99 {
                let body = PoolBody::Completed {
                    id,
                    ran: Nanos::ZERO,
                };
                say(body, Bytes::from_static(&[1; 500]).into())?;
            }
            eprintln!("farewell");
            process::exit(3);
        }
        _ => return Err(io::Error::other("no such way to be bad")),
    }
    thread::sleep(Duration::from_secs(86_400));
    Ok(())
}

/// A runtime of version 1.0 that does not know that results have a limit, and ends at what it does not
/// know.
fn ignorant() -> io::Result<()> {
    ready_as(Version::FIRST)?;
    let mut input = BytesMut::new();
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let length = io::stdin().read(&mut bytes)?;
        if length == 0 {
            return Ok(());
        }
        input.extend_from_slice(&bytes[..length]);
        while let Some(message) =
            codec::decode::<PoolBody>(&mut input, 1 << 30).map_err(io::Error::other)?
        {
            let PoolBody::Run { id, .. } = message.body else {
                return Err(io::Error::other("no Run"));
            };
            let ran = Nanos::ZERO;
            say(PoolBody::Completed { id, ran }, message.payload)?;
        }
    }
}

/// A worker with one process, which runs the command on standard input.
#[tokio::main(flavor = "current_thread")]
async fn worker(args: Vec<OsString>) -> io::Result<Infallible> {
    let mut payload = Vec::new();
    io::stdin().read_to_end(&mut payload)?;
    let mut options = ProcessOptions::new("/proc/self/exe", Launcher::this_program("guard"));
    options.args = [OsString::from("pool")].into_iter().chain(args).collect();
    let mut executor = ProcessExecutor::new(options)?;
    let slot = SlotLife {
        slot: SlotId(0),
        life: 0,
    };
    executor.execute(PoolOutput::Spawn { slot });
    loop {
        let mut events = Vec::new();
        poll_fn(|cx| executor.poll(cx, &mut events)).await;
        for event in events {
            if !matches!(event, PoolInput::Ready { .. }) {
                return Err(io::Error::other(format!("{event:?}")));
            }
            let attempt = Attempt {
                epoch: Epoch(0),
                number: 0,
            };
            let task = TaskId {
                client: PeerId(0),
                seq: 0,
            };
            let name = Name::new(RUN).map_err(io::Error::other)?;
            let payload = Payload::new(Content::COMMAND, payload.clone());
            let job = Job {
                attempt,
                task,
                name,
                payload,
            };
            executor.execute(PoolOutput::Run { slot, job });
        }
    }
}
