//! A readable log of a run: one line a transition. Empty unless asked for.

use std::fmt::Write as _;

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

/// The log of one run.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    on: bool,
    lines: Vec<Line>,
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
            lines: Vec::new(),
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

    /// Puts the lines in order of time, for those who do not write them in that order.
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
        let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        self.render().bytes().fold(0xcbf2_9ce4_8422_2325, step)
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
