//! What tasks print: passed on to the log, a line each with the task's name and id, and no more of
//! them a second than is wanted. It is read in any case, so that nobody waits to be heard.

use std::time::Duration;

use argon_core::ids::TaskId;
use argon_core::name::Name;
use tokio::time::Instant;
use tracing::{Level, enabled, info, warn};

/// What these lines are logged as, at level `info`.
pub const TARGET: &str = "argon::task_output";
/// Longest line that is passed on, in bytes; of a longer one, its start.
const LINE_MAX: usize = 1_024;
/// The time in which so many lines may come.
const WINDOW: Duration = Duration::from_secs(1);

/// How many lines pass in a second, of all processes of a pool together.
#[derive(Debug)]
pub(super) struct Printed {
    most: u32,
    /// When the second began.
    began: Option<Instant>,
    passed: u32,
    dropped: u64,
}

impl Printed {
    /// At most so many lines a second; 0 for none.
    pub(super) fn new(most: u32) -> Self {
        Self {
            most,
            began: None,
            passed: 0,
            dropped: 0,
        }
    }

    /// Whether anybody is to see the lines.
    fn is_wanted(&self) -> bool {
        self.most > 0 && enabled!(target: TARGET, Level::INFO)
    }

    /// Whether a line passes now; how many were dropped since one passed last.
    fn admit(&mut self, now: Instant) -> Option<u64> {
        if self.began.is_none_or(|began| now - began >= WINDOW) {
            self.began = Some(now);
            self.passed = 0;
        }
        if self.passed < self.most {
            self.passed += 1;
            return Some(std::mem::take(&mut self.dropped));
        }
        self.dropped += 1;
        None
    }

    fn say(&mut self, of: &Printer<'_>, line: &[u8]) {
        match self.admit(Instant::now()) {
            None if self.dropped == 1 => warn!(
                target: TARGET,
                "tasks print more than {} lines a second: the rest is left out", self.most
            ),
            None => {}
            Some(dropped) => {
                if dropped > 0 {
                    warn!(target: TARGET, "{dropped} lines of tasks were left out");
                }
                let text = String::from_utf8_lossy(line);
                let text = harmless(text.trim_end_matches('\r'));
                match of {
                    Some((name, task)) => info!(target: TARGET, "{name} {task}: {text}"),
                    None => info!(target: TARGET, "a pool process, between tasks: {text}"),
                }
            }
        }
    }
}

/// A text that moves no cursor, whoever writes the log to a terminal.
fn harmless(text: &str) -> String {
    let mut harmless = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\t' {
            harmless.extend(c.escape_default());
        } else {
            harmless.push(c);
        }
    }
    harmless
}

/// The task that prints, if one runs.
pub(super) type Printer<'a> = Option<(&'a Name, TaskId)>;

/// A line of one process that has yet to end.
#[derive(Debug, Default)]
pub(super) struct Line {
    start: Vec<u8>,
}

impl Line {
    /// Takes bytes in, and passes on the lines that they end.
    pub(super) fn push(&mut self, bytes: &[u8], printed: &mut Printed, of: &Printer<'_>) {
        if printed.is_wanted() {
            self.split(bytes, |line| printed.say(of, line));
        }
    }

    /// The task has ended, and so has its line.
    pub(super) fn end(&mut self, printed: &mut Printed, of: &Printer<'_>) {
        if !self.start.is_empty() {
            let line = std::mem::take(&mut self.start);
            printed.say(of, &line);
        }
    }

    fn split(&mut self, bytes: &[u8], mut whole: impl FnMut(&[u8])) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = match piece {
                [text @ .., b'\n'] => (text, true),
                text => (text, false),
            };
            let room = LINE_MAX - self.start.len();
            self.start.extend_from_slice(&text[..text.len().min(room)]);
            if ends {
                if !self.start.is_empty() {
                    whole(&self.start);
                }
                self.start.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_however_they_come_and_cut_where_they_are_long() {
        let mut line = Line::default();
        let mut whole = Vec::new();
        for bytes in [
            &b"one\ntw"[..],
            b"o",
            b"\n\n",
            &[b'x'; 3 * LINE_MAX],
            b"y\nz",
        ] {
            line.split(bytes, |line| whole.push(line.to_vec()));
        }
        assert_eq!(whole[..2], [b"one".to_vec(), b"two".to_vec()]);
        assert_eq!(whole[2..], [vec![b'x'; LINE_MAX]]);
        assert_eq!(line.start, b"z");
    }

    #[test]
    fn a_line_moves_no_cursor() {
        assert_eq!(harmless("it's\t\x1b[2J\r é"), "it's\t\\u{1b}[2J\\r é");
    }

    #[test]
    fn so_many_lines_a_second_and_the_rest_is_counted() {
        let mut printed = Printed::new(2);
        let now = Instant::now();
        let later = now + WINDOW;
        let admitted: Vec<Option<u64>> = [now, now, now, now, later, later, later]
            .map(|now| printed.admit(now))
            .into();
        let expected = [Some(0), Some(0), None, None, Some(2), Some(0), None];
        assert_eq!(admitted, expected);
    }
}
