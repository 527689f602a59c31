//! What it means to the manager that a client submits a task again, and which words go with it.

use super::bench::*;
use argon_core::limits::ATTEMPTS_MAX;
use argon_core::message::Submit;
use proptest::prelude::*;

proptest! {
    /// Nobody, known or not, gets a task with more attempts than may be, or none: the connection
    /// is closed, and nothing of it is kept.
    #[test]
    fn attempts_beyond_the_bound_are_taken_from_nobody(
        attempts: u8, at_most_once: bool, may_have_run: bool, known: bool, busy: bool,
    ) {
        let mut bench = Bench::new();
        let worker = bench.worker(1, 1);
        let client = bench.client(3);
        if busy {
            bench.submit(client, submit(0));
        }
        if known {
            bench.submit(client, submit(1));
        }
        let before = bench.manager.status(bench.now, 0).manager.accepted;
        bench.inbox(worker);
        let max_attempts = attempts;
        let task = Submit { max_attempts, at_most_once, may_have_run, ..submit(1) };
        bench.submit(client, task);
        let allowed = (1..=ATTEMPTS_MAX).contains(&attempts);
        prop_assert_eq!(bench.closed.contains(&client), !allowed);
        let after = bench.manager.status(bench.now, 0).manager.accepted;
        prop_assert_eq!(after - before, u64::from(allowed && !known));
        prop_assert!(allowed || bench.assigned(worker).is_empty());
    }
}
