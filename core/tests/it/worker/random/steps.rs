//! What may happen to a worker, and how it may be set up.

use std::time::Duration;

use crate::worker::bench::config;
use argon_core::worker::WorkerConfig;
use proptest::prelude::*;

/// One thing that happens.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Assign {
        name: u8,
        at_most_once: bool,
        deadline: Option<u16>,
        limit: Option<u16>,
    },
    AssignMany(u8),
    AssignAgain(u8),
    Recall(Vec<u8>),
    Kill(u8),
    Resend(u8),
    Ack(Vec<u8>),
    AckAll,
    Nonsense(u8),
    Connected,
    Welcome,
    Pong,
    Cut,
    Ready(u8),
    Done {
        slot: u8,
        ran: u32,
        fails: bool,
    },
    DoneMany(u8),
    Dies(u8),
    Memory(u8),
    /// An answer that was not asked for, or one of an earlier process.
    Lies(u8),
    Pass(u32),
    Settle,
    Drain,
    Stop,
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let few = || prop::collection::vec(any::<u8>(), 0..6);
    let step = prop_oneof![
        12 => (
            0..3_u8,
            prop::bool::weighted(0.2),
            prop::option::weighted(0.2, 0..2_000_u16),
            prop::option::weighted(0.2, 0..2_000_u16),
        )
            .prop_map(|(name, at_most_once, deadline, limit)| Step::Assign {
                name,
                at_most_once,
                deadline,
                limit,
            }),
        2 => any::<u8>().prop_map(Step::AssignMany),
        1 => any::<u8>().prop_map(Step::AssignAgain),
        2 => few().prop_map(Step::Recall),
        2 => any::<u8>().prop_map(Step::Kill),
        1 => any::<u8>().prop_map(Step::Resend),
        3 => few().prop_map(Step::Ack),
        1 => Just(Step::AckAll),
        1 => any::<u8>().prop_map(Step::Nonsense),
        5 => Just(Step::Connected),
        5 => Just(Step::Welcome),
        4 => Just(Step::Pong),
        2 => Just(Step::Cut),
        8 => any::<u8>().prop_map(Step::Ready),
        10 => (any::<u8>(), 0..3_000_000_u32, any::<bool>())
            .prop_map(|(slot, ran, fails)| Step::Done { slot, ran, fails }),
        4 => any::<u8>().prop_map(Step::DoneMany),
        3 => any::<u8>().prop_map(Step::Dies),
        1 => any::<u8>().prop_map(Step::Memory),
        1 => any::<u8>().prop_map(Step::Lies),
        10 => prop_oneof![
            0..100_u32,
            0..100_000_u32,
            0..3_000_000_u32
        ]
        .prop_map(Step::Pass),
        25 => Just(Step::Settle),
    ];
    let leave = prop_oneof![
        4 => Just(None),
        1 => Just(Some(Step::Drain)),
        1 => Just(Some(Step::Stop)),
    ];
    (prop::collection::vec(step, 1..250), leave).prop_map(|(mut steps, leave)| {
        // At a place that depends on the steps, so that shrinking keeps it.
        if let Some(leave) = leave {
            steps.insert(steps.len() * 2 / 3, leave);
        }
        steps
    })
}

pub(crate) fn worker_config() -> impl Strategy<Value = WorkerConfig> {
    (
        1..5_u32,
        prop::option::weighted(0.3, 1..20_u64),
        prop::option::weighted(0.3, 1..2_000_u64),
        prop::option::weighted(0.3, Just(1_000_u64)),
        1..40_usize,
        prop_oneof![Just(u64::MAX), 1..500_u64],
    )
        .prop_map(
            |(capacity, requests, limit, memory, results, bytes)| WorkerConfig {
                max_requests: requests,
                time_limit: limit.map(Duration::from_millis),
                memory_limit: memory,
                held_results: results,
                held_bytes: bytes,
                ..config(capacity)
            },
        )
}
