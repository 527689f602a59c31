//! What goes wrong: an explicit schedule, drawn from the seed before the run, so that any part of
//! it can be left out.

use argon_core::rng::Rng;
use serde::{Deserialize, Serialize};

use crate::options::{Host, MS, Options, S};
use crate::rng::{Draw, stream};

/// One thing that goes wrong, and for how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// When, in virtual nanoseconds.
    pub at: u64,
    /// How long; for a crash, until the process is started again.
    pub span: u64,
    /// What.
    pub kind: FaultKind,
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FaultKind {
    /// The process dies, its memory is lost, its connections are closed by its host.
    Crash(Host),
    /// The host loses power: nobody is told.
    PowerLoss(Host),
    /// The process stands still; its connections stay open and its pool goes on.
    Pause(Host),
    /// What the first sends to the second does not arrive until the cut is over.
    Cut(Host, Host),
    /// No message passes between these hosts and all others.
    Isolate(Vec<Host>),
    /// Every connection between the two is closed, and both are told.
    Reset(Host, Host),
    /// Every connection between the two is dead, and only the first is told.
    HalfOpen(Host, Host),
    /// Messages between the two are late by up to this.
    Slow(Host, Host, u64),
    /// The pool process in this slot dies.
    KillChild(Host, u32),
    /// Executions that start now take so many times as long.
    SlowWorker(Host, u32),
    /// Pool processes take this long to die.
    StuckChildren(Host, u64),
    /// Pool processes cannot be started.
    NoSpawn(Host),
    /// A worker or manager drains; when it has, it is started again.
    Drain(Host),
    /// A client or worker stops, and is started again.
    Stop(Host),
    /// A stranger with the key says all sorts of things to this manager.
    Hostile(Host),
    /// The whole host stands still, its pool included.
    Freeze(Host),
    /// Whatever starts on this worker now fails at once.
    Spoil(Host),
    /// This worker's machine lacks what it takes to start anything.
    Short(Host),
    /// This manager is gone, and a stranger with the key answers at its address.
    Impostor(Host),
}

impl FaultKind {
    /// A word for counting.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Crash(_) => "crash",
            Self::PowerLoss(_) => "power-loss",
            Self::Pause(_) => "pause",
            Self::Cut(..) => "cut",
            Self::Isolate(_) => "isolate",
            Self::Reset(..) => "reset",
            Self::HalfOpen(..) => "half-open",
            Self::Slow(..) => "slow-link",
            Self::KillChild(..) => "kill-child",
            Self::SlowWorker(..) => "slow-worker",
            Self::StuckChildren(..) => "stuck-children",
            Self::NoSpawn(_) => "no-spawn",
            Self::Drain(_) => "drain",
            Self::Stop(_) => "stop",
            Self::Hostile(_) => "hostile",
            Self::Freeze(_) => "freeze",
            Self::Spoil(_) => "spoil",
            Self::Short(_) => "short",
            Self::Impostor(_) => "impostor",
        }
    }

    /// The hosts whose work it may disturb.
    #[must_use]
    pub fn hosts(&self) -> Vec<Host> {
        match self {
            Self::Crash(host)
            | Self::PowerLoss(host)
            | Self::Pause(host)
            | Self::KillChild(host, _)
            | Self::SlowWorker(host, _)
            | Self::StuckChildren(host, _)
            | Self::NoSpawn(host)
            | Self::Drain(host)
            | Self::Hostile(host)
            | Self::Freeze(host)
            | Self::Impostor(host)
            | Self::Spoil(host)
            | Self::Short(host)
            | Self::Stop(host) => vec![*host],
            Self::Cut(a, b) | Self::Reset(a, b) | Self::HalfOpen(a, b) | Self::Slow(a, b, _) => {
                vec![*a, *b]
            }
            Self::Isolate(hosts) => hosts.clone(),
        }
    }
}

const KINDS: u64 = 15;

/// Draws a schedule: first which kinds there are in this run at all, then how often.
pub(crate) fn draw(seed: u64, options: &Options) -> Vec<Fault> {
    let mut rng = stream(seed, &[5]);
    let mut kinds: Vec<u64> = (0..KINDS).filter(|_| rng.percent(35)).collect();
    if kinds.is_empty() {
        kinds.push(rng.between(0, KINDS - 1));
    }
    let count = rng.log_between(1, 40);
    let longest = rng.pick(&[100 * MS, S, 5 * S, 40 * S]);
    let mut faults: Vec<Fault> = (0..count)
        .map(|index| {
            let mut rng = stream(seed, &[6, index]);
            let kind = rng.pick(&kinds);
            Fault {
                at: rng.up_to(options.heal_at),
                span: rng.log_between(MS, longest),
                kind: draw_kind(&mut rng, kind, options),
            }
        })
        .collect();
    let mut rng = stream(seed, &[22]);
    for kind in KINDS..KINDS + 3 {
        if rng.percent(12) {
            more(&mut rng, kind, options, &mut faults);
        }
    }
    let mut rng = stream(seed, &[23]);
    for kind in [FaultKind::Spoil, FaultKind::Short] {
        if rng.percent(12) {
            let longest = rng.pick(&[S, 5 * S, 20 * S]);
            faults.extend((0..rng.between(1, 3)).map(|_| Fault {
                at: rng.up_to(options.heal_at),
                span: rng.log_between(MS, longest),
                kind: kind(rng.pick(&options.worker_hosts().collect::<Vec<_>>())),
            }));
        }
    }
    faults.sort_by_key(|fault| fault.at);
    faults
}

/// What came later, and has its own stream so that older seeds mean what they meant.
fn more(rng: &mut Rng, kind: u64, options: &Options, faults: &mut Vec<Fault>) {
    let last = u64::from(options.hosts()) - 1;
    let at = rng.up_to(options.heal_at);
    let longest = rng.pick(&[S, 5 * S, 20 * S]);
    match kind - KINDS {
        0 => faults.extend((0..rng.between(1, 4)).map(|_| Fault {
            at: rng.up_to(options.heal_at),
            span: rng.log_between(MS, longest),
            kind: FaultKind::Freeze(rng.between(0, last) as Host),
        })),
        1 => faults.push(Fault {
            at,
            span: rng.log_between(100 * MS, longest),
            kind: FaultKind::Impostor(rng.up_to(u64::from(options.managers) - 1) as Host),
        }),
        // One after the other, as in an upgrade of the whole cluster.
        _ => {
            let (how, gap) = (rng.up_to(2), rng.log_between(10 * MS, S));
            let peers = options.managers..options.hosts();
            let hosts = if rng.percent(50) {
                0..options.hosts()
            } else {
                peers
            };
            faults.extend(hosts.zip(0..).map(|(host, place)| Fault {
                at: at + place * gap,
                span: gap,
                kind: match how {
                    0 => FaultKind::Crash(host),
                    1 if !options.client_hosts().contains(&host) => FaultKind::Drain(host),
                    _ => FaultKind::Stop(host),
                },
            }));
        }
    }
}

fn draw_kind(rng: &mut Rng, kind: u64, options: &Options) -> FaultKind {
    let any = |rng: &mut Rng| -> Host { rng.between(0, u64::from(options.hosts()) - 1) as Host };
    let of = |rng: &mut Rng, hosts: std::ops::Range<Host>| -> Host {
        rng.between(u64::from(hosts.start), u64::from(hosts.end) - 1) as Host
    };
    let worker = of(rng, options.worker_hosts());
    let manager = of(rng, 0..options.managers);
    let peer = of(rng, options.managers..options.hosts());
    let slots = options.workers[usize::from(worker - options.managers)];
    match kind {
        0 => FaultKind::Crash(any(rng)),
        1 => FaultKind::PowerLoss(any(rng)),
        2 => FaultKind::Pause(any(rng)),
        3 => match rng.percent(50) {
            true => FaultKind::Cut(peer, manager),
            false => FaultKind::Cut(manager, peer),
        },
        4 => {
            let hosts = (0..options.hosts()).filter(|_| rng.percent(40)).collect();
            FaultKind::Isolate(hosts)
        }
        5 => FaultKind::Reset(peer, manager),
        6 => match rng.percent(50) {
            true => FaultKind::HalfOpen(peer, manager),
            false => FaultKind::HalfOpen(manager, peer),
        },
        7 => FaultKind::Slow(peer, manager, rng.log_between(MS, 500 * MS)),
        8 => FaultKind::KillChild(worker, rng.between(0, u64::from(slots) - 1) as u32),
        9 => FaultKind::SlowWorker(worker, rng.log_between(2, 50) as u32),
        10 => FaultKind::StuckChildren(worker, rng.log_between(10 * MS, 5 * S)),
        11 => FaultKind::NoSpawn(worker),
        12 => FaultKind::Drain(if rng.percent(70) { worker } else { manager }),
        13 => FaultKind::Stop(peer),
        _ => FaultKind::Hostile(manager),
    }
}
