//! Virtual connections between hosts: each direction delivers in order, late, or not at all.
//!
//! Models what TCP shows to a process: a cut delays (the stack sends again), a reset loses what
//! is under way, a half-open connection swallows for ever, a dead process's host closes.

use std::collections::{BTreeMap, VecDeque};

use argon_core::ids::ConnId;
use argon_core::message::Message;

use argon_core::message::Said;
use argon_core::rng::Rng;

use crate::options::{Host, MS, Options};
use crate::rng::{Draw, mix, stream};

/// A message is up to one part in so many slower than its link.
const SPREAD: u64 = 4;
/// Most that a message is late, where some are.
const LATE_MAX: u64 = 200 * MS;

/// Most that a message takes on a link that nothing disturbs, in nanoseconds.
pub(crate) fn longest_delay(options: &Options) -> u64 {
    let late = if options.late_one_in > 0 { LATE_MAX } else { 0 };
    options.delay.1 + options.delay.1 / SPREAD + 1 + late
}

/// A connection's place in the list of all.
pub(crate) type ConnIndex = usize;

/// What travels.
#[derive(Debug)]
pub(crate) enum Packet {
    /// With its place in the trace, if there is one.
    Message(Message<Said>, Option<usize>),
    Fin,
}

/// One direction of a connection.
#[derive(Debug)]
pub(crate) struct Pipe {
    pub queue: VecDeque<(u64, Packet)>,
    last_due: u64,
    rng: Rng,
    pub scheduled: bool,
    /// Both sides see bytes move.
    pub moving: bool,
    /// Nothing arrives any more, and nobody is told.
    pub black: bool,
}

impl Pipe {
    /// Whether nothing was ever sent this way.
    pub(crate) fn is_new(&self) -> bool {
        self.last_due == 0
    }
}

/// One side of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    pub host: Host,
    pub life: usize,
    pub conn: ConnId,
    pub state: EndState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndState {
    /// The dialler waits; the other side does not know yet.
    Opening,
    Open,
    Closed,
}

/// A connection; side 0 dialled.
#[derive(Debug)]
pub(crate) struct Connection {
    pub ends: [End; 2],
    /// `pipes[side]` carries what that side sends.
    pub pipes: [Pipe; 2],
}

/// All connections, and what is wrong with the links that they use.
#[derive(Debug)]
pub(crate) struct Network {
    seed: u64,
    delay: (u64, u64),
    late_one_in: u64,
    pub connections: Vec<Connection>,
    /// How many faults cut this direction now.
    blocked: BTreeMap<(Host, Host), u32>,
    slow: BTreeMap<(Host, Host), u64>,
    /// Directions and dials that wait for a cut to end.
    pub stalled: Vec<(ConnIndex, Stalled)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stalled {
    Pipe(usize),
    Dial,
    Answer,
}

impl Network {
    pub(crate) fn new(seed: u64, options: &Options) -> Self {
        Self {
            seed,
            delay: options.delay,
            late_one_in: options.late_one_in,
            connections: Vec::new(),
            blocked: BTreeMap::new(),
            slow: BTreeMap::new(),
            stalled: Vec::new(),
        }
    }

    /// A new connection on its way from `from` to `to`.
    pub(crate) fn dial(&mut self, from: End, count: u64, to: Host) -> ConnIndex {
        let index = self.connections.len();
        let pipe = |side: u64| Pipe {
            queue: VecDeque::new(),
            last_due: 0,
            // Keyed by both hosts and the number of the dial, so that other links do not change it.
            rng: stream(
                self.seed,
                &[
                    7,
                    u64::from(from.host),
                    count,
                    u64::from(to),
                    from.conn.0,
                    side,
                ],
            ),
            scheduled: false,
            moving: false,
            black: false,
        };
        self.connections.push(Connection {
            ends: [
                from,
                End {
                    host: to,
                    life: usize::MAX,
                    conn: ConnId(0),
                    state: EndState::Opening,
                },
            ],
            pipes: [pipe(0), pipe(1)],
        });
        index
    }

    /// How long something that `side` sends now takes.
    pub(crate) fn delay(&mut self, index: ConnIndex, side: usize) -> u64 {
        let connection = &mut self.connections[index];
        let (from, to) = (connection.ends[side].host, connection.ends[1 - side].host);
        let rng = &mut connection.pipes[side].rng;
        let (low, high) = self.delay;
        // Most of the delay belongs to the link, some to the message.
        let base = low + mix(self.seed, &[8, u64::from(from), u64::from(to)]) % (high - low + 1);
        let mut delay = base + rng.up_to(base / SPREAD + 1);
        if self.late_one_in > 0 && rng.one_in(self.late_one_in) {
            delay += rng.up_to(LATE_MAX);
        }
        if let Some(slow) = self.slow.get(&(from, to)) {
            delay += rng.up_to(*slow);
        }
        delay
    }

    /// Puts a packet on its way; returns when it is due.
    /// `takes` is for how long it occupies its direction.
    pub(crate) fn push(
        &mut self,
        now: u64,
        index: ConnIndex,
        side: usize,
        packet: Packet,
        takes: u64,
    ) -> u64 {
        let delay = self.delay(index, side);
        let pipe = &mut self.connections[index].pipes[side];
        let due = pipe.last_due.max(now + delay) + takes;
        pipe.last_due = due;
        pipe.queue.push_back((due, packet));
        due
    }

    pub(crate) fn is_blocked(&self, from: Host, to: Host) -> bool {
        !self.blocked.is_empty() && self.blocked.contains_key(&(from, to))
    }

    pub(crate) fn block(&mut self, from: Host, to: Host) {
        *self.blocked.entry((from, to)).or_default() += 1;
    }

    pub(crate) fn unblock(&mut self, from: Host, to: Host) {
        if let Some(count) = self.blocked.get_mut(&(from, to)) {
            *count -= 1;
            if *count == 0 {
                self.blocked.remove(&(from, to));
            }
        }
    }

    pub(crate) fn set_slow(&mut self, from: Host, to: Host, extra: Option<u64>) {
        match extra {
            Some(extra) => self.slow.insert((from, to), extra),
            None => self.slow.remove(&(from, to)),
        };
    }

    /// How long the stack of a host waits before it sends again what a cut swallowed.
    pub(crate) fn resend_delay(&mut self, index: ConnIndex, side: usize) -> u64 {
        self.connections[index].pipes[side]
            .rng
            .between(MS, 200 * MS)
    }
}
