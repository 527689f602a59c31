//! The guard: a small process between a worker and each program of its pool.
//!
//! It exists so that no program, and nothing that a program starts, outlives its attempt or its
//! worker, whoever dies first and however. It keeps the worker free of `pre_exec`, which would
//! make every start copy the worker's page tables.
//!
//! - It is the *subreaper* of its program: whatever the program starts, even with double forks and
//!   sessions of its own, stays a descendant of the guard until it is dead.
//! - When the program ends, the guard kills what is left, reaps it, and ends in the same way as
//!   the program did (a program that died of SIGPIPE shows as exit code 141).
//! - SIGTERM (or SIGINT, SIGHUP) is passed on to all descendants; the guard then ends when the
//!   last of them has, so that all of them have the time that the worker allows.
//! - SIGUSR1 means: kill all now. The kernel sends it when the worker dies.
//! - If the guard itself is killed, the kernel kills the program, and the worker, a subreaper too,
//!   finds and kills the rest.
//!
//! What it cannot hold: programs that change their credentials (`sudo`) lose the kernel's promise
//! to kill them with their parent, and may not be killable at all.
//!
//! A binary that runs pools makes [`main`] one of its subcommands and names it in
//! [`Launcher`](crate::executor::Launcher).

use std::convert::Infallible;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{self, Command, ExitCode, ExitStatus};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal, kill, raise};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, dup2_stderr, dup2_stdin, dup2_stdout, getppid};

use crate::proc::{Table, kill_all};

/// Tells a guard to kill everything below it.
pub(crate) const KILL_SIGNAL: Signal = Signal::SIGUSR1;
/// What a guard writes where the program's first frame is expected, followed by the reason, if
/// the program cannot be started. As the length of a frame its first four bytes are above every
/// limit, so nothing that a program says can be mistaken for it.
pub(crate) const NOT_STARTED: &[u8] = b"ARGN not started: ";
/// Where the program, and all that it starts, finds the guard's process id.
pub(crate) const GUARD: &str = "ARGON_GUARD";
/// First argument: watch over the program that follows.
pub(crate) const WATCH: &str = "watch";
/// First argument: become the program that follows.
const EXEC: &str = "exec";
/// Pool programs are the first that the kernel ends when memory runs out, before their worker.
const OOM_SCORE: &str = "500";
/// Pauses between looks for processes that are being killed.
const KILL_PAUSE: Duration = Duration::from_micros(200);
/// Pauses for the program alone to die.
const ALONE_PAUSES: u32 = 10;
const KILL_PAUSE_MAX: Duration = Duration::from_millis(20);

/// Runs a guard. `args` are the arguments after the subcommand: `watch PARENT PROGRAM ARGS...`,
/// as the executor of pool processes gives them.
///
/// Must be called on the main thread before any other is started: signals are blocked here and
/// the program's life is tied to this thread.
#[must_use]
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let usage = || {
        eprintln!("this command is for the worker's own use");
        ExitCode::from(2)
    };
    let [mode, parent, program, rest @ ..] = &args[..] else {
        return usage();
    };
    let Some(parent) = parent
        .to_str()
        .and_then(|pid| pid.parse().ok())
        .map(Pid::from_raw)
    else {
        return usage();
    };
    if mode == WATCH {
        let all: Vec<OsString> = env::args_os().collect();
        let prefix = all.get(1..all.len() - args.len()).unwrap_or_default();
        watch(parent, prefix, program, rest)
    } else if mode == EXEC {
        let Err(error) = become_program(parent, program, rest);
        not_started(program, &error)
    } else {
        usage()
    }
}

/// Says on standard output, to the worker, why the program does not run.
fn not_started(program: &OsStr, error: &io::Error) -> ExitCode {
    let reason = match error.raw_os_error() {
        Some(code) => Errno::from_raw(code).desc().to_owned(),
        None => error.to_string(),
    };
    let mut text = NOT_STARTED.to_vec();
    text.extend_from_slice(format!("cannot run {}: {reason}", program.display()).as_bytes());
    // If this fails too, the worker sees the exit code.
    let _ = io::stdout()
        .write_all(&text)
        .and_then(|()| io::stdout().flush());
    ExitCode::from(127)
}

/// Makes this process the program, bound to the life of the guard.
fn become_program(parent: Pid, program: &OsStr, args: &[OsString]) -> io::Result<Infallible> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    if getppid() != parent {
        // The guard died before the line above.
        return Err(io::Error::other("the worker is gone"));
    }
    let (_, hard) = getrlimit(Resource::RLIMIT_CORE)?;
    setrlimit(Resource::RLIMIT_CORE, 0, hard)?;
    // Not allowed everywhere, and only good manners.
    let _ = fs::write("/proc/self/oom_score_adj", OOM_SCORE);
    SigSet::empty().thread_set_mask()?;
    Err(Command::new(program)
        .args(args)
        .env(GUARD, parent.to_string())
        .exec())
}

fn watch(parent: Pid, prefix: &[OsString], program: &OsStr, args: &[OsString]) -> ExitCode {
    // In this order: blocked first, a signal from here on waits until it is asked for.
    let mut signals = SigSet::empty();
    for signal in [
        Signal::SIGCHLD,
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        KILL_SIGNAL,
    ] {
        signals.add(signal);
    }
    let prepared = signals
        .thread_block()
        .and_then(|()| prctl::set_child_subreaper(true))
        .and_then(|()| prctl::set_pdeathsig(KILL_SIGNAL));
    if let Err(error) = prepared {
        return not_started(program, &error.into());
    }
    if getppid() != parent {
        return ExitCode::FAILURE;
    }
    let _ = prctl::set_name(c"argon-guard");
    let started = Command::new("/proc/self/exe")
        .args(prefix)
        .arg(EXEC)
        .arg(process::id().to_string())
        .arg(program)
        .args(args)
        .spawn();
    let child = match started {
        Ok(child) => Pid::from_raw(child.id().cast_signed()),
        Err(error) => return not_started(program, &error),
    };
    release_stdio();
    end_as(Watch::new(child).run(&signals))
}

/// Lets go of the pipes, so that the worker sees when the program and its like have.
fn release_stdio() {
    if let Ok(null) = OpenOptions::new().read(true).write(true).open("/dev/null") {
        let _ = dup2_stdin(&null)
            .and_then(|()| dup2_stdout(&null))
            .and_then(|()| dup2_stderr(&null));
    }
}

/// A program under watch.
struct Watch {
    program: Pid,
    /// How the program ended, once it has.
    status: Option<ExitStatus>,
    /// Whether everything was asked to end.
    asked: bool,
}

impl Watch {
    fn new(program: Pid) -> Self {
        Self {
            program,
            status: None,
            asked: false,
        }
    }

    /// Until nothing is left; how the program ended.
    fn run(mut self, signals: &SigSet) -> ExitStatus {
        loop {
            let left = self.reap();
            match self.status {
                Some(status) if !left => return status,
                // Nobody asked the leftovers to end, so they have no time to.
                Some(_) if !self.asked => return self.kill_all(),
                _ => {}
            }
            match signals.wait() {
                Ok(KILL_SIGNAL) => return self.kill_all(),
                Ok(Signal::SIGCHLD) | Err(_) => {}
                Ok(_) => self.ask_all(),
            }
        }
    }

    /// Takes in the dead; whether any child is left.
    fn reap(&mut self) -> bool {
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) if pid == self.program => {
                    self.status = Some(ExitStatus::from_raw((code & 0xff) << 8));
                }
                Ok(WaitStatus::Signaled(pid, signal, _)) if pid == self.program => {
                    self.status = Some(ExitStatus::from_raw(signal as i32));
                }
                Ok(WaitStatus::StillAlive) => return true,
                Ok(_) | Err(Errno::EINTR) => {}
                Err(_) => return false,
            }
        }
    }

    /// Passes SIGTERM on to all descendants there are. One that is being started just now is left
    /// out, since it cannot be told from one that is started to clean up.
    fn ask_all(&mut self) {
        self.asked = true;
        for process in Table::read().descendants(process::id().cast_signed()) {
            let _ = kill(Pid::from_raw(process.pid), Signal::SIGTERM);
        }
    }

    /// Kills until nothing is left that can be killed.
    fn kill_all(mut self) -> ExitStatus {
        if self.status.is_none() {
            // Alone at first: mostly it has nobody below it, and a look at all processes of the
            // host is saved.
            let _ = kill(self.program, Signal::SIGKILL);
            for _ in 0..ALONE_PAUSES {
                if !self.reap() || self.status.is_some() {
                    break;
                }
                thread::sleep(KILL_PAUSE);
            }
        }
        kill_descendants(|| self.reap());
        self.status
            .unwrap_or_else(|| ExitStatus::from_raw(Signal::SIGKILL as i32))
    }
}

/// Kills the descendants of this process, which must be a subreaper, until `reap` says that no
/// child is left, or only such are left as may not be killed.
pub(crate) fn kill_descendants(mut reap: impl FnMut() -> bool) {
    let mut pause = KILL_PAUSE;
    while reap() {
        let descendants = Table::read().descendants(process::id().cast_signed());
        let mut alive = descendants
            .iter()
            .filter(|process| !process.zombie)
            .peekable();
        if alive.peek().is_some() && kill_all(alive) == 0 {
            return;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(KILL_PAUSE_MAX);
    }
}

/// Ends this process as another one ended.
fn end_as(status: ExitStatus) -> ExitCode {
    if let Some(signal) = status
        .signal()
        .and_then(|signal| Signal::try_from(signal).ok())
    {
        let quiet = getrlimit(Resource::RLIMIT_CORE)
            .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_CORE, 0, hard));
        if quiet.is_ok() {
            let _ = SigSet::from(signal).thread_unblock();
            let _ = raise(signal);
        }
        return ExitCode::from(128 + signal as u8);
    }
    ExitCode::from(
        status
            .code()
            .and_then(|code| u8::try_from(code).ok())
            .unwrap_or(1),
    )
}
