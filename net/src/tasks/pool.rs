//! This program as a pool process.

use std::env;
use std::error::Error;
use std::io::{self, IsTerminal};
use std::process::{self, ExitCode};
use std::thread;

use nix::unistd::getppid;

use super::Tasks;
use crate::guard::GUARD;
use crate::runtime;

/// How a program ends that was not started by a worker.
const NOT_A_POOL: u8 = 2;

/// Whether a worker has started this process to run tasks: whether it is the PROGRAM of `argon
/// worker -- PROGRAM`. Programs that such a process starts are none. A script between the worker
/// and this program must `exec` it.
#[must_use]
pub fn is_pool() -> bool {
    // The guard above a pool process leaves its own id, which all below inherit.
    let guard = env::var(GUARD).ok().and_then(|text| text.parse().ok());
    guard.is_some_and(|guard: i32| guard == getppid().as_raw())
}

/// Runs this program's tasks for the worker that has started it, one at a time, until the worker
/// has no more for it. This is all that a program needs in `main` that does nothing else:
///
/// ```no_run
/// #[argon::task]
/// fn shout(text: &str) -> String {
///     text.to_uppercase()
/// }
///
/// fn main() -> std::process::ExitCode {
///     argon::serve()
/// }
/// ```
///
/// Then `argon worker --manager HOST:PORT -- ./this-program` runs them, in as many processes as
/// it has `--workers`. What tasks print goes to standard error; they may use any runtime and any
/// number of threads. One that is `async` runs on a tokio runtime with one thread, and what it
/// spawns goes on only while further such tasks run in this process.
#[must_use]
pub fn serve() -> ExitCode {
    Tasks::all().serve()
}

/// If a worker has started this process, runs its tasks and ends it; else does nothing. For
/// programs that are clients and pools in one: this is their first line.
///
/// ```no_run
/// # #[argon::task]
/// # fn square(x: u64) -> u64 { x * x }
/// #[tokio::main]
/// async fn main() -> Result<(), argon::Error> {
///     argon::serve_if_pool();
///     let client = argon::Client::connect("127.0.0.1:8000").await?;
///     println!("{}", client.process(square(9)).await?);
///     Ok(())
/// }
/// ```
pub fn serve_if_pool() {
    if is_pool() {
        let failed = run_here(Tasks::all()).is_err();
        process::exit(i32::from(failed));
    }
}

pub(super) fn run(tasks: Tasks) -> ExitCode {
    if io::stdin().is_terminal() {
        eprintln!(
            "this program runs tasks for a worker; start one with\n\
             argon worker --manager HOST:PORT -- {}",
            env::args().next().unwrap_or_default()
        );
        return ExitCode::from(NOT_A_POOL);
    }
    match run_here(tasks) {
        Ok(()) => ExitCode::SUCCESS,
        Err(()) => ExitCode::FAILURE,
    }
}

/// On a thread of its own: tasks have a runtime of their own, and this one may be in another.
fn run_here(tasks: Tasks) -> Result<(), ()> {
    let serve = || -> Result<(), Box<dyn Error + Send + Sync>> {
        let capabilities = tasks.capabilities()?;
        let handler = |name: &_, payload| tasks.run(name, payload);
        Ok(runtime::serve(capabilities, handler)?)
    };
    let served = thread::scope(|scope| {
        let thread = thread::Builder::new().name("argon-tasks".to_owned());
        match thread.spawn_scoped(scope, serve) {
            Ok(thread) => thread
                .join()
                .unwrap_or_else(|_| Err("a defect of Argon".into())),
            Err(error) => Err(error.into()),
        }
    });
    served.map_err(|problem| eprintln!("the pool process ends: {problem}"))
}
