//! A closed loop: so many tasks under way, each followed by the next when its result is there.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use argon::{Call, Client, Outcome, Payload};
use serde_json::Value;
use tokio::task::JoinSet;

use super::{NOOP, connect, spec};
use crate::histogram::{latencies, report};
use crate::{Problem, task};
use hdrhistogram::Histogram;

/// How long tasks flow before they count: the worker has to learn how long they take.
const WARM_UP: Duration = Duration::from_millis(500);
/// Tasks at a time around each of which the clock is read; for all it would be a load of its own.
const TIMED: usize = 16;

struct Shared {
    done: AtomicU64,
    waited: AtomicU64,
    count: AtomicBool,
    stop: AtomicBool,
    histogram: Mutex<Histogram<u64>>,
}

/// Keeps `in_flight` tasks under way for `span`; each waits for `wait`.
pub(crate) async fn client(
    manager: &str,
    in_flight: usize,
    span: Duration,
    wait: Duration,
) -> Result<Value, Problem> {
    let client = connect(manager, in_flight)?;
    let shared = Arc::new(Shared {
        done: AtomicU64::new(0),
        waited: AtomicU64::new(0),
        count: AtomicBool::new(false),
        stop: AtomicBool::new(false),
        histogram: Mutex::new(latencies()),
    });
    let mut loops = JoinSet::new();
    for _ in 0..in_flight.min(TIMED) {
        loops.spawn(one(client.clone(), Arc::clone(&shared), wait));
    }
    if in_flight > TIMED {
        let rest = in_flight - TIMED;
        loops.spawn(many(client.clone(), Arc::clone(&shared), rest, wait));
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
    let mut report = report(&histogram, tasks, seconds);
    report["all"] = counts().0.into();
    report["waited"] = ((after.1 - before.1) as f64 / 1e9 / tasks as f64).into();
    Ok(report)
}

/// One task after the other, timed.
async fn one(client: Client, shared: Arc<Shared>, wait: Duration) -> Result<(), Problem> {
    let spec = spec(wait);
    let mut histogram = latencies();
    while !shared.stop.load(Relaxed) {
        let begun = shared.count.load(Relaxed).then(Instant::now);
        let ended = client.submit(spec.clone()).await?.await;
        let Outcome::Completed(_) = ended.outcome else {
            return Err(format!("{:?}", ended.outcome).into());
        };
        if let Some(begun) = begun {
            histogram.record(begun.elapsed().as_nanos() as u64)?;
        }
        shared.done(&ended.payload, wait);
    }
    if let Ok(mut all) = shared.histogram.lock() {
        all.add(&histogram)?;
    }
    Ok(())
}

/// `in_flight` tasks at a time, each followed by the next, as the library has it for many calls.
async fn many(
    client: Client,
    shared: Arc<Shared>,
    in_flight: usize,
    wait: Duration,
) -> Result<(), Problem> {
    let call = Call::raw(NOOP, task::new(wait).to_vec());
    let going_on = || (!shared.stop.load(Relaxed)).then(|| call.clone());
    let calls = std::iter::from_fn(going_on);
    let mut results = client.map_unordered(calls).in_flight(in_flight);
    while let Some(result) = results.next().await {
        shared.done(&result?, wait);
    }
    Ok(())
}

impl Shared {
    fn done(&self, result: &Payload, wait: Duration) {
        if !wait.is_zero() {
            let waited = task::waited(result).as_nanos() as u64;
            self.waited.fetch_add(waited, Relaxed);
        }
        self.done.fetch_add(1, Relaxed);
    }
}
