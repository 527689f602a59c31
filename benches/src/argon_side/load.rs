//! A closed loop: so many tasks under way, each followed by the next when its result is there.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use argon::{Client, Outcome};
use serde_json::Value;
use tokio::task::JoinSet;

use super::{connect, spec};
use crate::histogram::Histogram;
use crate::{Problem, task};

/// How long tasks flow before they count: the worker has to learn how long they take.
const WARM_UP: Duration = Duration::from_millis(500);
/// Loops that read the clock around each of their tasks; for all it would be a load of its own.
const TIMED: usize = 16;

#[derive(Default)]
struct Shared {
    done: AtomicU64,
    waited: AtomicU64,
    count: AtomicBool,
    stop: AtomicBool,
    histogram: Mutex<Histogram>,
}

/// Keeps `in_flight` tasks under way for `span`; each waits for `wait`.
pub(crate) async fn client(
    manager: &str,
    in_flight: usize,
    span: Duration,
    wait: Duration,
) -> Result<Value, Problem> {
    let client = connect(manager, in_flight)?;
    let shared = Arc::<Shared>::default();
    let mut loops = JoinSet::new();
    for index in 0..in_flight {
        loops.spawn(one(
            client.clone(),
            Arc::clone(&shared),
            wait,
            index < TIMED,
        ));
    }
    tokio::time::sleep(WARM_UP).await;
    let counts = || (shared.done.load(Relaxed), shared.waited.load(Relaxed));
    shared.count.store(true, Relaxed);
    let (begun, before) = (Instant::now(), counts());
    tokio::time::sleep(span).await;
    let (seconds, after) = (begun.elapsed().as_secs_f64(), counts());
    shared.stop.store(true, Relaxed);
    while let Some(ended) = loops.join_next().await {
        ended??;
    }
    let tasks = after.0 - before.0;
    let histogram = shared.histogram.lock().map_err(|_| "a loop panicked")?;
    let mut report = histogram.report(tasks, seconds);
    report["all"] = counts().0.into();
    report["waited"] = ((after.1 - before.1) as f64 / 1e9 / tasks as f64).into();
    Ok(report)
}

async fn one(
    client: Client,
    shared: Arc<Shared>,
    wait: Duration,
    timed: bool,
) -> Result<(), Problem> {
    let spec = spec(wait);
    let mut histogram = Histogram::default();
    while !shared.stop.load(Relaxed) {
        let begun = (timed && shared.count.load(Relaxed)).then(Instant::now);
        let ended = client.submit(spec.clone()).await?.await;
        let Outcome::Completed(_) = ended.outcome else {
            return Err(format!("{:?}", ended.outcome).into());
        };
        if let Some(begun) = begun {
            histogram.add(begun.elapsed().as_nanos() as u64);
        }
        if !wait.is_zero() {
            let waited = task::waited(&ended.payload).as_nanos() as u64;
            shared.waited.fetch_add(waited, Relaxed);
        }
        shared.done.fetch_add(1, Relaxed);
    }
    if let Ok(mut all) = shared.histogram.lock() {
        all.merge(&histogram);
    }
    Ok(())
}
