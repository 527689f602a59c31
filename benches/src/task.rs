//! The task of all loads: 64 bytes that come back as they are, except that some ask for a wait.

use std::thread;
use std::time::{Duration, Instant};

use nix::sys::prctl;

/// Bytes of a task.
pub(crate) const BYTES: usize = 64;
/// Where it says how many nanoseconds to wait, and where the answer says how long it was.
const WAIT: std::ops::Range<usize> = 16..24;
const WAITED: std::ops::Range<usize> = 24..32;

/// A task that waits for so long.
pub(crate) fn new(wait: Duration) -> [u8; BYTES] {
    let mut task = [0; BYTES];
    task[WAIT].copy_from_slice(&(wait.as_nanos() as u64).to_le_bytes());
    task
}

/// Runs a task: what it turns into is its result.
pub(crate) fn run(task: &mut [u8]) {
    let wait = wait(task);
    if wait.is_zero() {
        return;
    }
    let begun = Instant::now();
    // Without this the kernel adds up to 50 us to every wait.
    let _ = prctl::set_timerslack(1);
    thread::sleep(wait);
    let waited = begun.elapsed().as_nanos() as u64;
    if let Some(place) = task.get_mut(WAITED) {
        place.copy_from_slice(&waited.to_le_bytes());
    }
}

/// How long a task asks to wait.
pub(crate) fn wait(task: &[u8]) -> Duration {
    Duration::from_nanos(word(task, WAIT))
}

/// How long it did.
pub(crate) fn waited(result: &[u8]) -> Duration {
    Duration::from_nanos(word(result, WAITED))
}

fn word(bytes: &[u8], place: std::ops::Range<usize>) -> u64 {
    let word = bytes.get(place).and_then(|word| word.try_into().ok());
    word.map_or(0, u64::from_le_bytes)
}
