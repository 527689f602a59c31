//! Runs of the pool protocol: what they say is what the messages would say of which they are made.

use argon_core::limits::{RUN_BYTES_MAX, RUN_TASKS_MAX};
use argon_core::message::*;
use argon_core::name::Name;
use argon_core::payload::{Content, Payload};
use argon_core::time::Nanos;
use proptest::collection::vec;
use proptest::prelude::*;

fn name(text: &str) -> Name {
    Name::new(text).expect("a good name")
}

fn run(id: u64, text: &str, payload: Payload) -> PoolMessage {
    let body = PoolBody::Run {
        id,
        name: name(text),
    };
    PoolMessage { body, payload }
}

fn completed(id: u64, ran: Nanos, payload: Payload) -> PoolMessage {
    let body = PoolBody::Completed { id, ran };
    PoolMessage { body, payload }
}

/// Says all of it in as few messages as can be.
fn joined(singles: &[PoolMessage]) -> Vec<PoolMessage> {
    let mut said: Vec<PoolMessage> = Vec::new();
    for single in singles {
        let joins = said.last_mut().is_some_and(|last| match &single.body {
            PoolBody::Run { id, name } => last.run_too(*id, name, &single.payload),
            PoolBody::Completed { id, ran } => last.completed_too(*id, *ran, &single.payload),
            PoolBody::Ready { .. }
            | PoolBody::Failed { .. }
            | PoolBody::RunMany(_)
            | PoolBody::CompletedMany(_) => false,
        });
        if !joins {
            said.push(single.clone());
        }
    }
    said
}

fn payload() -> impl Strategy<Value = Payload> {
    let content = prop_oneof![9 => Just(Content::BYTES), 1 => Just(Content::JSON)];
    let size = prop_oneof![20 => 0..100_usize, 1 => 0..2 * RUN_BYTES_MAX];
    (content, size, any::<u8>())
        .prop_map(|(content, size, byte)| Payload::new(content, vec![byte; size]))
}

/// Messages about single attempts, most of them in a row.
fn singles() -> impl Strategy<Value = Vec<PoolMessage>> {
    let step = prop_oneof![20 => Just(1_u64), 1 => 0..4_u64];
    let ran = prop_oneof![9 => 0..1_000_000_u64, 1 => any::<u64>()];
    let single = (step, any::<prop::sample::Index>(), ran, payload());
    (vec(single, 0..60), any::<bool>(), any::<u32>()).prop_map(|(singles, are_runs, first)| {
        let mut id = u64::from(first);
        let single = |(step, which, ran, payload): (u64, prop::sample::Index, u64, Payload)| {
            id += step;
            if are_runs {
                run(id, ["a", "a", "a", "b"][which.index(4)], payload)
            } else {
                completed(id, Nanos(ran), payload)
            }
        };
        singles.into_iter().map(single).collect()
    })
}

proptest! {
    #[test]
    fn a_run_says_what_its_parts_say(singles in singles()) {
        let said = joined(&singles);
        let heard: Vec<PoolMessage> = said.iter().flat_map(PoolMessage::pool_singles).collect();
        prop_assert_eq!(heard, singles);
        for message in &said {
            match &message.body {
                PoolBody::RunMany(run) => prop_assert!(run.arguments(&message.payload).is_some()),
                PoolBody::CompletedMany(many) => {
                    prop_assert!(many.clone().into_parts(message.payload.clone()).is_some());
                }
                PoolBody::Ready { .. } | PoolBody::Run { .. } | PoolBody::Completed { .. }
                | PoolBody::Failed { .. } => continue,
            }
            prop_assert!(message.payload.len() <= RUN_BYTES_MAX);
        }
    }
}

#[test]
fn a_run_has_so_many_tasks_and_bytes_and_no_more() {
    for (size, tasks) in [(0, RUN_TASKS_MAX), (RUN_BYTES_MAX / 4, 4)] {
        let bytes = Payload::from(vec![7; size]);
        let runs: Vec<_> = (0..2_000).map(|id| run(id, "x", bytes.clone())).collect();
        let said = joined(&runs);
        assert_eq!(said.len(), 2_000_usize.div_ceil(tasks));
        let ends: Vec<_> = (0..2_000)
            .map(|id| completed(id, Nanos(1), bytes.clone()))
            .collect();
        assert_eq!(joined(&ends).len(), said.len());
    }
}

#[test]
fn what_is_no_run_is_not_taken_apart() {
    let arguments = |id, sizes: &[u32], bytes: usize| {
        let first = Asked {
            id,
            name: name("x"),
        };
        let run = Run {
            first,
            sizes: sizes.into(),
        };
        let payload = Payload::from(vec![0; bytes]);
        run.arguments(&payload).map(Iterator::count)
    };
    let results = |first, sizes: &[u32], bytes: usize| {
        let answer = |&size| Answer { ran: 0, size };
        let answers = sizes.iter().map(answer).collect();
        let payload = Payload::from(vec![0; bytes]);
        let parts = Answers { first, answers }.into_parts(payload);
        parts.map(Iterator::count)
    };
    let many = vec![0; RUN_TASKS_MAX + 1];
    let half = RUN_BYTES_MAX / 2;
    for (first, sizes, bytes, count) in [
        (0, &[1, 2][..], 3, Some(2)),
        (0, &many[1..], 0, Some(RUN_TASKS_MAX)),
        (0, &[half as u32; 2][..], 2 * half, Some(2)),
        (u64::MAX - 1, &[0, 0][..], 0, Some(2)),
        // Too few, too many, other sizes, too many bytes, numbers that end.
        (0, &[][..], 0, None),
        (0, &[3][..], 3, None),
        (0, &many[..], 0, None),
        (0, &[1, 2][..], 2, None),
        (0, &[1, 2][..], 4, None),
        (0, &[u32::MAX, 5][..], 4, None),
        (0, &[half as u32 + 1; 2][..], 2 * half + 2, None),
        (u64::MAX, &[0, 0][..], 0, None),
    ] {
        assert_eq!(arguments(first, sizes, bytes), count, "{first} {bytes}");
        assert_eq!(results(first, sizes, bytes), count, "{first} {bytes}");
    }
}
