//! Texts of errors, cut to what is kept of them.

use argon_core::limits::ERROR_TEXT_MAX;
use argon_core::task::{ErrorKind, TaskError};

/// The last bytes of a stream.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    /// At most twice what is kept, so that each byte is moved once at most.
    bytes: Vec<u8>,
    /// How many bytes there have been.
    total: u64,
}

impl Tail {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let bytes = &bytes[bytes.len().saturating_sub(ERROR_TEXT_MAX)..];
        if self.bytes.len() + bytes.len() > 2 * ERROR_TEXT_MAX {
            let keep = self.bytes.len().min(ERROR_TEXT_MAX);
            self.bytes.drain(..self.bytes.len() - keep);
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The place in the stream of the next byte.
    pub(crate) fn mark(&self) -> u64 {
        self.total
    }

    /// What is kept of what came since `mark`, as text.
    pub(crate) fn text_since(&self, mark: u64) -> String {
        let length = usize::try_from(self.total - mark).unwrap_or(usize::MAX);
        end_of(&self.bytes[self.bytes.len().saturating_sub(length)..])
    }
}

/// Longest last words, in bytes.
const WORDS_MAX: usize = 256;

/// The last line of what a process said that is no part of a trace, cut to what a line of a log
/// can bear.
pub(crate) fn last_words(text: &str) -> &str {
    let is_trace = |line: &str| {
        let line = line.trim_start();
        let frame = line.trim_start_matches(|c: char| c.is_ascii_digit());
        line.is_empty()
            || frame.len() < line.len() && frame.starts_with(':')
            || ["at ", "note: ", "stack backtrace:"]
                .iter()
                .any(|start| line.starts_with(start))
    };
    let mut lines = text.lines().rev();
    let line = lines.find(|line| !is_trace(line)).unwrap_or_default();
    let line = line.trim();
    &line[..line.floor_char_boundary(WORDS_MAX)]
}

/// The end of `bytes`, as text.
pub(crate) fn end_of(bytes: &[u8]) -> String {
    let bytes = &bytes[bytes.len().saturating_sub(ERROR_TEXT_MAX)..];
    let mut text = String::from_utf8_lossy(bytes).into_owned();
    cut_start(&mut text);
    text
}

/// Keeps the end of a text that is too long.
pub(crate) fn cut_start(text: &mut String) {
    if text.len() > ERROR_TEXT_MAX {
        let start = text.ceil_char_boundary(text.len() - ERROR_TEXT_MAX);
        text.drain(..start);
    }
}

/// Keeps the start of a text that is too long.
pub(crate) fn cut_end(text: &mut String) {
    text.truncate(text.floor_char_boundary(ERROR_TEXT_MAX));
}

/// Cuts an error's texts to what travels of them.
pub(crate) fn cut_error(error: &mut TaskError) {
    cut_end(&mut error.message);
    cut_end(&mut error.backtrace);
    cut_start(&mut error.stderr);
    if let ErrorKind::Raised(kind) = &mut error.kind {
        cut_end(kind);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_kept_within_the_bound_and_is_text() {
        let mut tail = Tail::default();
        for number in 0..100_000 {
            tail.push(format!("é{number}\n").as_bytes());
            assert!(tail.bytes.len() <= 2 * ERROR_TEXT_MAX);
        }
        let text = tail.text_since(0);
        assert!(text.len() <= ERROR_TEXT_MAX && text.len() > ERROR_TEXT_MAX - 10);
        assert!(text.ends_with("é99998\né99999\n"));
        tail.push(&vec![0xff; 10 * ERROR_TEXT_MAX]);
        assert!(tail.text_since(0).len() <= ERROR_TEXT_MAX);
    }

    #[test]
    fn what_came_before_a_mark_can_be_left_out() {
        let mut tail = Tail::default();
        tail.push(b"one");
        let mark = tail.mark();
        assert_eq!(tail.text_since(mark), "");
        tail.push(b"two");
        assert_eq!(tail.text_since(mark), "two");
        assert_eq!(tail.text_since(0), "onetwo");
        let mark = tail.mark();
        tail.push(&[b'x'; 3 * ERROR_TEXT_MAX]);
        assert_eq!(tail.text_since(mark).len(), ERROR_TEXT_MAX);
    }

    #[test]
    fn last_words_are_one_line_without_a_trace() {
        let panic = "warm\nthread 'main' panicked at src/main.rs:2:5:\nout of ink: 3\n\
                     stack backtrace:\n   0: core::panicking\n             at lib.rs:5\n\
                     note: run with more\n\n";
        for (text, words) in [
            (panic, "out of ink: 3"),
            ("", ""),
            ("  one \n\n", "one"),
            ("12 is no frame", "12 is no frame"),
        ] {
            assert_eq!(last_words(text), words);
        }
        assert_eq!(last_words(&"é".repeat(WORDS_MAX)).len(), WORDS_MAX);
    }

    #[test]
    fn an_error_is_cut_at_characters() {
        let mut error = TaskError::new(ErrorKind::UnknownTask, "é".repeat(ERROR_TEXT_MAX));
        error.message.insert(0, 'x');
        error.stderr = format!("{}x", "é".repeat(ERROR_TEXT_MAX));
        cut_error(&mut error);
        assert_eq!(error.message.len(), ERROR_TEXT_MAX - 1);
        assert!(error.stderr.len() < ERROR_TEXT_MAX && error.stderr.ends_with("éx"));
    }
}
