//! How fast pools are: round trips of the pool protocol, commands, and threads.
//!
//! `cargo run --release --example pool_rates`

use std::env;
use std::error::Error;
use std::future::poll_fn;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use argon::Payload;
use argon::command::{CommandSpec, RUN};
use argon::executor::{Executor, Launcher, ProcessExecutor, ProcessOptions, ThreadExecutor};
use argon::{guard, runtime};
use argon_core::ids::{Attempt, Epoch, PeerId, SlotId, TaskId};
use argon_core::name::Name;
use argon_core::worker::{Job, PoolInput, PoolOutput, SlotLife};

/// How long each figure is measured.
const SPAN: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let mut args = env::args_os().skip(1);
    match args.next().as_ref().and_then(|arg| arg.to_str()) {
        Some("guard") => guard::main(args),
        Some("pool") => runtime::builtin::main(),
        _ => match measure() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        },
    }
}

#[tokio::main(flavor = "current_thread")]
async fn measure() -> Result<(), Box<dyn Error>> {
    let pool = || {
        let mut options = ProcessOptions::new("/proc/self/exe", Launcher::this_program("guard"));
        options.args = vec!["pool".into()];
        ProcessExecutor::new(options)
    };
    let (noop, run) = (Name::new("noop")?, Name::new(RUN)?);
    for window in [1, 16, 128, 512] {
        let rate = rate(pool()?, 1, window, &noop, &Payload::empty()).await?;
        println!("noop, 1 process, {window} ahead: {rate:.0}/s");
    }
    let spec = CommandSpec::new(["true"]).encode();
    for processes in [1, 2] {
        let rate = rate(pool()?, processes, 1, &run, &spec).await?;
        println!("run true, {processes} processes: {rate:.0}/s");
    }
    for (threads, window) in [(1, 1), (1, 16), (1, 128), (1, 1024), (2, 1024)] {
        let executor = ThreadExecutor::new(
            runtime::builtin::capabilities(false),
            runtime::builtin::simple,
        );
        let rate = rate(executor, threads, window, &noop, &Payload::empty()).await?;
        println!("noop, {threads} threads, {window} ahead: {rate:.0}/s");
    }
    let begun = Instant::now();
    let mut executor = pool()?;
    let mut events = Vec::new();
    for life in 0..50 {
        let slot = SlotLife {
            slot: SlotId(0),
            life,
        };
        executor.execute(PoolOutput::Spawn { slot });
        poll_fn(|cx| executor.poll(cx, &mut events)).await;
        executor.execute(PoolOutput::Retire { slot });
        poll_fn(|cx| executor.poll(cx, &mut events)).await;
    }
    println!("start to end of a process: {:?}", begun.elapsed() / 50);
    Ok(())
}

/// Attempts a second, with `window` of them given ahead to each slot.
async fn rate(
    mut executor: impl Executor,
    slots: u32,
    window: usize,
    name: &Name,
    payload: &Payload,
) -> Result<f64, Box<dyn Error>> {
    let attempt = Attempt {
        epoch: Epoch(0),
        number: 0,
    };
    let task = TaskId {
        client: PeerId(0),
        seq: 0,
    };
    let run = |slot| {
        let (name, payload) = (name.clone(), payload.clone());
        PoolOutput::Run {
            slot,
            job: Job {
                attempt,
                task,
                name,
                payload,
            },
        }
    };
    for slot in 0..slots {
        executor.execute(PoolOutput::Spawn {
            slot: SlotLife {
                slot: SlotId(slot),
                life: 0,
            },
        });
    }
    let mut events = Vec::new();
    let mut ready = 0;
    let (mut begun, mut done) = (Instant::now(), 0u64);
    loop {
        poll_fn(|cx| executor.poll(cx, &mut events)).await;
        for event in events.drain(..) {
            match event {
                PoolInput::Ready { slot, .. } => {
                    (0..window).for_each(|_| executor.execute(run(slot)));
                    ready += 1;
                    if ready == slots {
                        (begun, done) = (Instant::now(), 0);
                    }
                }
                PoolInput::Done { slot, .. } => {
                    done += 1;
                    executor.execute(run(slot));
                }
                PoolInput::DoneMany { slot, ends } => {
                    done += ends.len() as u64;
                    ends.iter().for_each(|_| executor.execute(run(slot)));
                }
                event => return Err(format!("{event:?}").into()),
            }
        }
        if ready == slots && begun.elapsed() > SPAN {
            return Ok(done as f64 / begun.elapsed().as_secs_f64());
        }
        tokio::task::coop::consume_budget().await;
    }
}
