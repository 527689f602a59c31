//! A client that keeps to the rules: it has a few tasks under way at all times, and takes nothing but
//! the right result of each.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use argon::blocking::Client;
use argon_core::payload::Payload;

use crate::common::until;

/// Tasks under way: enough to keep two processes busy, few enough to leave the machine to others.
const UNDER_WAY: usize = 8;
/// Outcomes that a rate is measured over, at least.
const ENOUGH: u64 = 200;
/// A rate is measured for so long, at least.
const A_WHILE: Duration = Duration::from_millis(300);

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    outcomes: AtomicU64,
}

/// The client, and how many outcomes it has.
#[derive(Debug)]
pub(crate) struct Load {
    shared: Arc<Shared>,
    thread: JoinHandle<u64>,
}

impl Load {
    pub(crate) fn start(manager: &str) -> Self {
        let shared = Arc::new(Shared::default());
        let (manager, work) = (manager.to_owned(), Arc::clone(&shared));
        let thread = thread::spawn(move || run(&manager, &work));
        Self { shared, thread }
    }

    pub(crate) fn outcomes(&self) -> u64 {
        self.shared.outcomes.load(Ordering::Relaxed)
    }

    /// Waits until so many more outcomes have come than `before`.
    pub(crate) fn until_more_than(&self, before: u64, more: u64) {
        until("outcomes of the client beside", || {
            assert!(!self.thread.is_finished(), "the client beside has failed");
            self.outcomes() >= before + more
        });
    }

    /// Outcomes a second, for a while.
    pub(crate) fn rate(&self) -> f64 {
        let (begun, before) = (Instant::now(), self.outcomes());
        thread::sleep(A_WHILE);
        self.until_more_than(before, ENOUGH);
        self.rate_since(begun, before)
    }

    /// The rate since then over the one before, for people; of what was over in no time there is none.
    pub(crate) fn ratio(&self, rate_before: f64, begun: Instant, before: u64) -> String {
        if begun.elapsed() < A_WHILE {
            return "short".to_owned();
        }
        format!("{:.2}", self.rate_since(begun, before) / rate_before)
    }

    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    fn rate_since(&self, begun: Instant, before: u64) -> f64 {
        (self.outcomes() - before) as f64 / begun.elapsed().as_secs_f64()
    }

    /// Submits no more, and waits for what is under way: each task must end as it should.
    pub(crate) fn finish(self) -> u64 {
        self.shared.stop.store(true, Ordering::Relaxed);
        until("the last outcomes", || self.thread.is_finished());
        self.thread.join().expect("the client beside has failed")
    }
}

/// Echoes numbers until told to stop; how many came back.
fn run(manager: &str, shared: &Shared) -> u64 {
    let client = Client::connect(manager).unwrap();
    let go_on = || !shared.stop.load(Ordering::Relaxed);
    let numbers = (0_u64..).take_while(|_| go_on());
    let calls = numbers.map(|number| argon::Call::raw("echo", bytes_of(number)));
    let mut came = 0;
    for (number, result) in (0..).zip(client.map(calls).in_flight(UNDER_WAY)) {
        assert_eq!(result.unwrap()[..], number_bytes(number));
        came += 1;
        shared.outcomes.store(came, Ordering::Relaxed);
    }
    client.close();
    came
}

fn number_bytes(number: u64) -> [u8; 8] {
    number.to_le_bytes()
}

fn bytes_of(number: u64) -> Payload {
    number_bytes(number).to_vec().into()
}
