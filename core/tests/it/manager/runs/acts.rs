//! What happens to the twins.

use proptest::collection::vec;
use proptest::prelude::*;

use super::{CLIENTS, WORKERS};

/// What happens in one step. Indices are taken modulo what there is.
#[derive(Clone, Debug)]
pub(super) enum Act {
    /// A client submits some tasks that follow each other.
    Submit {
        client: u64,
        count: u64,
        /// So many it has submitted before.
        again: u64,
        flags: u8,
        bytes: usize,
    },
    /// A worker ends some of what it has, from the oldest on; one of them not well.
    Finish {
        worker: u64,
        count: usize,
        badly: usize,
        end: u8,
    },
    /// A worker gives some of what it has back, or says that it has started.
    Return {
        worker: u64,
        count: usize,
        started: bool,
    },
    Grant {
        worker: u64,
        window: u32,
    },
    Ack {
        client: u64,
        count: usize,
    },
    Cancel {
        client: u64,
        seq: u64,
    },
    /// A client is done with all below a number, whatever became of them.
    Floor {
        client: u64,
        floor: u64,
    },
    /// A client submits again what it has not got the outcome of, and which may have run.
    Again {
        client: u64,
        seq: u64,
    },
    /// A client asks which of its tasks are here.
    Resume {
        client: u64,
    },
    /// A worker runs something else.
    Offer {
        worker: u64,
        names: u8,
    },
    Drain,
    /// A connection ends, and the peer comes back. A worker may report an attempt under an earlier
    /// manager: of a client's task near the last that it has submitted.
    Reconnect {
        peer: u64,
        stray: Option<(u64, u64)>,
    },
    Wait {
        ms: u64,
    },
}

/// How much there is of what happens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Amounts {
    /// Tasks that are submitted in a row, and ends that are said in a row.
    tasks: u64,
    /// Numbers of tasks that are spoken of.
    seqs: u64,
    /// Of tasks.
    flags: u8,
    window: u32,
}

/// A little of all that there is.
pub(super) const MIXED: Amounts = Amounts {
    tasks: 12,
    seqs: 60,
    flags: u8::MAX,
    window: 20,
};
/// Many tasks of two names that wait for their turns.
pub(super) const BUSY: Amounts = Amounts {
    tasks: 120,
    seqs: 400,
    flags: 1,
    window: 70,
};

pub(super) fn acts(amounts: Amounts) -> impl Strategy<Value = Vec<Act>> {
    let Amounts {
        tasks,
        seqs,
        flags,
        window,
    } = amounts;
    let again = prop_oneof![8 => Just(0), 1 => 1..4_u64, 1 => 4..40_u64];
    let stray = prop_oneof![2 => Just(None), 1 => (0..CLIENTS, 0..20_u64).prop_map(Some)];
    let act = prop_oneof![
        8 => (0..CLIENTS, 1..tasks, again, 0..=flags, 0..3_usize).prop_map(
            |(client, count, again, flags, bytes)| {
                Act::Submit { client, count, again, flags, bytes }
            }
        ),
        8 => (0..WORKERS, 1..tasks as usize, 0..4 * tasks as usize, 0..8_u8).prop_map(
            |(worker, count, badly, end)| Act::Finish { worker, count, badly, end }
        ),
        1 => (0..WORKERS, 1..6_usize, any::<bool>()).prop_map(
            |(worker, count, started)| Act::Return { worker, count, started }
        ),
        2 => (0..WORKERS, 0..window).prop_map(|(worker, window)| Act::Grant { worker, window }),
        3 => (0..CLIENTS, 1..2 * tasks as usize).prop_map(|(client, count)| Act::Ack { client, count }),
        1 => (0..CLIENTS, 0..seqs).prop_map(|(client, seq)| Act::Cancel { client, seq }),
        1 => (0..CLIENTS, 0..seqs).prop_map(|(client, floor)| Act::Floor { client, floor }),
        1 => (0..CLIENTS, 0..seqs).prop_map(|(client, seq)| Act::Again { client, seq }),
        1 => (0..CLIENTS).prop_map(|client| Act::Resume { client }),
        1 => (0..WORKERS, 0..4_u8).prop_map(|(worker, names)| Act::Offer { worker, names }),
        2 => (0..CLIENTS + WORKERS, stray).prop_map(|(peer, stray)| Act::Reconnect { peer, stray }),
        2 => (1..400_u64).prop_map(|ms| Act::Wait { ms }),
    ];
    let end = vec(Just(Act::Drain), 0..2);
    (vec(act, 1..60), end).prop_map(|(mut acts, end)| {
        acts.extend(end);
        acts
    })
}
