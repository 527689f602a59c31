//! Tries every order of events of a small world, up to a depth.
//!
//! From a state in which two workers and a client are in and the client has just submitted its
//! tasks, every choice is taken: which message is delivered next on which connection, when a pool
//! process is ready, done or gone, when time passes to the next deadline, and, within a budget,
//! which connection is cut and which process crashes. After each, the machines' invariants and the
//! ledger are checked. From every state in which the depth is used up, the world is left to itself
//! without further faults: every task must end, and nothing may be left behind.
//!
//! States that are the same in everything that what comes next depends on (all machines, all that
//! is on its way, the time, the ledger) are visited once for each depth left. "The same" is judged
//! by a 128-bit hash of their complete `Debug` text, which shows the state of the generators too.
//!
//! What is not tried: messages that overtake each other on one connection (TCP keeps order), and
//! heartbeats as choices: they are delivered at once unless something on the connection is before
//! them. So silence comes from messages that stay undelivered while time passes.

pub mod command;
mod conns;
mod ledger;
mod pools;
mod world;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt::{self, Write as _};
use std::hash::Hasher as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;
use std::time::Duration;

use self::world::World;
use crate::run::{keep_panics, quiet_panics};

/// Steps that a world left to itself may take until all is over.
const ENDING_STEPS: u32 = 3_000;

/// One thing that happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// A connection is accepted; refused if no manager lives.
    Open(u64),
    /// The manager takes in the next message of a connection.
    Up(u64),
    /// The peer does.
    Down(u64),
    /// A worker's pool process is ready.
    Ready(usize),
    /// It ends what it runs.
    Finish(usize),
    /// It ends, as it was told.
    Die(usize),
    /// The client no longer wants its first task.
    Cancel,
    /// The first worker is told to leave.
    Drain,
    /// A process is started again.
    Start(usize),
    /// Time passes to the next deadline that is more than a heartbeat.
    Time,
    /// A connection is cut; what is on its way is lost.
    Cut(u64),
    /// A process dies.
    Crash(usize),
    /// A pool process dies under what it runs.
    Kill(usize),
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(n) => write!(f, "open{n}"),
            Self::Up(n) => write!(f, "up{n}"),
            Self::Down(n) => write!(f, "down{n}"),
            Self::Ready(n) => write!(f, "ready{n}"),
            Self::Finish(n) => write!(f, "finish{n}"),
            Self::Die(n) => write!(f, "die{n}"),
            Self::Cancel => write!(f, "cancel"),
            Self::Drain => write!(f, "drain"),
            Self::Start(n) => write!(f, "start{n}"),
            Self::Time => write!(f, "time"),
            Self::Cut(n) => write!(f, "cut{n}"),
            Self::Crash(n) => write!(f, "crash{n}"),
            Self::Kill(n) => write!(f, "kill{n}"),
        }
    }
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let split = text
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(text.len());
        let (word, digits) = text.split_at(split);
        let number = || {
            let number = digits.parse::<u64>();
            number.map_err(|_| format!("{text}: a choice is a word and a number, such as up0"))
        };
        let host = || number().map(|number| number as usize);
        Ok(match word {
            "open" => Self::Open(number()?),
            "up" => Self::Up(number()?),
            "down" => Self::Down(number()?),
            "ready" => Self::Ready(host()?),
            "finish" => Self::Finish(host()?),
            "die" => Self::Die(host()?),
            "cancel" => Self::Cancel,
            "drain" => Self::Drain,
            "start" => Self::Start(host()?),
            "time" => Self::Time,
            "cut" => Self::Cut(number()?),
            "crash" => Self::Crash(host()?),
            "kill" => Self::Kill(host()?),
            _ => return Err(format!("{text}: no such choice")),
        })
    }
}

/// A task of a small world.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shape {
    /// It must not start twice.
    pub at_most_once: bool,
    /// It ends by then.
    pub deadline: Option<Duration>,
}

/// A small world.
#[derive(Clone, Debug)]
pub struct Setup {
    /// What it is called.
    pub name: &'static str,
    /// What the client submits.
    pub tasks: Vec<Shape>,
    /// The bound of the queue.
    pub queue: usize,
    /// The client may cancel its first task.
    pub cancel: bool,
    /// The first worker may be drained.
    pub drain: bool,
    /// Cuts and crashes in all.
    pub faults: u32,
}

impl Setup {
    /// The worlds that are tried, with so many faults.
    #[must_use]
    pub fn all(faults: u32) -> Vec<Self> {
        let plain = Self {
            name: "plain",
            tasks: vec![Shape::default(); 2],
            queue: 10,
            cancel: false,
            drain: false,
            faults,
        };
        let once = Shape {
            at_most_once: true,
            ..Shape::default()
        };
        let brief = Shape {
            deadline: Some(Duration::from_secs(1)),
            ..Shape::default()
        };
        vec![
            Self {
                name: "once",
                tasks: vec![once, Shape::default()],
                ..plain.clone()
            },
            Self {
                name: "narrow",
                queue: 1,
                ..plain.clone()
            },
            Self {
                name: "cancel",
                tasks: vec![Shape::default(), once],
                cancel: true,
                ..plain.clone()
            },
            Self {
                name: "drain",
                drain: true,
                ..plain.clone()
            },
            Self {
                name: "deadline",
                tasks: vec![brief, Shape::default()],
                ..plain.clone()
            },
            plain,
        ]
    }
}

/// What a search amounted to.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Different states that were seen.
    pub states: u64,
    /// Choices that were taken.
    pub steps: u64,
    /// States that were left to themselves until all was over.
    pub endings: u64,
    /// The first way that breaks a promise, and how.
    pub broken: Option<(Vec<Choice>, String)>,
}

/// Tries everything in a small world, up to so many choices from its beginning.
#[must_use]
pub fn explore(setup: &Setup, depth: u32) -> Found {
    quiet_panics();
    let mut search = Search {
        seen: HashMap::new(),
        found: Found::default(),
        path: Vec::new(),
    };
    let world = beginning(setup);
    search.visit(&world, depth);
    search.found.states = search.seen.len() as u64;
    search.found
}

/// Goes one way, and then lets the world come to its end; the log, and what is broken.
#[must_use]
pub fn follow(setup: &Setup, path: &[Choice]) -> (Vec<String>, Option<String>) {
    quiet_panics();
    let mut world = beginning(setup);
    world.log = Some(Vec::new());
    let mut broken = None;
    for &choice in path {
        broken = take(&mut world, choice);
        if broken.is_some() {
            break;
        }
    }
    if broken.is_none() {
        broken = guarded(|| ending(&mut world)).unwrap_or_else(Some);
    }
    (world.log.take().unwrap_or_default(), broken)
}

/// Workers and client are in, and the client has just submitted.
fn beginning(setup: &Setup) -> World<'_> {
    let mut world = World::new(setup);
    for _ in 0..ENDING_STEPS {
        if world.is_warm() {
            break;
        }
        let choice = natural(&world);
        world.choose(choice);
    }
    assert!(world.is_warm(), "nothing is in its way");
    world.submit();
    world
}

/// What happens if nothing goes wrong and nobody dawdles.
fn natural(world: &World<'_>) -> Choice {
    let choices = world.choices();
    let willing = |choice: &&Choice| !matches!(choice, Choice::Cancel | Choice::Drain);
    *choices.iter().find(willing).expect("time can always pass")
}

/// Leaves the world to itself: what is wrong with how it ends, if anything.
fn ending(world: &mut World<'_>) -> Option<String> {
    for _ in 0..ENDING_STEPS {
        if let Some(broken) = world.ledger.broken() {
            return Some(broken.to_owned());
        }
        if world.ledger.is_over() && world.leftovers().is_none() {
            return None;
        }
        let choice = natural(world);
        world.choose(choice);
    }
    Some(if world.ledger.is_over() {
        let left = world.leftovers().unwrap_or_default();
        format!("left behind: {left}")
    } else {
        "a task does not end".to_owned()
    })
}

/// Runs the product; its panic as text.
fn guarded<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    keep_panics(true);
    let result = catch_unwind(AssertUnwindSafe(run));
    keep_panics(false);
    result.map_err(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        format!("panic: {}", text.unwrap_or_default())
    })
}

/// Takes a choice: what it breaks, if anything.
fn take(world: &mut World<'_>, choice: Choice) -> Option<String> {
    match guarded(|| world.choose(choice)) {
        Ok(()) => world.ledger.broken().map(ToOwned::to_owned),
        Err(panic) => Some(panic),
    }
}

/// A search, depth first.
struct Search {
    /// How much depth was left when each state was last visited.
    seen: HashMap<u128, u32>,
    found: Found,
    path: Vec<Choice>,
}

impl Search {
    fn visit(&mut self, world: &World<'_>, depth: u32) {
        match self.seen.entry(hash(world)) {
            Entry::Occupied(seen) if *seen.get() >= depth => return,
            Entry::Occupied(mut seen) => {
                seen.insert(depth);
            }
            Entry::Vacant(new) => {
                new.insert(depth);
            }
        }
        if depth == 0 {
            let mut rest = world.clone();
            self.found.endings += 1;
            let broken = guarded(|| ending(&mut rest)).unwrap_or_else(Some);
            if let Some(broken) = broken {
                self.found.broken = Some((self.path.clone(), broken));
            }
            return;
        }
        for choice in world.choices() {
            let mut next = world.clone();
            self.found.steps += 1;
            self.path.push(choice);
            match take(&mut next, choice) {
                Some(broken) => self.found.broken = Some((self.path.clone(), broken)),
                None => self.visit(&next, depth - 1),
            }
            self.path.pop();
            if self.found.broken.is_some() {
                return;
            }
        }
    }
}

/// Feeds text to a hash without keeping it.
struct Hashing([std::hash::DefaultHasher; 2]);

impl fmt::Write for Hashing {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for half in &mut self.0 {
            half.write(text.as_bytes());
        }
        Ok(())
    }
}

fn hash(world: &World<'_>) -> u128 {
    let mut hashing = Hashing([
        std::hash::DefaultHasher::new(),
        std::hash::DefaultHasher::new(),
    ]);
    hashing.0[1].write_u8(1);
    write!(hashing, "{world:?}").expect("hashing does not fail");
    let [high, low] = hashing.0.map(|half| half.finish());
    u128::from(high) << 64 | u128::from(low)
}
