//! Time per operation of the queue at 100, 10,000 and 1,000,000 waiting tasks.

// `criterion_group!` makes a function without a comment.
#![allow(missing_docs)]

use std::hint::black_box;

use argon_core::queue::{ClassId, ClientKey, Entry, Push, Queue, Standing, Taken, TaskKey};
use argon_core::task::Priority;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

const SIZES: [u32; 3] = [100, 10_000, 1_000_000];

fn entry(task: u32, client: u32, order: u64) -> Entry {
    Entry {
        task: TaskKey(task),
        client: ClientKey(client),
        class: ClassId(0),
        priority: Priority::NORMAL,
        bytes: 64,
        order,
        standing: Standing::Fresh,
    }
}

/// A queue with `size` tasks of `clients` clients in turn.
fn filled(size: u32, clients: u32) -> Queue {
    let mut queue = Queue::new(size as usize + 1, u64::MAX);
    for task in 0..size {
        queue.push(entry(task, task % clients, u64::from(task)));
    }
    queue
}

/// The life of a task that is dispatched: in, out, charged, corrected.
fn dispatch(c: &mut Criterion) {
    let mut group = c.benchmark_group("push+pop+charge+correct");
    for clients in [1, 5, 10_000] {
        for size in SIZES.into_iter().filter(|&size| size >= clients) {
            let mut queue = filled(size, clients);
            let (mut key, mut order) = (size, u64::from(size));
            let id = BenchmarkId::new(format!("{clients} clients"), size);
            group.bench_function(id, |b| {
                b.iter(|| {
                    order += 1;
                    queue.push(entry(key, order as u32 % clients, order));
                    let out = queue.pop(ClassId(0)).expect("it is never empty");
                    let Entry {
                        client,
                        class,
                        priority,
                        ..
                    } = out;
                    queue.charge(client, class, priority, 50_000);
                    let ran = 40_000 + (order % 16) * 1_000;
                    queue.correct(client, class, priority, 50_000, ran);
                    key = out.task.0;
                });
            });
        }
    }
    group.finish();
}

/// In, and cancelled before its turn.
fn cancel(c: &mut Criterion) {
    let mut group = c.benchmark_group("remove+push");
    for size in SIZES {
        let mut queue = filled(size, 5);
        let (mut key, mut order) = (0, u64::from(size));
        group.bench_function(BenchmarkId::new("5 clients", size), |b| {
            b.iter(|| {
                key = (key + 7_919) % size;
                order += 1;
                let out = queue.remove(TaskKey(key)).expect("all keys wait");
                queue.push(Entry { order, ..out })
            });
        });
    }
    group.finish();
}

/// What overload costs: the queue is full, and nobody makes room, or somebody does.
fn overload(c: &mut Criterion) {
    let mut group = c.benchmark_group("full");
    for size in SIZES {
        let mut queue = filled(size, 5);
        queue.push(entry(size, 0, u64::from(size)));
        let mut order = u64::from(size);
        group.bench_function(BenchmarkId::new("refuse", size), |b| {
            b.iter(|| {
                order += 1;
                black_box(queue.push(entry(size + 1, 1, order)))
            });
        });
        // Client 1 holds nothing, so it displaces; then its task goes and client 0 fills the gap.
        let mut queue = filled(size, 1);
        queue.push(entry(size, 0, u64::from(size)));
        let (mut newcomer, mut order) = (size + 1, u64::from(size));
        group.bench_function(BenchmarkId::new("displace+remove+push", size), |b| {
            b.iter(|| {
                order += 1;
                let Push::Queued { displaced } = queue.push(entry(newcomer, 1, order)) else {
                    panic!("client 0 holds most");
                };
                queue.remove(TaskKey(newcomer));
                queue.push(entry(newcomer, 0, order));
                let victim = displaced.into_iter().find_map(Taken::alone);
                newcomer = victim.expect("it waited alone").task.0;
            });
        });
    }
    group.finish();
}

criterion_group!(benches, dispatch, cancel, overload);
criterion_main!(benches);
