//! Writes what items left: output, errors, the log. It blocks, so it runs on a thread of its own:
//! whoever reads our output may take their time without the cluster thinking us dead.

use std::fmt;
use std::io::{self, BufWriter, Write};
use std::time::SystemTime;

use super::joblog::{Entry, JobLog};
use super::ordered::Weigh;
use super::progress::Screen;
use crate::outcome::Finished;
use crate::streams;

const BUFFER: usize = 64 * 1024;

/// An item that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// From 1.
    pub(crate) number: u64,
    pub(crate) item: Vec<u8>,
    pub(crate) start: SystemTime,
    pub(crate) finished: Finished,
}

impl Weigh for Ended {
    fn weight(&self) -> usize {
        let finished = &self.finished;
        size_of::<Self>() + self.item.len() + finished.stdout.len() + finished.stderr.len()
    }
}

/// Why nothing more is written.
#[derive(Debug)]
pub(crate) enum PrintError {
    /// Standard output, which may be a pipe that nobody reads any more.
    Output(io::Error),
    /// The job log.
    Log(io::Error),
}

impl fmt::Display for PrintError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Output(error) => write!(f, "cannot write to standard output: {error}"),
            Self::Log(error) => write!(f, "cannot write to the job log: {error}"),
        }
    }
}

impl std::error::Error for PrintError {}

/// Everything that is written.
#[derive(Debug)]
pub(crate) struct Printer {
    pub(crate) tag: bool,
    pub(crate) log: Option<JobLog>,
    pub(crate) screen: Screen,
}

impl Printer {
    /// Writes what the items left, then their lines of the log: what the log has, has been
    /// written before.
    pub(crate) fn print(&mut self, batch: &[Ended]) -> Result<(), PrintError> {
        let tag = self.tag;
        let write = || write_all(batch, tag, &mut streams::stdout(), &mut streams::stderr());
        self.screen.around(write).map_err(PrintError::Output)?;
        let Some(log) = &mut self.log else {
            return Ok(());
        };
        for ended in batch {
            log.add(&entry(ended));
        }
        log.flush().map_err(PrintError::Log)
    }
}

/// Standard output of each item, its standard error, and what was wrong. Only errors of standard
/// output matter: there is nobody to tell of the others.
fn write_all(
    batch: &[Ended],
    tag: bool,
    stdout: &mut impl Write,
    stderr: &mut impl Write,
) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(BUFFER, stdout);
    for ended in batch {
        let Finished {
            stdout,
            stderr: errors,
            problem,
            ..
        } = &ended.finished;
        let tag = tag.then_some(&ended.item[..]);
        write_tagged(&mut out, stdout, tag)?;
        if errors.is_empty() && problem.is_none() {
            continue;
        }
        // So that both are in order where they go to the same place.
        out.flush()?;
        let _ = write_tagged(stderr, errors, tag);
        if let Some(problem) = problem {
            let torn = errors.last().is_some_and(|byte| *byte != b'\n');
            let line = format!(
                "{}argon: item {} ({}): {problem}\n",
                if torn { "\n" } else { "" },
                ended.number,
                short(&ended.item),
                problem = streams::clean(problem),
            );
            let _ = stderr.write_all(line.as_bytes());
        }
    }
    out.flush()
}

/// Writes lines with the item and a tab before each, if that is wanted.
fn write_tagged(out: &mut impl Write, text: &[u8], tag: Option<&[u8]>) -> io::Result<()> {
    let Some(tag) = tag else {
        return out.write_all(text);
    };
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        out.write_all(tag)?;
        out.write_all(b"\t")?;
        out.write_all(line)?;
    }
    // The next item's tag begins a line.
    match text.last() {
        None | Some(b'\n') => Ok(()),
        Some(_) => out.write_all(b"\n"),
    }
}

/// An item as part of a line for people.
fn short(item: &[u8]) -> String {
    const LONGEST: usize = 120;
    let text = String::from_utf8_lossy(item);
    let shown: String = text
        .chars()
        .take(LONGEST)
        .flat_map(|c| {
            let escaped: Vec<char> = if c.is_control() {
                c.escape_default().collect()
            } else {
                vec![c]
            };
            escaped
        })
        .collect();
    if text.chars().nth(LONGEST).is_some() {
        format!("{shown}...")
    } else {
        shown
    }
}

fn entry(ended: &Ended) -> Entry<'_> {
    let finished = &ended.finished;
    // A result that could not be read has an outcome that says too much.
    let unreadable = finished.label.outcome == "completed" && !finished.succeeded();
    Entry {
        seq: ended.number,
        item: &ended.item,
        worker: finished.label.worker.as_deref(),
        start: ended.start,
        runtime: finished.label.ran,
        exit: finished.exit,
        signal: finished.signal,
        attempts: finished.label.attempts,
        outcome: if unreadable {
            "failed"
        } else {
            finished.label.outcome
        },
    }
}

#[cfg(test)]
mod tests {
    use argon::command::{CommandOutput, CommandStatus};
    use argon::{Completion, ErrorKind, Failure, LastAttempt, Name, Outcome, TaskError};
    use argon_core::time::Nanos;

    use super::*;

    fn ended(item: &str, code: i32, stdout: &str, stderr: &str) -> Ended {
        let output = CommandOutput {
            status: CommandStatus::Exit(code),
            stdout: stdout.to_owned().into(),
            stderr: stderr.to_owned().into(),
        };
        let last = LastAttempt {
            ran: Nanos(1),
            waited: Nanos(1),
            worker: Name::new("w1").unwrap(),
        };
        let outcome = if code == 0 {
            Outcome::Completed(Completion { last, charged: 0 })
        } else {
            Outcome::Failed(Box::new(Failure {
                error: TaskError::new(ErrorKind::Exit(code), ""),
                last,
                history: Vec::new(),
            }))
        };
        Ended {
            number: 1,
            item: item.into(),
            start: SystemTime::UNIX_EPOCH,
            finished: Finished::new(&outcome, &output.encode()),
        }
    }

    fn write(batch: &[Ended], tag: bool) -> (String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        write_all(batch, tag, &mut out, &mut err).unwrap();
        (
            String::from_utf8(out).unwrap(),
            String::from_utf8(err).unwrap(),
        )
    }

    #[test]
    fn output_is_passed_on_as_it_is() {
        let batch = [ended("a", 0, "1\n2", ""), ended("b", 0, "", "warned\n")];
        assert_eq!(write(&batch, false), ("1\n2".into(), "warned\n".into()));
    }

    #[test]
    fn every_line_is_tagged() {
        let batch = [ended("a", 0, "1\n2\n", "e\n")];
        assert_eq!(
            write(&batch, true),
            ("a\t1\na\t2\n".into(), "a\te\n".into())
        );
    }

    #[test]
    fn a_tag_begins_a_line_after_an_output_without_an_end() {
        let batch = [ended("a", 0, "1", ""), ended("b", 0, "2\n", "")];
        assert_eq!(write(&batch, true).0, "a\t1\nb\t2\n");
    }

    #[test]
    fn a_failed_item_is_named_in_one_line_of_its_own() {
        let (_, err) = write(&[ended("a\nb", 3, "", "no newline")], false);
        assert_eq!(
            err,
            "no newline\nargon: item 1 (a\\nb): exit code 3 (on worker w1)\n"
        );
    }

    #[test]
    fn an_item_s_end_is_in_the_log() {
        let failed = ended("a", 3, "", "");
        let entry = entry(&failed);
        assert_eq!(
            (entry.exit, entry.outcome, entry.attempts, entry.worker),
            (Some(3), "failed", 1, Some("w1"))
        );
    }
}
