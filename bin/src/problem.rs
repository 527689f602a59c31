//! How a command ends early.

use std::error::Error;
use std::fmt;

/// Argon itself could not do what was asked, as opposed to a command that it ran.
pub(crate) const EXIT_PROBLEM: u8 = 255;
/// As after a signal: Ctrl-C.
pub(crate) const EXIT_INTERRUPTED: u8 = 130;
/// As after a signal: whoever read our output is gone.
pub(crate) const EXIT_BROKEN_PIPE: u8 = 141;

/// What was wrong, and what would be right, in a line for people.
#[derive(Debug)]
pub(crate) struct Problem(String);

impl Problem {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Standard output takes no more.
    pub(crate) fn stdout(error: &std::io::Error) -> Self {
        Self(format!("cannot write to standard output: {error}"))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<E: Error> From<E> for Problem {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}
