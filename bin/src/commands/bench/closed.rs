//! Closed loop: so many tasks in flight, each followed by the next.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use argon::{Client, TaskSpec};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::Run;
use super::tally::Tally;
use crate::problem::Problem;

/// How long what is in flight at the end may take to end by itself; then it is cancelled.
pub(super) const DRAIN: Duration = Duration::from_secs(5);

/// How it went.
pub(super) struct Closed {
    pub(super) in_flight: u64,
    /// Of the measurement; what ended after it is in the counts but not in the rate.
    pub(super) span: Duration,
    pub(super) in_time: u64,
    pub(super) tally: Tally,
    /// The exit code, if we were told to stop.
    pub(super) stopped: Option<u8>,
}

struct Shared {
    tally: Mutex<Tally>,
    stop: AtomicBool,
}

/// Counts stay right if somebody panicked beside them.
pub(super) fn locked(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps `in_flight` tasks in flight until `seconds` are over, or `samples` were submitted.
pub(super) async fn drive(
    run: &mut Run<'_>,
    spec: &TaskSpec,
    in_flight: u64,
    seconds: Duration,
    samples: u64,
) -> Result<Closed, Problem> {
    let shared = Arc::new(Shared {
        tally: Mutex::new(Tally::new()?),
        stop: AtomicBool::new(false),
    });
    let mut lanes = JoinSet::new();
    let start = Instant::now();
    for _ in 0..in_flight {
        lanes.spawn(lane(
            run.cluster.client(),
            spec.clone(),
            Arc::clone(&shared),
            samples,
        ));
    }
    let (mut stopped, mut ended) = (None, Ok(()));
    tokio::select! {
        biased;
        code = run.stop.next() => stopped = Some(code),
        problem = run.cluster.watch(run.watch) => ended = Err(problem),
        () = sleep(seconds) => {}
        joined = all(&mut lanes) => ended = joined,
    }
    let span = start.elapsed();
    let in_time = locked(&shared.tally).completed;
    shared.stop.store(true, Ordering::Relaxed);
    ended?;
    if stopped.is_none() {
        tokio::select! {
            biased;
            code = run.stop.next() => stopped = Some(code),
            drained = timeout(DRAIN, all(&mut lanes)) => drained.unwrap_or(Ok(()))?,
        }
    }
    lanes.abort_all();
    while lanes.join_next().await.is_some() {}
    let mut shared = locked(&shared.tally);
    let tally = std::mem::replace(&mut *shared, Tally::new()?);
    Ok(Closed {
        in_flight,
        span,
        in_time,
        tally,
        stopped,
    })
}

/// Waits for all lanes.
async fn all(lanes: &mut JoinSet<Result<(), Problem>>) -> Result<(), Problem> {
    while let Some(ended) = lanes.join_next().await {
        ended??;
    }
    Ok(())
}

async fn lane(
    client: Client,
    spec: TaskSpec,
    shared: Arc<Shared>,
    samples: u64,
) -> Result<(), Problem> {
    while !shared.stop.load(Ordering::Relaxed) {
        {
            let mut tally = locked(&shared.tally);
            if tally.submitted >= samples {
                break;
            }
            tally.submitted += 1;
        }
        let start = Instant::now();
        let ended = client.submit(spec.clone()).await?.await;
        locked(&shared.tally).ended(&ended.outcome, start.elapsed());
    }
    Ok(())
}
