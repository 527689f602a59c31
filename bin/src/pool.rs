//! The pool of processes that a worker or a standalone command runs.

use std::ffi::OsString;
use std::fs;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::path::PathBuf;
use std::process;

use argon::Name;
use argon::executor::{Launcher, ProcessExecutor, ProcessOptions};

use crate::problem::Problem;

/// Our own subcommand that watches over a pool process.
pub(crate) const GUARD: &str = "pool-guard";
/// Our own subcommand that is a pool process of the built-in runtime.
pub(crate) const RUNTIME: &str = "pool-runtime";
/// Most characters of the host's name in ours.
const HOST_CHARS: usize = 40;

/// Runs `program`, or the built-in runtime if that is empty; `change` has the last word on how.
pub(crate) fn executor(
    program: &[OsString],
    change: impl FnOnce(&mut ProcessOptions),
) -> Result<ProcessExecutor, Problem> {
    let launcher = Launcher::this_program(GUARD);
    let mut options = match program {
        [program, args @ ..] => {
            let mut options = ProcessOptions::new(PathBuf::from(program), launcher);
            options.args = args.to_vec();
            options
        }
        [] => {
            let mut options = ProcessOptions::new("/proc/self/exe", launcher);
            options.args = vec![RUNTIME.into()];
            options
        }
    };
    change(&mut options);
    ProcessExecutor::new(options)
        .map_err(|error| Problem::new(format!("cannot run pool processes here: {error}")))
}

/// How many run at once if nothing else is asked for: one for each CPU that we may use.
pub(crate) fn cpus() -> u32 {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    u32::try_from(cpus).unwrap_or(1)
}

/// The host and this process: no two workers share it.
pub(crate) fn default_name() -> Result<Name, Problem> {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host: String = host
        .trim()
        .chars()
        .filter(|c| !c.is_control())
        .take(HOST_CHARS)
        .collect();
    let host = if host.is_empty() { "worker" } else { &host };
    // Containers often have the same host name and process id.
    let random = RandomState::new().build_hasher().finish() as u16;
    Ok(Name::new(&format!(
        "{host}-{}-{random:04x}",
        process::id()
    ))?)
}
