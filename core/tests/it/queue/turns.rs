//! What the queue promises where a turn takes several tasks: the worst wait is stated in turns, and
//! clients share run time to within a turn of each.

use std::collections::BTreeMap;

use argon_core::limits::OLDEST_EVERY;
use argon_core::queue::{ClassId, ClientKey, Entry, Push, Queue, Standing, Taken, TaskKey};
use argon_core::task::Priority;
use proptest::prelude::*;

const CLASS: ClassId = ClassId(0);
const MS: u64 = 1_000_000;
const US: u64 = 1_000;

/// A queue, and the rank of the last task.
struct Bench {
    queue: Queue,
    last: u32,
}

impl Bench {
    fn new(tasks_max: usize) -> Self {
        Self {
            queue: Queue::new(tasks_max, 1 << 40),
            last: 0,
        }
    }

    fn entry(&mut self, client: u32, priority: Priority) -> Entry {
        self.last += 1;
        Entry {
            task: TaskKey(self.last),
            client: ClientKey(client),
            class: CLASS,
            priority,
            bytes: 100,
            order: u64::from(self.last),
            standing: Standing::Fresh,
        }
    }

    fn fill(&mut self, client: u32, count: usize) {
        for _ in 0..count {
            let entry = self.entry(client, Priority::NORMAL);
            let push = self.queue.push(entry);
            assert!(matches!(push, Push::Queued { .. }));
        }
    }

    /// The tasks of the next turn, of as many as `count` says for the client whose turn it is. Each
    /// is expected to take `cost`.
    fn turn(
        &mut self,
        count: impl Fn(ClientKey) -> usize,
        cost: impl Fn(ClientKey) -> u64,
    ) -> Vec<Entry> {
        let Some(mut turn) = self.queue.begin_turn(CLASS, false) else {
            return Vec::new();
        };
        let mut taken: Vec<Entry> = Vec::new();
        while taken
            .first()
            .is_none_or(|first| taken.len() < count(first.client))
            && let Some(entry) = self.queue.take_first(&turn).and_then(Taken::alone)
        {
            turn.charge(cost(entry.client));
            taken.push(entry);
        }
        self.queue.end_turn(turn);
        taken
    }
}

proptest! {
    /// The stated worst case: 16 turns for each older task, and 16 for itself.
    #[test]
    fn nobody_waits_longer_than_stated(
        steps in prop::collection::vec((0u32..4, 0u8..8, 0u64..4, 0u8..10), 50..1_500),
        tasks in 1usize..5,
    ) {
        let mut bench = Bench::new(300);
        // Of each waiting task: its order, the turns it has seen, how many older tasks it has met (one
        // that comes back is met again).
        let mut waits: BTreeMap<TaskKey, (u64, u32, u32)> = BTreeMap::new();
        let mut away = Vec::new();
        for (client, level, cost, action) in steps {
            let entry = match action {
                // A flood of important tasks would starve the others.
                0..4 => Some(bench.entry(client, Priority::HIGH)),
                4 => Some(bench.entry(client, Priority::new(level).unwrap())),
                5 if cost == 0 => away.pop(),
                _ => None,
            };
            if let Some(entry) = entry {
                let Push::Queued { displaced } = bench.queue.push(entry) else { continue };
                for victim in displaced.into_iter().filter_map(Taken::alone) {
                    waits.remove(&victim.task);
                }
                let older = waits.values().filter(|wait| wait.0 < entry.order).count() as u32;
                for (order, _, met) in waits.values_mut() {
                    if entry.order < *order {
                        *met += 1;
                    }
                }
                waits.insert(entry.task, (entry.order, 0, older));
                continue;
            }
            let taken = bench.turn(|_| tasks, |_| cost * MS);
            if !taken.is_empty() {
                waits.values_mut().for_each(|(_, seen, _)| *seen += 1);
            }
            for entry in taken {
                let (_, seen, older) = waits.remove(&entry.task).unwrap();
                prop_assert!(
                    seen <= OLDEST_EVERY * (older + 1),
                    "{seen} turns with {older} older tasks"
                );
                away.push(Entry { standing: Standing::Returning, ..entry });
            }
        }
    }

    /// Two clients that always have tasks waiting: over any time, neither gets more than the other by
    /// more than a turn of each, and one more that was the oldest's. (One whose turns are longer than
    /// all the others' between two of the oldest's may get more by those.)
    #[test]
    fn clients_share_run_time_to_within_their_turns(
        costs in [US..150 * US, US..150 * US],
        turn_time in 0..150 * US,
    ) {
        let mut bench = Bench::new(100_000);
        bench.fill(0, 5_000);
        bench.fill(1, 5_000);
        let cost = |client: ClientKey| costs[client.0 as usize];
        let count = |client: ClientKey| (turn_time / cost(client)).max(1) as usize;
        let lag = |client: usize| costs[client].max(turn_time);
        let length = |client: u32| {
            let client = ClientKey(client);
            count(client) as u64 * cost(client)
        };
        prop_assume!(length(0).max(length(1)) < 10 * length(0).min(length(1)));
        let most = lag(0) + lag(1) + lag(0).max(lag(1));
        let mut used = [0, 0];
        // How far the first was ahead of the other at most, and behind.
        let (mut ahead, mut behind) = (0, 0);
        while used.iter().all(|used| *used < 10 * most) {
            prop_assert!((0..2).all(|client| bench.queue.client_len(ClientKey(client)) > 0));
            for entry in bench.turn(count, cost) {
                used[entry.client.0 as usize] += cost(entry.client);
            }
            let apart = used[0] as i64 - used[1] as i64;
            ahead = ahead.max(apart);
            behind = behind.min(apart);
        }
        prop_assert!(ahead - behind <= most as i64, "{} apart, at most {most}", ahead - behind);
    }
}
