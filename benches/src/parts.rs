//! What the program of parts does, by its first argument.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::Duration;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tokio::runtime::{Builder, Runtime};

use crate::{Problem, argon_side, floor, gearman};

/// Says something to the benchmark that started this process. Nobody has to read it.
pub(crate) fn announce(line: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Raises the limit on open files as far as the system lets us; what children inherit, too.
pub(crate) fn allow_files() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// A runtime of one thread, as the manager has.
pub(crate) fn runtime() -> io::Result<Runtime> {
    argon::yield_before_sleep(Builder::new_current_thread().enable_all()).build()
}

/// A runtime of one thread as tokio makes it.
fn plain_runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// The main function of the program of parts.
#[must_use]
pub fn parts() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            let what = arguments.first().cloned().unwrap_or_default();
            eprintln!("argon-bench-parts {}: {problem}", what.display());
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[OsString]) -> Result<(), Problem> {
    let texts: Vec<&str> = arguments.iter().filter_map(|text| text.to_str()).collect();
    let text = |index: usize| texts.get(index).copied().unwrap_or_default();
    let number = |index: usize| {
        let text = text(index);
        let wrong = |_| format!("`{text}` is no number");
        text.parse::<u64>().map_err(wrong)
    };
    let count = |index| number(index).map(|number| number as usize);
    let micros = |index| number(index).map(Duration::from_micros);
    let address = text(1);
    match text(0) {
        "leash" => leash(arguments),
        "floor-relay" => Ok(plain_runtime()?.block_on(floor::relay())?),
        "floor-manager" => Ok(plain_runtime()?.block_on(floor::manager(count(1)?))?),
        "floor-worker" => Ok(plain_runtime()?.block_on(floor::worker(address))?),
        "floor-pool" => Ok(plain_runtime()?.block_on(floor::pool(address))?),
        "floor-children" => {
            let children = floor::children(address, count(2)?, count(3)?);
            Ok(plain_runtime()?.block_on(children)?)
        }
        "floor-child" => Ok(plain_runtime()?.block_on(floor::child())?),
        "floor-client" => {
            let client = floor::client(address, count(2)?, micros(3)?, micros(4)?);
            say(plain_runtime()?.block_on(client)?)
        }
        "gearman-worker" => Ok(gearman::worker(address, count(2)?, count(3)?)?),
        "gearman-client" => say(gearman::client(address, count(2)?, micros(3)?)?),
        "argon-worker" => runtime()?.block_on(argon_side::worker(address, number(2)?)),
        "argon-echo" => runtime()?.block_on(argon_side::echo(address, number(2)?)),
        "argon-waiters" => runtime()?.block_on(argon_side::waiters(address, count(2)?, number(3)?)),
        "argon-pool" => Ok(argon_side::pool()?),
        "argon-client" => {
            let client = argon_side::client(address, count(2)?, micros(3)?, micros(4)?);
            say(runtime()?.block_on(client)?)
        }
        "argon-bytes" => {
            let bytes = argon_side::bytes(address, count(2)?, count(3)?);
            say(runtime()?.block_on(bytes)?)
        }
        "argon-fill" => runtime()?.block_on(argon_side::fill(address, count(2)?)),
        "argon-idle" => runtime()?.block_on(argon_side::idle(address, count(2)?)),
        "argon-batch" => runtime()?.block_on(argon_side::batch(address, count(2)?)),
        "argon-open" => {
            let load = serde_json::from_str(text(2))?;
            runtime()?.block_on(argon_side::open(address, load))
        }
        "argon-flood" => {
            let flood = argon_side::flood(address, count(2)?, micros(3)?);
            say(runtime()?.block_on(flood)?)
        }
        other => Err(format!("there is no part `{other}`").into()),
    }
}

fn say(report: serde_json::Value) -> Result<(), Problem> {
    announce(&report.to_string());
    Ok(())
}

/// `leash CORE COMMAND...`: becomes the command, which ends when the benchmark does, however that
/// ends, and runs on one core if `CORE` is not `-`.
fn leash(arguments: &[OsString]) -> Result<(), Problem> {
    let [_, core, program, rest @ ..] = arguments else {
        return Err("leash CORE COMMAND...".into());
    };
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    if core != "-" {
        let mut cores = CpuSet::new();
        cores.set(core.to_string_lossy().parse()?)?;
        sched_setaffinity(Pid::from_raw(0), &cores)?;
    }
    Err(Command::new(program).args(rest).exec().into())
}
