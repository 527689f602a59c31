//! A readable log of a run: one line a transition. Empty unless asked for.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bytes::BytesMut;

use crate::options::Host;

/// One thing that somebody did.
#[derive(Clone, Debug)]
pub struct Line {
    /// Virtual nanoseconds.
    pub at: u64,
    /// Who: `m0`, `w1.2` (second life of host 1), `c3`, `net`, `fault`.
    pub who: String,
    /// What.
    pub text: String,
    /// The task that it is about, by its place in the plan.
    pub task: Option<usize>,
}

/// A message on its way, heartbeats left out.
#[derive(Clone, Debug)]
pub struct Hop {
    /// Who sent it.
    pub from: Host,
    /// To whom.
    pub to: Host,
    /// When, in virtual nanoseconds.
    pub sent: u64,
    /// When it was there, if ever.
    pub arrived: Option<u64>,
    /// What it is called.
    pub kind: String,
    /// The task that it is about, by its place in the plan.
    pub task: Option<usize>,
}

/// What a machine counts, after a turn that changed it: names and values.
pub type Counts = [(&'static str, usize); 3];

/// See [`Counts`].
#[derive(Clone, Debug)]
pub struct Gauge {
    /// When, in virtual nanoseconds.
    pub at: u64,
    /// Whose.
    pub host: Host,
    /// How many lines there were by then.
    pub lines: usize,
    /// What.
    pub counts: Counts,
}

/// The log of one run. Only its lines are compared; the rest is for pictures.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    on: bool,
    lines: Vec<Line>,
    hops: Vec<Hop>,
    gauges: Vec<Gauge>,
    latest: BTreeMap<Host, Counts>,
    /// The hash of what the machines sent, if it is asked for.
    frames: Option<u64>,
}

/// Of 64-bit FNV-1a: where a hash begins, and what each byte multiplies it by.
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;

/// Takes `bytes` into a hash (64-bit FNV-1a).
pub(crate) fn fnv(hash: u64, bytes: impl IntoIterator<Item = u8>) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME);
    bytes.into_iter().fold(hash, step)
}

impl Trace {
    /// Keeps nothing.
    #[must_use]
    pub fn off() -> Self {
        Self::default()
    }

    /// Keeps every line.
    #[must_use]
    pub fn on() -> Self {
        Self {
            on: true,
            ..Self::default()
        }
    }

    /// Keeps no line, only one number for all frames that were sent, with who sent each and when.
    #[must_use]
    pub fn of_frames() -> Self {
        Self {
            frames: Some(FNV_OFFSET),
            ..Self::default()
        }
    }

    /// That number, if it was asked for.
    #[must_use]
    pub fn frames_hash(&self) -> Option<u64> {
        self.frames
    }

    /// Takes a frame into the hash, if there is one: when it was sent, from which side of which
    /// connection, and its bytes.
    pub(crate) fn frame(&mut self, sent: [u64; 3], bytes: impl FnOnce() -> BytesMut) {
        if let Some(hash) = &mut self.frames {
            let sent = sent.into_iter().flat_map(u64::to_le_bytes);
            *hash = fnv(*hash, sent.chain(bytes()));
        }
    }

    /// Sets the hash, if there is one, for those who make their own.
    #[cfg(feature = "turmoil")]
    pub(crate) fn set_frames_hash(&mut self, hash: u64) {
        if let Some(frames) = &mut self.frames {
            *frames = hash;
        }
    }

    /// Whether lines are kept; if not, none need to be written.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.on
    }

    pub(crate) fn push(&mut self, line: Line) {
        self.lines.push(line);
    }

    /// A message leaves; its place is asked for when it arrives.
    pub(crate) fn leaves(&mut self, hop: Hop) -> usize {
        self.hops.push(hop);
        self.hops.len() - 1
    }

    pub(crate) fn arrives(&mut self, place: usize, at: u64) {
        if let Some(hop) = self.hops.get_mut(place) {
            hop.arrived = Some(at);
        }
    }

    /// Keeps what a machine counts, if it is not what it was.
    pub(crate) fn counts(&mut self, at: u64, host: Host, counts: Counts) {
        if self.latest.insert(host, counts) != Some(counts) {
            let lines = self.lines.len();
            self.gauges.push(Gauge {
                at,
                host,
                lines,
                counts,
            });
        }
    }

    /// Messages in the order in which they left.
    #[must_use]
    pub fn hops(&self) -> &[Hop] {
        &self.hops
    }

    /// What machines counted, in order of time.
    #[must_use]
    pub fn gauges(&self) -> &[Gauge] {
        &self.gauges
    }

    /// Puts the lines in order of time, for those who do not write them in that order.
    #[cfg(feature = "turmoil")]
    pub(crate) fn sort(&mut self) {
        self.lines.sort_by_key(|line| line.at);
    }

    /// The lines, oldest first.
    #[must_use]
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// The whole log as text.
    #[must_use]
    pub fn render(&self) -> String {
        render(self.lines.iter())
    }

    /// A number that two traces share if they are equal, byte for byte, and else hardly ever
    /// (64-bit FNV-1a of the text).
    #[must_use]
    pub fn hash(&self) -> u64 {
        fnv(FNV_OFFSET, self.render().bytes())
    }

    /// The lines that are about one task, all faults, and whatever was said just before the end.
    #[must_use]
    pub fn around(&self, task: Option<usize>, last: usize) -> String {
        let tail = self.lines.len().saturating_sub(last);
        render(self.lines.iter().enumerate().filter_map(|(index, line)| {
            let wanted = line.who == "fault"
                || (task.is_some() && line.task == task)
                || (task.is_none() && index >= tail);
            wanted.then_some(line)
        }))
    }
}

fn render<'a>(lines: impl Iterator<Item = &'a Line>) -> String {
    let mut text = String::new();
    for line in lines {
        let (seconds, rest) = (line.at / 1_000_000_000, line.at % 1_000_000_000);
        let _ = writeln!(
            text,
            "{seconds:>4}.{rest:09} {:>6}  {}",
            line.who, line.text
        );
    }
    text
}
