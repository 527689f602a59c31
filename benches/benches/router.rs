//! Time per decision of the router with 10, 1,000 and 100,000 workers, and of what surrounds it.

// `criterion_group!` makes a function without a comment.
#![allow(missing_docs)]

use std::hint::black_box;

use argon_core::durations::Durations;
use argon_core::name::Name;
use argon_core::router::{Router, Score, Speed, WorkerKey};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

const CAPACITY: u32 = 4;

fn decide(c: &mut Criterion) {
    let mut group = c.benchmark_group("router");
    for workers in [10u32, 1_000, 100_000] {
        let mut router = Router::default();
        let mut fleet = Vec::new();
        for key in 0..workers {
            let mut speed = Speed::new();
            for _ in 0..8 {
                speed.completed(1_000_000, 900_000 + u64::from(key * 7_919 % 200_000));
            }
            router.set(WorkerKey(key), Some(Score::new(&speed, 0, CAPACITY)));
            fleet.push((speed, 0));
        }
        group.bench_function(BenchmarkId::new("pick", workers), |b| {
            b.iter(|| black_box(&router).pick());
        });
        // One task is assigned by the rules, and some other worker finishes one.
        let mut finishing = 0;
        group.bench_function(BenchmarkId::new("assign+finish", workers), |b| {
            b.iter(|| {
                let key = router.pick().expect("there are workers");
                let (speed, outstanding) = &mut fleet[key.0 as usize];
                *outstanding += 1;
                router.set(key, Some(Score::new(speed, *outstanding, CAPACITY)));
                finishing = (finishing + 7_919) % workers;
                let (speed, outstanding) = &mut fleet[finishing as usize];
                *outstanding = outstanding.saturating_sub(1);
                speed.completed(1_000_000, 900_000 + u64::from(finishing % 1_000) * 200);
                let score = Score::new(speed, *outstanding, CAPACITY);
                router.set(WorkerKey(finishing), Some(score));
            });
        });
    }
    group.finish();
}

fn durations(c: &mut Criterion) {
    let mut group = c.benchmark_group("durations");
    for names in [1usize, 4, 1_000] {
        let names = (0..names)
            .map(|number| Name::new(&format!("images.resize-{number}")).expect("a good name"))
            .collect::<Vec<_>>();
        let mut durations = Durations::new();
        let mut next = 0;
        group.bench_function(
            BenchmarkId::new("intern+expected+completed", names.len()),
            |b| {
                b.iter(|| {
                    next = (next + 389) % names.len();
                    let key = durations.intern(&names[next]);
                    let expected = durations.expected(key);
                    durations.completed(key, 1_000 + next as u64);
                    expected
                });
            },
        );
    }
    group.finish();
}

criterion_group!(benches, decide, durations);
criterion_main!(benches);
