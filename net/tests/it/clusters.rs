//! What tests of the whole need again and again.
#![allow(clippy::unwrap_used, reason = "only tests use it")]

use argon::executor::ThreadExecutor;
use argon::{
    Capabilities, Client, ManagerOptions, ManagerServer, Name, Outcome, TaskSpec, WorkerOptions,
    WorkerServer,
};
use tokio::task::JoinHandle;

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// Threads that echo; `block` never ends.
pub(crate) fn threads() -> ThreadExecutor {
    ThreadExecutor::new(
        Capabilities::anything(),
        |name: &Name, payload| match name.as_str() {
            "block" => loop {
                std::thread::park();
            },
            _ => Ok(payload),
        },
    )
}

/// A manager on a port of the system's choice, and its address.
pub(crate) async fn manager() -> (ManagerServer, String) {
    let options = ManagerOptions::new("127.0.0.1:0").unwrap();
    let server = ManagerServer::bind(options).await.unwrap();
    let address = server.local_addr().to_string();
    (server, address)
}

pub(crate) fn worker(manager: &str, called: &str, capacity: u32) -> WorkerServer {
    let options = WorkerOptions::new(vec![manager.to_owned()], name(called), capacity).unwrap();
    WorkerServer::new(options, threads()).unwrap()
}

pub(crate) fn echo_worker(
    manager: &str,
    called: &str,
    capacity: u32,
) -> JoinHandle<Result<(), argon::RunError>> {
    tokio::spawn(worker(manager, called, capacity).run())
}

/// Sends `count` payloads of `size` bytes and checks that each comes back.
pub(crate) async fn echoes(client: &Client, count: usize, size: usize) {
    let mut waiting = Vec::new();
    for index in 0..count {
        let payload = vec![index as u8; size];
        let spec = TaskSpec::new(name("echo"), payload.clone());
        waiting.push((payload, client.submit(spec).await.unwrap()));
    }
    for (payload, submission) in waiting {
        let ended = submission.await;
        assert!(
            matches!(ended.outcome, Outcome::Completed(_)),
            "{:?}",
            ended.outcome
        );
        assert!(ended.payload == payload.into(), "another payload came back");
    }
}
