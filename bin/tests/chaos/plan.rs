//! The faults of a run, all from one seed: what, on which host, for how long.
//!
//! Two *lanes* run side by side, so that two faults at most are there at a time. The first has the
//! manager and one worker of each runtime, the second the clients and the other workers: faults of
//! different lanes never meet on a host, and one worker of each runtime is left at any time. After
//! some faults the lanes wait for each other, all heals, and the judge looks: a *round*.

use std::time::Duration;

/// The runtimes of workers; of each there are two workers.
pub(crate) const RUNTIMES: [&str; 4] = ["command", "rust", "python", "perl"];
/// The languages of clients; of each there are two clients, of which the second is killed at times.
pub(crate) const LANGUAGES: [&str; 3] = ["rust", "python", "perl"];

/// What a fault is. Another kind needs a place here, one in `faults.rs` that makes and heals it, and
/// a word in `judge.rs` on which second runs it excuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// SIGKILL; started again on the same address, or under the same name.
    Kill,
    /// SIGKILL of one process of a worker's pool, or of the guard that stands between them.
    KillPool,
    /// SIGTERM, which drains; a new one comes when the old has left.
    Restart,
    /// SIGSTOP, then SIGCONT.
    Stop,
    /// The same of all processes of the host, as when a machine sleeps.
    Freeze,
    /// No packets to or from the host.
    Cut,
    /// The host hears others, who do not hear it.
    CutFrom,
    /// The host does not hear others, who hear it.
    CutTo,
    /// Whoever sends the host something is told that there is no such connection.
    Reset,
    /// Its cable is out.
    LinkDown,
    /// All workers, one after the other: SIGTERM, and at once a new one under another name.
    Rolling,
    /// Everybody shows another key from now on; the old one is accepted still.
    Keys,
    /// Nobody's doing: the machine had no time for this test, and so perhaps none for Argon.
    Starved,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::KillPool => "kill pool process",
            Self::Restart => "restart",
            Self::Stop => "stop",
            Self::Freeze => "freeze",
            Self::Cut => "cut both ways",
            Self::CutFrom => "cut from",
            Self::CutTo => "cut to",
            Self::Reset => "reset",
            Self::LinkDown => "link down",
            Self::Rolling => "rolling restart",
            Self::Keys => "keys exchanged",
            Self::Starved => "machine busy",
        }
    }
}

/// One fault.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) kind: Kind,
    /// The host; `workers` for all of them.
    pub(crate) host: String,
    /// How long it lasts.
    pub(crate) hold: Duration,
    /// How long the lane waits before it.
    pub(crate) pause: Duration,
}

/// What happens between two looks of the judge.
#[derive(Clone, Debug)]
pub(crate) struct Round {
    pub(crate) lanes: [Vec<Fault>; 2],
    /// After the lanes.
    pub(crate) rolling: Option<Fault>,
}

/// How much there is to be of it all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) rounds: usize,
    /// In each lane.
    pub(crate) faults_a_round: usize,
    /// A rolling restart at the end of every so many rounds.
    pub(crate) rolling_every: usize,
}

/// About as long as a lane takes for a fault, its pause included, with what a round adds.
const MEAN_FAULT: Duration = Duration::from_millis(3_000);
const FAULTS_A_ROUND: usize = 20;

impl Size {
    /// Some dozens of faults, in about 45 seconds.
    pub(crate) const SHORT: Self = Self {
        rounds: 3,
        faults_a_round: 5,
        rolling_every: 3,
    };

    /// So many that they take about this long.
    pub(crate) fn of_minutes(minutes: u32) -> Self {
        let round = MEAN_FAULT * u32::try_from(FAULTS_A_ROUND).expect("small");
        let rounds = Duration::from_secs(60) * minutes;
        Self {
            rounds: usize::try_from(rounds.as_secs() / round.as_secs()).expect("some") + 1,
            faults_a_round: FAULTS_A_ROUND,
            rolling_every: 3,
        }
    }
}

/// The name of the host of a worker.
pub(crate) fn worker(runtime: &str, number: usize) -> String {
    format!("worker-{runtime}-{number}")
}

/// The name of the host of a client.
pub(crate) fn client(language: &str, number: usize) -> String {
    format!("client-{language}-{number}")
}

/// The one that may be killed: nobody is left then to ask what became of its tasks.
pub(crate) const MORTAL: usize = 2;

/// All hosts.
pub(crate) fn hosts() -> Vec<String> {
    let workers = RUNTIMES
        .iter()
        .flat_map(|of| [worker(of, 1), worker(of, 2)]);
    let clients = LANGUAGES
        .iter()
        .flat_map(|of| [client(of, 1), client(of, 2)]);
    let manager = ["manager".to_owned()].into_iter();
    manager.chain(workers).chain(clients).collect()
}

/// Everything that will go wrong.
pub(crate) fn plan(seed: u64, size: Size) -> Vec<Round> {
    let mut dice = Dice(seed);
    let rounds = (0..size.rounds).map(|number| {
        // In the last quarter one manager lives through it all, so that what it leaks adds up.
        let manager_dies = number * 4 < size.rounds * 3;
        let mut lane = |hosts: &dyn Fn(&mut Dice) -> String| {
            let faults = 0..size.faults_a_round;
            faults
                .map(|_| {
                    let host = hosts(&mut dice);
                    fault(&mut dice, host, manager_dies)
                })
                .collect()
        };
        let first = lane(&|dice| match dice.below(3) {
            0 => "manager".to_owned(),
            _ => worker(dice.of(&RUNTIMES), 1),
        });
        let second = lane(&|dice| match dice.below(2) {
            0 => {
                let language = dice.of(&LANGUAGES);
                client(language, 1 + dice.below(2))
            }
            _ => worker(dice.of(&RUNTIMES), 2),
        });
        Round {
            lanes: [first, second],
            rolling: (number + 1)
                .is_multiple_of(size.rolling_every)
                .then(|| Fault {
                    kind: Kind::Rolling,
                    host: "workers".to_owned(),
                    hold: Duration::ZERO,
                    pause: Duration::from_millis(500),
                }),
        }
    });
    rounds.collect()
}

fn fault(dice: &mut Dice, host: String, manager_dies: bool) -> Fault {
    use Kind::{Cut, CutFrom, CutTo, Freeze, Kill, KillPool, LinkDown, Reset, Restart, Stop};
    let kinds: &[Kind] = if host == "manager" && manager_dies {
        &[
            Kill, Kill, Kill, Kill, Restart, Stop, Stop, Cut, CutFrom, CutTo, Reset, LinkDown,
        ]
    } else if host.starts_with("worker") {
        &[
            Kill, Kill, KillPool, KillPool, Restart, Stop, Freeze, Cut, CutFrom, CutTo, Reset,
            LinkDown,
        ]
    } else if host.starts_with("client") && host.ends_with(&format!("-{MORTAL}")) {
        &[
            Kill, Kill, Kill, Kill, Stop, Cut, CutFrom, CutTo, Reset, LinkDown,
        ]
    } else {
        &[Stop, Cut, CutFrom, CutTo, Reset, LinkDown]
    };
    let kind = dice.of(kinds);
    // Shorter than the lease of 2 s; a good deal longer; and at the lease, where it is close.
    let (from, to) = match dice.below(10) {
        0..6 => (100, 900),
        6..8 => (1_500, 2_500),
        8..9 => (2_500, 4_000),
        _ => (4_000, 7_000),
    };
    Fault {
        kind,
        host,
        hold: Duration::from_millis(dice.between(from, to)),
        pause: Duration::from_millis(dice.between(200, 800)),
    }
}

/// Splitmix64: the same numbers everywhere, for the same seed.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).expect("64 bits");
        usize::try_from(self.next() % bound).expect("below a usize")
    }

    fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.next() % (to - from)
    }

    fn of<T: Copy>(&mut self, these: &[T]) -> T {
        these[self.below(these.len())]
    }
}
