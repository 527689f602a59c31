//! The whole manager: submit, assign, finish, deliver, acknowledge, at a steady state.

mod steady;

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use steady::{QUEUED, Steady, WORKERS};

fn step(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("manager_step");
    for (queued, workers) in QUEUED.into_iter().flat_map(|q| WORKERS.map(|w| (q, w))) {
        let id = BenchmarkId::from_parameter(format!("{queued}_queued_{workers}_workers"));
        // Made when it is asked for: the largest takes a second.
        let mut steady = None;
        group.bench_function(id, |bencher| {
            let steady = steady.get_or_insert_with(|| Steady::new(queued, workers));
            bencher.iter_custom(|count| {
                let start = Instant::now();
                steady.run(count);
                start.elapsed()
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(2));
    targets = step
}
criterion_main!(benches);
