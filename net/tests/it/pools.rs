//! A pool as a worker's driver has it, for tests with real processes.
#![allow(clippy::unwrap_used, reason = "for tests only")]

use std::collections::VecDeque;
use std::fs;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use argon::command::{CommandOutput, CommandSpec};
use argon::executor::{Executor, Launcher, ProcessExecutor, ProcessOptions};
use argon_core::ids::{Attempt, Epoch, PeerId, SlotId, TaskId};
use argon_core::name::Name;
use argon_core::payload::Payload;
use argon_core::task::{ExitCause, TaskError};
use argon_core::worker::{Job, JobEnd, PoolInput, PoolOutput, RunEnd, SlotLife};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Only ends tests that hang: nothing is asserted about time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const FIXTURE: &str = env!("CARGO_BIN_EXE_argon-pool-fixture");

static MARKS: AtomicU64 = AtomicU64::new(0);

/// A number that no other process has among its arguments, and that `sleep` takes for a day.
pub(crate) fn mark() -> String {
    let number = MARKS.fetch_add(1, Ordering::Relaxed);
    format!("86400.{}{number:04}", std::process::id())
}

pub(crate) fn launcher() -> Launcher {
    Launcher {
        program: FIXTURE.into(),
        args: vec!["guard".into()],
    }
}

/// A pool of the fixture in `mode`.
pub(crate) fn options(mode: &[&str]) -> ProcessOptions {
    let mut options = ProcessOptions::new(FIXTURE, launcher());
    options.args = mode.iter().map(Into::into).collect();
    options
}

pub(crate) struct Pool<X = ProcessExecutor> {
    executor: X,
    events: VecDeque<PoolInput>,
    attempts: u64,
}

pub(crate) fn life(slot: u32) -> SlotLife {
    SlotLife {
        slot: SlotId(slot),
        life: 7,
    }
}

impl Pool {
    pub(crate) fn new(options: ProcessOptions) -> Self {
        Self::of(ProcessExecutor::new(options).unwrap())
    }

    /// A pool with one slot that is ready.
    pub(crate) async fn ready(options: ProcessOptions) -> Self {
        let mut pool = Self::new(options);
        pool.spawn(0).await;
        pool
    }
}

/// What many of `Done` say of each attempt alone; itself if it is something else.
fn singles(event: PoolInput) -> Vec<PoolInput> {
    let PoolInput::DoneMany { slot, ends } = event else {
        return vec![event];
    };
    let single = |end: JobEnd| PoolInput::Done {
        slot,
        attempt: end.attempt,
        ran: end.ran,
        end: end.end,
        payload: end.payload,
    };
    ends.into_iter().map(single).collect()
}

impl<X: Executor> Pool<X> {
    pub(crate) fn of(executor: X) -> Self {
        Self {
            executor,
            events: VecDeque::new(),
            attempts: 0,
        }
    }

    pub(crate) fn execute(&mut self, action: PoolOutput) {
        self.executor.execute(action);
    }

    pub(crate) async fn spawn(&mut self, slot: u32) {
        self.executor
            .execute(PoolOutput::Spawn { slot: life(slot) });
        // How much memory its start takes may be known before it is ready.
        let mut event = self.next().await;
        while matches!(event, PoolInput::Memory { .. }) {
            event = self.next().await;
        }
        assert!(
            matches!(event, PoolInput::Ready { slot: ready, .. } if ready == life(slot)),
            "{event:?}"
        );
    }

    /// Gives an attempt to a slot; its number.
    pub(crate) fn run(&mut self, slot: u32, name: &str, payload: impl Into<Payload>) -> u64 {
        let job = self.job(name, payload);
        let number = job.attempt.number;
        self.executor.execute(PoolOutput::Run {
            slot: life(slot),
            job,
        });
        number
    }

    /// Gives attempts to a slot in one go; the number of the first.
    pub(crate) fn run_many(&mut self, slot: u32, names: &[&'static str]) -> u64 {
        let first = self.attempts + 1;
        let jobs = names.iter().map(|name| self.job(name, *name)).collect();
        let slot = life(slot);
        self.executor.execute(PoolOutput::RunMany { slot, jobs });
        first
    }

    fn job(&mut self, name: &str, payload: impl Into<Payload>) -> Job {
        self.attempts += 1;
        let number = self.attempts;
        Job {
            attempt: Attempt {
                epoch: Epoch(1),
                number,
            },
            task: TaskId {
                client: PeerId(2),
                seq: number,
            },
            name: Name::new(name).unwrap(),
            payload: payload.into(),
        }
    }

    /// The next that happens.
    pub(crate) async fn next(&mut self) -> PoolInput {
        let next = async {
            while self.events.is_empty() {
                let mut events = Vec::new();
                poll_fn(|cx| self.executor.poll(cx, &mut events)).await;
                assert!(!events.is_empty(), "ready without an event");
                self.events.extend(events.into_iter().flat_map(singles));
            }
        };
        // The deadline is looked at first: its own wake-up must not be what carries things on.
        tokio::select! {
            biased;
            () = tokio::time::sleep(PATIENCE) => panic!("nothing happened"),
            () = next => {}
        }
        self.events.pop_front().unwrap()
    }

    /// The next that happens must be the end of this attempt.
    pub(crate) async fn done(&mut self, number: u64) -> (RunEnd, Payload) {
        match self.next().await {
            PoolInput::Done {
                attempt,
                end,
                payload,
                ..
            } => {
                assert_eq!(attempt.number, number);
                (end, payload)
            }
            event => panic!("{event:?}"),
        }
    }

    /// The next that happens must be the end of the process.
    pub(crate) async fn exited(&mut self) -> (ExitCause, String) {
        match self.next().await {
            PoolInput::Exited { cause, stderr, .. } => (cause, stderr),
            event => panic!("{event:?}"),
        }
    }

    /// Runs an attempt to its end in slot 0.
    pub(crate) async fn call(
        &mut self,
        name: &str,
        payload: impl Into<Payload>,
    ) -> (RunEnd, Payload) {
        let number = self.run(0, name, payload);
        self.done(number).await
    }

    /// Runs a command that must succeed.
    pub(crate) async fn command(&mut self, spec: &CommandSpec) -> CommandOutput {
        let (end, payload) = self.call("run", spec.encode()).await;
        assert_eq!(end, RunEnd::Completed);
        CommandOutput::decode(&payload).unwrap()
    }

    /// Runs something that must fail.
    pub(crate) async fn failure(
        &mut self,
        name: &str,
        payload: impl Into<Payload>,
    ) -> (TaskError, Payload) {
        match self.call(name, payload).await {
            (RunEnd::Failed(error), payload) => (*error, payload),
            (RunEnd::Completed, payload) => panic!("completed: {payload:?}"),
        }
    }

    /// Carries on as far as it goes now.
    pub(crate) async fn turn(&mut self) {
        let mut events = Vec::new();
        poll_fn(|cx| {
            let _ = self.executor.poll(cx, &mut events);
            Poll::Ready(())
        })
        .await;
        self.events.extend(events);
    }

    /// Carries on until `done` says so.
    pub(crate) async fn until(&mut self, mut done: impl FnMut() -> bool) {
        let work = async {
            while !done() {
                self.turn().await;
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(PATIENCE, work)
            .await
            .expect("it did not come to pass");
    }
}

/// Holds this thread, and with it the executor, until `done` says so.
pub(crate) fn wait_blindly(mut done: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "it did not come to pass");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub(crate) fn shell(script: &str) -> CommandSpec {
    CommandSpec::new(["sh", "-c", script])
}

/// A shell command that leaves processes in every way there is and then waits: a child, one with
/// a session of its own, and a daemon with a child.
pub(crate) fn family(mark: &str) -> CommandSpec {
    shell(&format!(
        "sleep {mark} & setsid sleep {mark} & \
         (setsid sh -c 'trap : TERM HUP; sleep {mark} & setsid sleep {mark}' &) ; sleep {mark}"
    ))
}
/// How many `sleep`s a family has.
pub(crate) const FAMILY: usize = 5;

/// The processes that have `mark` among their arguments and whose first arguments are these.
pub(crate) fn find(mark: &str, command: &[&str]) -> Vec<Pid> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|pid| pid.parse().ok()) else {
            continue;
        };
        let cmdline = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let cmdline = String::from_utf8_lossy(&cmdline).into_owned();
        let args: Vec<&str> = cmdline.split('\0').collect();
        let starts = args.len() >= command.len() && args.iter().zip(command).all(|(a, b)| a == b);
        if starts && cmdline.contains(mark) {
            found.push(Pid::from_raw(pid));
        }
    }
    found
}

/// Whether any process has `mark` among its arguments.
pub(crate) fn gone(mark: &str) -> bool {
    find(mark, &[]).is_empty()
}

pub(crate) fn kill_9(pid: Pid) {
    kill(pid, Signal::SIGKILL).unwrap();
}
