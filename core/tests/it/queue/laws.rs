//! What the queue promises about waiting and sharing, stated without knowing how it does it.

use std::collections::BTreeMap;

use argon_core::limits::OLDEST_EVERY;
use argon_core::queue::{ClassId, ClientKey, Entry, Push, Queue, Standing, Taken, TaskKey};
use argon_core::task::{Priority, RejectReason};
use proptest::prelude::*;

const MS: u64 = 1_000_000;

/// A queue with a counter, and a run time for each client.
struct Bench {
    queue: Queue,
    next: u32,
    /// Run time that each client has used.
    used: BTreeMap<ClientKey, u64>,
}

impl Bench {
    fn new(tasks_max: usize) -> Self {
        Self {
            queue: Queue::new(tasks_max, 1 << 40),
            next: 0,
            used: BTreeMap::new(),
        }
    }

    fn entry(&mut self, client: u32, priority: Priority) -> Entry {
        self.next += 1;
        Entry {
            task: TaskKey(self.next),
            client: ClientKey(client),
            class: ClassId(0),
            priority,
            bytes: 100,
            order: u64::from(self.next),
            standing: Standing::Fresh,
        }
    }

    fn submit(&mut self, client: u32, priority: Priority) -> Push {
        let entry = self.entry(client, priority);
        self.queue.push(entry)
    }

    fn fill(&mut self, client: u32, count: usize) {
        for _ in 0..count {
            assert_eq!(
                self.submit(client, Priority::NORMAL),
                Push::Queued {
                    displaced: Vec::new()
                }
            );
        }
    }

    fn pop(&mut self) -> Option<Entry> {
        self.queue.pop(ClassId(0))
    }

    /// Dispatches one task, expected to take `estimate`, which then takes `actual`.
    fn run(&mut self, estimate: u64, actual: impl Fn(ClientKey) -> u64) -> Entry {
        let entry = self.pop().expect("a task waits");
        let Entry {
            client,
            class,
            priority,
            ..
        } = entry;
        let actual = actual(client);
        self.queue.charge(client, class, priority, estimate);
        self.queue
            .correct(client, class, priority, estimate, actual);
        *self.used.entry(client).or_default() += actual;
        entry
    }

    fn used(&self, client: u32) -> u64 {
        self.used.get(&ClientKey(client)).copied().unwrap_or(0)
    }
}

/// The numbers of those that had to go for a newcomer that waits.
fn displaced(push: Push) -> Vec<u32> {
    let Push::Queued { displaced } = push else {
        panic!("{push:?}");
    };
    let entries = displaced.into_iter().filter_map(Taken::alone);
    entries.map(|entry| entry.task.0).collect()
}

proptest! {
    /// First in, first out for one client at one priority, whatever others do; the oldest's turn
    /// does not break it, since the oldest of all is the oldest of its client.
    #[test]
    fn one_client_at_one_priority_is_first_in_first_out(
        steps in prop::collection::vec((0u32..4, 0u8..8, 0u64..4, any::<bool>()), 0..600),
    ) {
        let mut bench = Bench::new(100);
        let mut last: BTreeMap<(ClientKey, Priority), u64> = BTreeMap::new();
        for (client, level, cost, push) in steps {
            if push {
                bench.submit(client, Priority::new(level).unwrap());
            } else if let Some(entry) = bench.pop() {
                bench.queue.charge(entry.client, entry.class, entry.priority, cost * MS);
                let before = last.insert((entry.client, entry.priority), entry.order);
                prop_assert!(before < Some(entry.order));
            }
        }
    }

    /// Two clients that always have tasks waiting get the same run time, to within two tasks and
    /// what the oldest's turns move.
    #[test]
    fn run_time_is_shared_and_not_turns(
        short in 1u64..20,
        long in 20u64..200,
        estimate in 0u64..300,
    ) {
        let mut bench = Bench::new(100_000);
        bench.fill(1, 5_000);
        bench.fill(2, 5_000);
        let cost = |client: ClientKey| if client.0 == 1 { short * MS } else { long * MS };
        for _ in 0..2_000 {
            bench.run(estimate * MS, cost);
        }
        // All of client 1's tasks are older, so the oldest's turns are all for it; what they
        // give is charged, and so taken from its other turns.
        let apart = bench.used(1).abs_diff(bench.used(2));
        prop_assert!(apart <= 2 * long * MS, "{} and {}", bench.used(1), bench.used(2));
    }
}

#[test]
fn more_important_tasks_go_first_except_for_the_oldests_turn() {
    let mut bench = Bench::new(1_000);
    bench.fill(1, 20);
    for _ in 0..100 {
        bench.submit(2, Priority::HIGH);
    }
    let popped = (0..48)
        .map(|_| bench.pop().unwrap().priority)
        .collect::<Vec<_>>();
    for (index, priority) in popped.iter().enumerate() {
        let oldests_turn = (index + 1) % OLDEST_EVERY as usize == 0;
        let expected = if oldests_turn {
            Priority::NORMAL
        } else {
            Priority::HIGH
        };
        assert_eq!(*priority, expected, "dispatch {index}");
    }
}

#[test]
fn ten_tasks_are_not_held_up_by_fifty_thousand() {
    let mut bench = Bench::new(100_000);
    bench.fill(1, 50_000);
    for _ in 0..1_000 {
        bench.run(MS, |_| MS);
    }
    bench.fill(2, 10);
    let mut dispatches = 0;
    let mut left = 10;
    while left > 0 {
        left -= u32::from(bench.run(MS, |_| MS).client == ClientKey(2));
        dispatches += 1;
    }
    // Every other one, and the oldest's turns.
    assert!(dispatches <= 22, "{dispatches}");
}

#[test]
fn a_newcomer_neither_waits_for_nor_overtakes_history() {
    let mut bench = Bench::new(100_000);
    bench.fill(1, 10_000);
    bench.fill(2, 10_000);
    for _ in 0..4_000 {
        bench.run(MS, |_| MS);
    }
    bench.used.clear();
    bench.fill(3, 1_000);
    for _ in 0..600 {
        bench.run(MS, |_| MS);
    }
    for client in 1..=3 {
        assert!(
            bench.used(client).abs_diff(200 * MS) <= 2 * MS,
            "{:?}",
            bench.used
        );
    }
}

#[test]
fn idling_saves_nothing_up() {
    let mut bench = Bench::new(100_000);
    // Client 2 has a few dispatched at a high estimate, which is only corrected later.
    bench.fill(2, 50);
    let ahead = (0..50).map(|_| bench.pop().unwrap()).collect::<Vec<_>>();
    for entry in &ahead {
        bench
            .queue
            .charge(entry.client, entry.class, entry.priority, 100 * MS);
    }
    bench.fill(1, 20_000);
    for _ in 0..10_000 {
        bench.run(MS, |_| MS);
    }
    bench.fill(2, 1_000);
    for entry in &ahead {
        bench
            .queue
            .correct(entry.client, entry.class, entry.priority, 100 * MS, MS);
    }
    bench.used.clear();
    for _ in 0..400 {
        bench.run(MS, |_| MS);
    }
    assert!(
        bench.used(1).abs_diff(bench.used(2)) <= 2 * MS,
        "{:?}",
        bench.used
    );
}

#[test]
fn high_estimates_do_not_hold_up_a_later_newcomer() {
    let mut bench = Bench::new(100_000);
    bench.fill(1, 2_000);
    // A thousand are dispatched at a hundred times what they take: virtual time runs ahead ...
    let ahead = (0..1_000).map(|_| bench.pop().unwrap()).collect::<Vec<_>>();
    for entry in &ahead {
        bench
            .queue
            .charge(entry.client, entry.class, entry.priority, 100 * MS);
    }
    // ... and comes back; whoever comes now starts where the others are.
    for entry in &ahead {
        bench
            .queue
            .correct(entry.client, entry.class, entry.priority, 100 * MS, MS);
    }
    bench.fill(2, 100);
    for _ in 0..100 {
        bench.run(MS, |_| MS);
    }
    assert!(bench.used(2) >= 45 * MS, "{:?}", bench.used);
}

#[test]
fn a_charge_taken_back_leaves_no_trace() {
    let mut bench = Bench::new(100);
    bench.fill(1, 2);
    bench.fill(2, 2);
    for _ in 0..5 {
        let entry = bench.pop().unwrap();
        assert_eq!(
            entry.task,
            TaskKey(1),
            "it goes first again, by its old rank"
        );
        bench
            .queue
            .charge(entry.client, entry.class, entry.priority, 1_000 * MS);
        bench
            .queue
            .correct(entry.client, entry.class, entry.priority, 1_000 * MS, 0);
        bench.queue.push(Entry {
            standing: Standing::Returning,
            ..entry
        });
        bench.queue.check_invariants();
    }
}

#[test]
fn tasks_without_length_are_charged_too() {
    let mut bench = Bench::new(1_000);
    bench.fill(1, 100);
    bench.fill(2, 100);
    for _ in 0..100 {
        bench.run(0, |_| 1);
    }
    assert_eq!(bench.queue.client_len(ClientKey(1)), 50);
}

#[test]
fn a_blocked_client_is_passed_over_and_earns_no_credit() {
    let mut bench = Bench::new(10_000);
    bench.fill(1, 3_000);
    bench.fill(2, 3_000);
    bench.queue.set_blocked(ClientKey(1), true);
    for _ in 0..1_000 {
        assert_eq!(bench.run(MS, |_| MS).client, ClientKey(2));
    }
    bench.queue.set_blocked(ClientKey(1), false);
    bench.used.clear();
    for _ in 0..200 {
        bench.run(MS, |_| MS);
    }
    assert!(
        bench.used(1).abs_diff(bench.used(2)) <= 2 * MS,
        "{:?}",
        bench.used
    );

    bench.queue.set_blocked(ClientKey(1), true);
    bench.queue.set_blocked(ClientKey(2), true);
    assert!(!bench.queue.has_dispatchable(ClassId(0)));
    assert_eq!(bench.pop(), None);
}

#[test]
fn the_very_first_task_returns_like_any_other() {
    let mut bench = Bench::new(10);
    let entry = Entry {
        task: TaskKey(0),
        order: 0,
        standing: Standing::Returning,
        ..bench.entry(0, Priority::NORMAL)
    };
    bench.queue.push(entry);
    assert_eq!(bench.queue.pop_returning(ClassId(0)), Some(entry));
}

#[test]
fn a_class_without_workers_holds_up_no_other() {
    let mut bench = Bench::new(1_000);
    for _ in 0..100 {
        let entry = bench.entry(1, Priority::HIGH);
        bench.queue.push(Entry {
            class: ClassId(1),
            ..entry
        });
    }
    bench.fill(1, 20);
    for _ in 0..20 {
        assert_eq!(bench.run(MS, |_| MS).class, ClassId(0));
    }
    assert_eq!(bench.pop(), None);
    assert_eq!(bench.queue.len(), 100);
}

#[test]
fn a_client_that_fills_the_queue_makes_room_for_others_up_to_their_share() {
    let mut bench = Bench::new(100);
    bench.fill(1, 100);
    assert_eq!(
        bench.submit(1, Priority::NORMAL),
        Push::Full(RejectReason::QueueFull)
    );
    for newest in (51..=100).rev() {
        assert_eq!(displaced(bench.submit(2, Priority::NORMAL)), [newest]);
    }
    // Both hold half: they do not push each other out.
    assert_eq!(
        bench.submit(2, Priority::NORMAL),
        Push::Full(RejectReason::QueueFull)
    );
    assert_eq!(
        bench.submit(1, Priority::NORMAL),
        Push::Full(RejectReason::QueueFull)
    );
    assert_eq!(bench.queue.client_len(ClientKey(1)), 50);
}

#[test]
fn less_important_tasks_make_room_first_from_the_lowest_up() {
    let mut bench = Bench::new(6);
    bench.fill(1, 3); // 1, 2, 3
    bench.submit(1, Priority::LOW); // 4
    bench.submit(2, Priority::LOW); // 5
    bench.submit(2, Priority::LOW); // 6
    // Most at the lowest level; then the lowest key of two that hold the same; then upwards.
    for victim in [6, 4, 5, 3, 2, 1] {
        assert_eq!(displaced(bench.submit(3, Priority::HIGH)), [victim]);
    }
    assert_eq!(
        bench.submit(4, Priority::LOW),
        Push::Full(RejectReason::QueueFull)
    );
}

#[test]
fn what_may_have_run_is_never_displaced() {
    let mut bench = Bench::new(3);
    for standing in [
        Standing::Resubmitted,
        Standing::Returning,
        Standing::Resubmitted,
    ] {
        let entry = bench.entry(1, Priority::LOW);
        bench.queue.push(Entry { standing, ..entry });
    }
    bench.submit(1, Priority::LOW); // 4
    assert_eq!(displaced(bench.submit(2, Priority::HIGH)), [4]);
    assert_eq!(
        bench.submit(2, Priority::HIGH),
        Push::Full(RejectReason::QueueFull)
    );
    assert_eq!((bench.queue.len(), bench.queue.returning()), (3, 1));
}

#[test]
fn sixteen_may_go_for_bytes_but_only_if_that_is_enough() {
    let mut queue = Queue::new(1_000, 1_000);
    let entry = |task: u32, priority, bytes| Entry {
        task: TaskKey(task),
        client: ClientKey(task % 2),
        class: ClassId(0),
        priority,
        bytes,
        order: u64::from(task),
        standing: Standing::Fresh,
    };
    for task in 0..100 {
        queue.push(entry(task, Priority::LOW, 10));
    }
    let refused = Push::Full(RejectReason::QueueBytesFull);
    assert_eq!(
        queue.push(entry(100, Priority::HIGH, 161)),
        refused,
        "it would take 17"
    );
    assert_eq!(
        queue.push(entry(100, Priority::HIGH, 1_001)),
        refused,
        "it never fits"
    );
    assert_eq!(
        (queue.len(), queue.bytes()),
        (100, 1_000),
        "a refusal changes nothing"
    );
    queue.check_invariants();
    let expected = (84..100).rev().map(|task| task ^ 1).collect::<Vec<_>>();
    assert_eq!(
        displaced(queue.push(entry(100, Priority::HIGH, 160))),
        expected,
        "the clients take turns in losing their newest"
    );
    assert_eq!((queue.len(), queue.bytes()), (85, 1_000));
    queue.check_invariants();
}

#[test]
#[should_panic(expected = "waits already")]
fn a_task_cannot_wait_twice() {
    let mut bench = Bench::new(10);
    let entry = bench.entry(1, Priority::NORMAL);
    bench.queue.push(entry);
    bench.queue.push(entry);
}
