//! Tasks that wait at the manager, connections that do nothing, and a batch that is timed.

use std::time::Duration;

use argon::{Client, LinkState, Outcome};

use super::{connect, spec};
use crate::clock::now;
use crate::parts::{allow_files, announce};
use crate::{Problem, task};

/// How long the tasks of a batch and of a filled queue would wait, if they could.
const LONG: Duration = Duration::from_secs(3600);
/// Connections that are opened at a time.
const DIALS: usize = 256;

async fn forever() -> Result<(), Problem> {
    std::future::pending().await
}

/// Submits so many tasks that take long, and holds on.
pub(crate) async fn fill(manager: &str, tasks: usize) -> Result<(), Problem> {
    let client = connect(manager, tasks)?;
    let spec = spec(LONG);
    let mut held = Vec::with_capacity(tasks);
    for number in 0..tasks {
        held.push(client.submit(spec.clone()).await?);
        if number % 1_024 == 0 {
            tokio::task::yield_now().await;
        }
    }
    announce("submitted");
    forever().await
}

/// Opens so many connections, and holds on.
pub(crate) async fn idle(manager: &str, connections: usize) -> Result<(), Problem> {
    allow_files();
    let mut clients: Vec<Client> = Vec::new();
    while clients.len() < connections {
        let from = clients.len();
        for _ in 0..DIALS.min(connections - from) {
            clients.push(connect(manager, 1)?);
        }
        for client in &clients[from..] {
            while !matches!(client.link(), LinkState::Connected { .. }) {
                client.link_changed().await;
            }
        }
    }
    announce("connected");
    forever().await
}

/// Submits so many tasks that ask for a long wait at the first worker that takes them, and says
/// when the last result came.
pub(crate) async fn batch(manager: &str, tasks: usize) -> Result<(), Problem> {
    let client = connect(manager, tasks)?;
    let spec = spec(LONG);
    let mut held = Vec::new();
    for _ in 0..tasks {
        held.push(client.submit(spec.clone()).await?);
    }
    announce("submitted");
    for submission in held {
        let ended = submission.await;
        if !matches!(ended.outcome, Outcome::Completed(_)) {
            return Err(format!("{:?}", ended.outcome).into());
        }
        debug_assert!(task::wait(&ended.payload) == LONG);
    }
    announce(&serde_json::json!({ "last": now() }).to_string());
    Ok(())
}
