//! The router picks like a linear scan, and the scores make it prefer who it should.

use argon_core::router::{Router, Score, Speed, WorkerKey};
use proptest::prelude::*;

const MS: u64 = 1_000_000;

/// Workers with the same capacity that run what the router gives them.
struct Fleet {
    router: Router,
    workers: Vec<(Speed, u32, u32)>,
}

impl Fleet {
    fn new(workers: Vec<(Speed, u32)>) -> Self {
        let workers = workers
            .into_iter()
            .map(|(speed, capacity)| (speed, 0, capacity));
        let mut fleet = Self {
            router: Router::default(),
            workers: workers.collect(),
        };
        for worker in 0..fleet.workers.len() {
            fleet.update(worker);
        }
        fleet
    }

    fn update(&mut self, worker: usize) {
        let (speed, outstanding, capacity) = &self.workers[worker];
        let score = Score::new(speed, *outstanding, *capacity);
        self.router.set(WorkerKey(worker as u32), Some(score));
    }

    fn assign(&mut self) -> usize {
        let worker = self.router.pick().expect("there are workers").0 as usize;
        self.workers[worker].1 += 1;
        self.update(worker);
        worker
    }

    /// Assigns a burst at once; how many each worker got.
    fn burst(&mut self, tasks: usize) -> Vec<u32> {
        let mut got = vec![0; self.workers.len()];
        for _ in 0..tasks {
            got[self.assign()] += 1;
        }
        got
    }
}

fn proven(relative_percent: u64) -> Speed {
    let mut speed = Speed::new();
    for _ in 0..100 {
        speed.completed(10 * MS, 10 * MS * relative_percent / 100);
    }
    speed
}

fn score_of(cost: u8) -> Score {
    Score::new(&Speed::new(), u32::from(cost), 4)
}

proptest! {
    #[test]
    fn picks_like_a_linear_scan(
        sets in prop::collection::vec((prop_oneof![0u32..8, 0u32..200], prop::option::of(0u8..8)), 1..300),
    ) {
        let mut router = Router::default();
        let mut model = vec![None; 200];
        for (worker, cost) in sets {
            let score = cost.map(score_of);
            router.set(WorkerKey(worker), score);
            model[worker as usize] = score;
            router.check_invariants();
            // Of equal scores the first: the lowest key.
            let best = (0..200u32).filter(|&w| model[w as usize].is_some())
                .min_by_key(|&w| model[w as usize]);
            prop_assert_eq!(router.pick(), best.map(WorkerKey));
            prop_assert_eq!(router.len(), model.iter().flatten().count());
            prop_assert_eq!(router.score(WorkerKey(worker)), score);
        }
    }

    /// No history makes a worker without an idle slot more attractive than one that has one.
    #[test]
    fn idle_capacity_goes_first(
        histories in prop::collection::vec((0u64..20, any::<bool>()), 0..60),
        outstanding in 0u32..5_000,
        capacity in 0u32..5_000,
    ) {
        let mut awful = Speed::new();
        for (ran, failed) in histories {
            if failed { awful.failed(MS, ran * MS) } else { awful.completed(MS, ran * MS) }
        }
        let idle = Score::new(&awful, outstanding, outstanding + 1);
        let full = Score::new(&proven(1), capacity + outstanding, capacity);
        prop_assert!(idle < full);
    }

    /// Whatever came before and however soon it comes, a failure never helps.
    #[test]
    fn a_failure_never_improves(
        history in prop::collection::vec((0u64..20, any::<bool>()), 0..60),
        expected in 0u64..20,
        ran in 0u64..20,
    ) {
        let mut speed = Speed::new();
        for (ran, failed) in history {
            if failed { speed.failed(5 * MS, ran * MS) } else { speed.completed(5 * MS, ran * MS) }
        }
        let before = speed.clone();
        speed.failed(expected * MS, ran * MS);
        prop_assert!(speed.slowness_millis() >= before.slowness_millis());
        prop_assert_eq!(speed.average(), before.average());
    }

    /// More load is never more attractive; nor is being slower.
    #[test]
    fn bids_rise_with_load_and_slowness(
        outstanding in 0u32..8_000, capacity in 1u32..4_096, percent in 1u64..3_000,
    ) {
        let score = Score::new(&proven(percent), outstanding, capacity);
        prop_assert!(score < Score::new(&proven(percent), outstanding + 1, capacity));
        prop_assert!(score <= Score::new(&proven(percent * 2), outstanding, capacity));
    }
}

#[test]
fn nobody_is_picked_from_nobody() {
    let mut router = Router::default();
    assert_eq!(router.pick(), None);
    router.set(WorkerKey(70_000), None);
    assert!(router.is_empty());
    router.set(WorkerKey(70_000), Some(score_of(1)));
    assert!(!router.is_empty());
    assert_eq!(router.pick(), Some(WorkerKey(70_000)));
    router.set(WorkerKey(70_000), None);
    assert_eq!(router.pick(), None);
    assert_eq!(router.score(WorkerKey(131_071)), None);
}

#[test]
fn speed_is_relative_to_what_the_same_name_takes() {
    // One runs only long tasks, the other only short ones; both take the normal time.
    let (mut long, mut short) = (Speed::new(), Speed::new());
    for _ in 0..20 {
        long.completed(10_000 * MS, 10_000 * MS);
        short.completed(MS, MS);
    }
    assert_eq!(long.slowness_millis(), 1_000);
    assert_eq!(short.slowness_millis(), 1_000);
    assert_eq!((long.average(), short.average()), (10_000 * MS, MS));
}

#[test]
fn a_change_of_speed_is_noticed_within_some_dozen_tasks() {
    let mut speed = proven(100);
    for _ in 0..24 {
        speed.completed(10 * MS, 40 * MS);
    }
    assert!(
        speed.slowness_millis() > 3_500,
        "{}",
        speed.slowness_millis()
    );
    for _ in 0..60 {
        speed.completed(10 * MS, 10 * MS);
    }
    assert!(
        speed.slowness_millis() < 1_010,
        "{}",
        speed.slowness_millis()
    );
}

#[test]
fn a_burst_is_shared_by_speed() {
    let mut fleet = Fleet::new(vec![
        (proven(100), 100),
        (proven(200), 100),
        (proven(400), 100),
    ]);
    let got = fleet.burst(70);
    assert_eq!(got, [40, 20, 10]);
}

#[test]
fn a_burst_is_shared_by_capacity() {
    let mut fleet = Fleet::new(vec![(proven(100), 40), (proven(100), 80)]);
    assert_eq!(fleet.burst(60), [20, 40]);
    // What waits behind full workers too, down to those that run one at a time.
    let mut fleet = Fleet::new(vec![(proven(100), 1), (proven(100), 2)]);
    assert_eq!(fleet.burst(9), [3, 6]);
}

#[test]
fn a_worker_without_slots_is_busy() {
    let none = Score::new(&proven(1), 0, 0);
    assert!(none > Score::new(&proven(3_000), 0, 1));
}

#[test]
fn absurd_load_is_never_attractive() {
    let awful = proven(6_400);
    let mut before = Score::new(&awful, 1, 1);
    for bits in 1..=32 {
        let score = Score::new(&awful, ((1_u64 << bits) - 1) as u32, 1);
        assert!(score >= before, "{bits} bits");
        before = score;
    }
}

#[test]
fn a_newcomer_does_not_absorb_a_burst_and_does_not_idle_when_others_are_full() {
    let mut fleet = Fleet::new(vec![
        (Speed::new(), 10),
        (proven(100), 10),
        (proven(100), 10),
    ]);
    let got = fleet.burst(15);
    assert!(got[0] < got[1] && got[0] < got[2], "{got:?}");
    assert!(got[0] > 0, "{got:?}");
    let rest = fleet.burst(15);
    assert_eq!(
        got[0] + rest[0],
        10,
        "every slot is used before any is given two"
    );
}

#[test]
fn a_newcomer_is_like_others_after_its_trial() {
    let mut newcomer = Speed::new();
    assert_eq!(newcomer.slowness_millis(), 1_500);
    let mut before = newcomer.slowness_millis();
    for _ in 0..Speed::TRIAL {
        newcomer.completed(0, MS);
        assert!(newcomer.slowness_millis() < before);
        before = newcomer.slowness_millis();
    }
    assert_eq!(newcomer.slowness_millis(), 1_000);
}

#[test]
fn a_worker_that_fails_fast_does_not_attract() {
    // Worker 0 fails at once, and so always has free slots; the others take their time, and are
    // never idle enough to win by their load.
    let mut fleet = Fleet::new(vec![(proven(100), 8), (proven(100), 8), (proven(100), 8)]);
    let mut got = [0u32; 3];
    let mut running = std::collections::VecDeque::new();
    for _ in 0..2_000 {
        let worker = fleet.assign();
        got[worker] += 1;
        if worker == 0 {
            fleet.workers[0].0.failed(10 * MS, 0);
            fleet.workers[0].1 -= 1;
            fleet.update(0);
        } else {
            running.push_back(worker);
        }
        if running.len() > 12 {
            let done = running.pop_front().unwrap();
            fleet.workers[done].0.completed(10 * MS, 10 * MS);
            fleet.workers[done].1 -= 1;
            fleet.update(done);
        }
    }
    assert!(got[0] < 100, "{got:?}");
}

/// A failure counts as twice the normal time at least, as what it took if that is more, and as a
/// quarter more than before at least.
#[test]
fn a_failure_counts_as_much_as_is_said() {
    let after = |percent: u64, expected: u64, ran: u64| {
        let mut speed = proven(percent);
        speed.failed(expected, ran);
        speed.slowness_millis()
    };
    // An eighth of the way from 0.25 to 2, from 1 to 10, and from 10 to 12.5.
    assert_eq!(after(25, 10 * MS, 0), 468);
    assert_eq!(after(100, 10 * MS, 100 * MS), 2_125);
    assert_eq!(after(1_000, 10 * MS, 0), 10_312);
    // Nobody knows what a new name should take, so its time says nothing.
    assert_eq!(after(100, 0, 1_000_000 * MS), after(100, 0, 0));
}

#[test]
fn failures_everywhere_leave_workers_comparable() {
    let (mut normal, mut slow) = (proven(100), proven(200));
    for _ in 0..500 {
        normal.completed(10 * MS, 10 * MS);
        normal.failed(10 * MS, 0);
        slow.completed(10 * MS, 20 * MS);
        slow.failed(10 * MS, 0);
    }
    assert!(normal.slowness_millis() < slow.slowness_millis());
    assert!(
        normal.slowness_millis() < 2_000,
        "{}",
        normal.slowness_millis()
    );
}

#[test]
fn hostile_measurements_do_no_harm() {
    let mut speed = Speed::new();
    speed.completed(u64::MAX, u64::MAX);
    speed.completed(1, u64::MAX);
    speed.completed(u64::MAX, 0);
    speed.failed(1, u64::MAX);
    for _ in 0..1_000 {
        speed.failed(0, u64::MAX);
    }
    let worst = Score::new(&speed, u32::MAX, 1);
    let mut router = Router::default();
    router.set(WorkerKey(3), Some(worst));
    assert_eq!(
        router.pick(),
        Some(WorkerKey(3)),
        "the worst score is still a score"
    );
    assert_eq!(speed.slowness_millis(), 64_000 + 32_000 / Speed::TRIAL);
}
