//! The floor's load: so many tasks under way, for so long.

use std::cell::Cell;
use std::io;
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Notify;

use super::frames::{BODY, CLIENT, Inbox, dial, each};
use crate::clock::now;
use crate::histogram::{latencies, report};
use crate::task;

/// Tasks that may be sent, shared between the two directions.
struct Credit {
    tasks: Cell<usize>,
    more: Notify,
}

/// Keeps `in_flight` tasks under way; each waits for `wait`.
pub(crate) async fn client(
    address: &str,
    in_flight: usize,
    span: Duration,
    wait: Duration,
) -> io::Result<Value> {
    let (mut read, write) = dial(address, CLIENT).await?.into_split();
    let credit = Credit {
        tasks: Cell::new(in_flight),
        more: Notify::new(),
    };
    let count = async {
        let mut inbox = Inbox::default();
        let mut histogram = latencies();
        let mut waited = Duration::ZERO;
        let begun = now();
        let until = begun + span.as_nanos() as u64;
        loop {
            let frames = inbox.read(&mut read).await?;
            let time = now();
            if frames.is_empty() {
                return Err(io::Error::other("the manager has gone"));
            }
            let mut done = 0;
            each(frames, |body| {
                let sent = body
                    .first_chunk()
                    .map_or(0, |sent| u64::from_le_bytes(*sent));
                histogram
                    .record(time.saturating_sub(sent))
                    .expect("it grows");
                waited += task::waited(body);
                done += 1;
            })?;
            if time >= until {
                let tasks = histogram.len();
                let mut report = report(&histogram, tasks, (time - begun) as f64 / 1e9);
                report["waited"] = (waited.as_secs_f64() / tasks as f64).into();
                return Ok(report);
            }
            credit.tasks.set(credit.tasks.get() + done);
            credit.more.notify_one();
        }
    };
    tokio::select! {
        report = count => report,
        error = send(write, &credit, wait) => Err(error),
    }
}

async fn send(mut write: OwnedWriteHalf, credit: &Credit, wait: Duration) -> io::Error {
    let mut batch = Vec::new();
    let mut task = task::new(wait);
    loop {
        let count = credit.tasks.replace(0);
        if count == 0 {
            credit.more.notified().await;
            continue;
        }
        batch.clear();
        task[..8].copy_from_slice(&now().to_le_bytes());
        for _ in 0..count {
            batch.extend_from_slice(&(BODY as u32).to_be_bytes());
            batch.extend_from_slice(&task);
        }
        if let Err(error) = write.write_all(&batch).await {
            return error;
        }
    }
}
