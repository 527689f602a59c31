//! Loads and workers on the library.

mod bytes;
mod flood;
mod held;
mod load;
mod open;
mod waiters;

use argon::executor::ThreadExecutor;
use argon::{
    Capabilities, Client, ClientOptions, Name, Payload, TaskSpec, WorkerOptions, WorkerServer,
};

pub(crate) use self::bytes::bytes;
pub(crate) use self::flood::flood;
pub(crate) use self::held::{batch, fill, idle};
pub(crate) use self::load::client;
pub(crate) use self::open::{Load, Phase, open};
pub(crate) use self::waiters::waiters;
use crate::{Problem, task};

fn name(text: &str) -> Name {
    Name::new(text).expect("a short name")
}

/// The name of the task of all loads.
const NOOP: &str = "noop";

/// A task that waits for so long.
fn spec(wait: std::time::Duration) -> TaskSpec {
    TaskSpec::new(name(NOOP), task::new(wait).to_vec())
}

/// Runs a task as a function of the library does.
fn run(payload: Payload) -> Payload {
    if task::wait(&payload).is_zero() {
        return payload;
    }
    let mut bytes = payload.to_vec();
    task::run(&mut bytes);
    bytes.into()
}

fn executor() -> ThreadExecutor {
    ThreadExecutor::new(Capabilities::anything(), |_: &Name, payload| {
        Ok(run(payload))
    })
}

/// A worker that runs tasks on so many threads.
pub(crate) async fn worker(manager: &str, threads: u64) -> Result<(), Problem> {
    serve(manager, threads, executor()).await
}

/// The same, but tasks are done at once, however long they ask to wait.
pub(crate) async fn echo(manager: &str, threads: u64) -> Result<(), Problem> {
    let executor = ThreadExecutor::new(Capabilities::anything(), |_: &Name, payload| Ok(payload));
    serve(manager, threads, executor).await
}

async fn serve(manager: &str, threads: u64, executor: ThreadExecutor) -> Result<(), Problem> {
    let label = name(&format!("threads-{}", std::process::id()));
    let threads = u32::try_from(threads)?;
    let options = WorkerOptions::new(vec![manager.to_owned()], label, threads)?;
    WorkerServer::new(options, executor)?.run().await?;
    Ok(())
}

/// A pool process.
pub(crate) fn pool() -> std::io::Result<()> {
    argon::runtime::serve(Capabilities::anything(), |_, payload| {
        Ok::<_, argon::runtime::TaskFailure>(run(payload))
    })
}

/// A client that holds up to `tasks`, and tries again for ever.
fn connect(manager: &str, tasks: usize) -> Result<Client, Problem> {
    let mut options = ClientOptions::new(vec![manager.to_owned()]);
    options.tasks = tasks.max(options.tasks);
    options.retries = None;
    Ok(Client::start(options)?)
}
