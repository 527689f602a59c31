//! What became of a task, in words and numbers.

use argon::command::{CommandOutput, CommandStatus};
use argon::{AttemptLoss, AttemptRecord, ErrorKind, Outcome, TaskError};
use argon::{Name, Payload, RejectReason};
use bytes::Bytes;
use std::fmt::Write as _;
use std::time::Duration;

use crate::cluster::LOCAL;
use crate::problem::EXIT_PROBLEM;

/// A command ran longer than its time limit, as `timeout` says it.
const EXIT_TIME_LIMIT: u8 = 124;

/// The end of a command.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) stdout: Bytes,
    pub(crate) stderr: Bytes,
    /// Its exit code, if it came to have one.
    pub(crate) exit: Option<i32>,
    /// The signal that ended it, if one did.
    pub(crate) signal: Option<i32>,
    pub(crate) label: Label,
    /// If it did not end with exit code 0: what happened, for people.
    pub(crate) problem: Option<String>,
}

/// An outcome as logs have it.
#[derive(Debug)]
pub(crate) struct Label {
    pub(crate) outcome: &'static str,
    /// Attempts that are known of.
    pub(crate) attempts: usize,
    /// The worker of the last attempt, where it is known.
    pub(crate) worker: Option<String>,
    /// How long the last attempt ran, where it is known.
    pub(crate) ran: Option<Duration>,
}

impl Finished {
    /// Reads the outcome of a command.
    pub(crate) fn new(outcome: &Outcome, payload: &Payload) -> Self {
        let mut problem = problem(outcome);
        let is_cut = matches!(outcome, Outcome::Failed(failure) if matches!(
            failure.error.kind,
            ErrorKind::MemoryLimit | ErrorKind::ResultTooLarge
        ));
        let mut finished = Self {
            stdout: Bytes::new(),
            stderr: Bytes::new(),
            exit: None,
            signal: None,
            label: label(outcome),
            problem: None,
        };
        let ran = match outcome {
            Outcome::Completed(_) => true,
            Outcome::Failed(failure) => {
                match failure.error.kind {
                    ErrorKind::Exit(code) => finished.exit = Some(code),
                    ErrorKind::Signal(signal) => finished.signal = Some(signal),
                    _ => {}
                }
                finished.stderr = Bytes::from(failure.error.stderr.clone());
                !payload.is_empty()
            }
            _ => false,
        };
        if ran {
            match CommandOutput::decode(payload) {
                Ok(output) => {
                    match output.status {
                        // We ended it, which says more.
                        _ if finished.label.outcome == "time_limit" || is_cut => {}
                        CommandStatus::Exit(code) => finished.exit = Some(code),
                        CommandStatus::Signal(signal) => finished.signal = Some(signal),
                    }
                    finished.stdout = output.stdout;
                    finished.stderr = output.stderr;
                }
                Err(error) => {
                    problem = Some(format!(
                        "its result is not that of a command ({error}); \
                         do the workers run the built-in runtime?"
                    ));
                }
            }
        }
        finished.problem = problem;
        finished
    }

    /// The end of what was not even submitted.
    pub(crate) fn refused(problem: String) -> Self {
        Self {
            stdout: Bytes::new(),
            stderr: Bytes::new(),
            exit: None,
            signal: None,
            label: Label {
                outcome: "rejected",
                attempts: 0,
                worker: None,
                ran: None,
            },
            problem: Some(problem),
        }
    }

    /// Whether it ended with exit code 0.
    pub(crate) fn succeeded(&self) -> bool {
        self.problem.is_none()
    }

    /// The exit code that passes it on, as a shell would.
    pub(crate) fn exit_code(&self) -> u8 {
        match (self.exit, self.signal) {
            (Some(code), _) => u8::try_from(code & 0xff).unwrap_or(EXIT_PROBLEM),
            (None, Some(signal)) => u8::try_from(128 + (signal & 0x7f)).unwrap_or(EXIT_PROBLEM),
            (None, None) if self.label.outcome == "time_limit" => EXIT_TIME_LIMIT,
            (None, None) => EXIT_PROBLEM,
        }
    }
}

fn label(outcome: &Outcome) -> Label {
    let attempts_if = usize::from;
    let (name, attempts, last) = match outcome {
        Outcome::Completed(completion) => {
            let attempts = usize::from(completion.charged) + 1;
            ("completed", attempts, Some(&completion.last))
        }
        Outcome::Failed(failure) => {
            let name = match failure.error.kind {
                ErrorKind::TimeLimit => "time_limit",
                ErrorKind::MemoryLimit => "memory_limit",
                ErrorKind::Crashed(_) => "crashed",
                _ => "failed",
            };
            // The last attempt is in the history only if its pool process crashed.
            let crashed = name == "crashed" && !failure.history.is_empty();
            let attempts = failure.history.len() + usize::from(!crashed);
            (name, attempts, Some(&failure.last))
        }
        Outcome::Expired { may_have_run } => ("expired", attempts_if(*may_have_run), None),
        Outcome::Cancelled { may_have_run } => ("cancelled", attempts_if(*may_have_run), None),
        Outcome::Lost { history } => ("lost", history.len().max(1), None),
        Outcome::Rejected { .. } => ("rejected", 0, None),
    };
    let worker = match (last, outcome) {
        (Some(last), _) => Some(&last.worker),
        (None, Outcome::Lost { history }) => history.last().map(|record| &record.worker),
        _ => None,
    };
    Label {
        outcome: name,
        attempts,
        worker: worker.map(ToString::to_string),
        ran: last.and_then(|last| last.ran.to_duration()),
    }
}

/// What happened, unless the task completed.
pub(crate) fn problem(outcome: &Outcome) -> Option<String> {
    let ran = |may_have_run: &bool| {
        if *may_have_run {
            "it may have run"
        } else {
            "it never ran"
        }
    };
    Some(match outcome {
        Outcome::Completed(_) => return None,
        Outcome::Failed(failure) => {
            let mut text = error(&failure.error);
            let worker = &failure.last.worker;
            if worker.as_str() != LOCAL && !matches!(failure.error.kind, ErrorKind::Crashed(_)) {
                let _ = write!(text, " (on worker {worker})");
            }
            // Of crashes the text of the error has said it all.
            if !failure.history.is_empty() && !matches!(failure.error.kind, ErrorKind::Crashed(_)) {
                let _ = write!(text, "; before that, {}", history(&failure.history));
            }
            text
        }
        Outcome::Expired { may_have_run } => {
            format!("its deadline passed; {}", ran(may_have_run))
        }
        Outcome::Cancelled { may_have_run } => format!("cancelled; {}", ran(may_have_run)),
        Outcome::Lost { history: known } if known.is_empty() => {
            "lost: nobody knows whether it ran".to_owned()
        }
        Outcome::Lost { history: known } => {
            format!("lost, and it may have run: {}", history(known))
        }
        Outcome::Rejected {
            reason: reason @ RejectReason::NoRunner,
            similar,
            ..
        } => format!("rejected: {reason}{}; it never ran", suggestion(similar)),
        Outcome::Rejected {
            reason: reason @ RejectReason::TooLarge,
            ..
        } => format!(
            "rejected: {reason}; send less, or raise --max-payload there, at its workers and here; \
             it never ran"
        ),
        Outcome::Rejected {
            reason, retries, ..
        } => {
            let s = if *retries == 0 { "" } else { "s" };
            format!("rejected {} time{s}: {reason}; it never ran", retries + 1)
        }
    })
}

/// Names that may have been meant.
fn suggestion(similar: &[Name]) -> String {
    let quoted: Vec<String> = similar.iter().map(|name| format!("\"{name}\"")).collect();
    if quoted.is_empty() {
        String::new()
    } else {
        format!(", but one runs {}", quoted.join(", "))
    }
}

fn error(error: &TaskError) -> String {
    let with = |what: &str| match error.message.trim() {
        "" => what.to_owned(),
        message => format!("{what}: {}", one_line(message)),
    };
    match &error.kind {
        ErrorKind::Raised(kind) => with(kind),
        // Of codes below 126 there is no more to say.
        ErrorKind::Exit(code @ (126 | 127)) => with(&format!("exit code {code}")),
        ErrorKind::Exit(code) => format!("exit code {code}{}", of_shell(*code)),
        ErrorKind::Signal(number) => format!("killed by {}", signal(*number)),
        ErrorKind::TimeLimit => "killed at its time limit".to_owned(),
        ErrorKind::MemoryLimit => "killed at its memory limit".to_owned(),
        ErrorKind::Crashed(cause) => match error.message.trim() {
            "" => format!("its pool process {cause}"),
            message => one_line(message),
        },
        ErrorKind::UnknownTask => with("unknown task"),
        ErrorKind::BadPayload => with("bad payload"),
        ErrorKind::ResultTooLarge => format!(
            "{}; return less, or raise --max-payload of the manager and of its workers",
            with("result too large")
        ),
        ErrorKind::Unavailable => with("could not be started"),
    }
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join(" / ")
}

/// What a shell means that ends with this code: a signal that ended its command.
fn of_shell(code: i32) -> String {
    match nix::sys::signal::Signal::try_from(code - 128) {
        Ok(signal) => format!(" (a shell's word for {signal})"),
        Err(_) => String::new(),
    }
}

fn signal(number: i32) -> String {
    match nix::sys::signal::Signal::try_from(number) {
        Ok(signal) => format!("signal {number} ({signal})"),
        Err(_) => format!("signal {number}"),
    }
}

fn history(records: &[AttemptRecord]) -> String {
    let end = |record: &AttemptRecord| {
        let worker = &record.worker;
        match &record.end {
            AttemptLoss::WorkerGone => format!("worker {worker} was gone"),
            AttemptLoss::WorkerSilent => format!("worker {worker} fell silent"),
            AttemptLoss::WorkerReplaced => format!("worker {worker} was started anew"),
            AttemptLoss::WorkerDrained => format!("worker {worker} gave it up before it was done"),
            AttemptLoss::ChildCrashed(cause) => {
                format!("a pool process of worker {worker} {cause}")
            }
        }
    };
    let ends: Vec<String> = records.iter().map(end).collect();
    ends.join(", ")
}

#[cfg(test)]
mod tests {
    use argon::{Completion, ExitCause, Failure, LastAttempt};
    use argon_core::time::Nanos;

    use super::*;

    fn failed(kind: ErrorKind, message: &str, history: Vec<AttemptRecord>) -> Outcome {
        let error = TaskError::new(kind, message);
        Outcome::Failed(Box::new(Failure {
            error,
            last: last(),
            history,
        }))
    }

    fn last() -> LastAttempt {
        LastAttempt {
            ran: Nanos(5),
            waited: Nanos(0),
            worker: Name::new("w1").unwrap(),
        }
    }

    fn record(worker: &str, end: AttemptLoss) -> AttemptRecord {
        let worker = Name::new(worker).unwrap();
        AttemptRecord { worker, end }
    }

    fn output(status: CommandStatus) -> Payload {
        let (stdout, stderr) = ("out".into(), "err".into());
        CommandOutput {
            status,
            stdout,
            stderr,
        }
        .encode()
    }

    #[test]
    fn a_command_s_end_is_passed_on() {
        let completion = Completion {
            last: last(),
            charged: 1,
        };
        let payload = output(CommandStatus::Exit(0));
        let finished = Finished::new(&Outcome::Completed(completion), &payload);
        assert!(finished.succeeded() && finished.exit_code() == 0);
        assert_eq!(
            (&finished.stdout[..], &finished.stderr[..]),
            (&b"out"[..], &b"err"[..])
        );
        assert_eq!(finished.label.attempts, 2);

        let outcome = failed(ErrorKind::Exit(3), "", vec![]);
        let finished = Finished::new(&outcome, &output(CommandStatus::Exit(3)));
        assert_eq!(
            (finished.exit_code(), &finished.stdout[..]),
            (3, &b"out"[..])
        );
        assert_eq!(
            finished.problem.as_deref(),
            Some("exit code 3 (on worker w1)")
        );

        for (code, words) in [
            (139, "exit code 139 (a shell's word for SIGSEGV)"),
            (135, "exit code 135 (a shell's word for SIGBUS)"),
            (128, "exit code 128 (on"),
            (255, "exit code 255 (on"),
        ] {
            let text = problem(&failed(ErrorKind::Exit(code), "", vec![])).unwrap();
            assert!(text.starts_with(words), "{text}");
        }

        let outcome = failed(ErrorKind::Signal(9), "", vec![]);
        let finished = Finished::new(&outcome, &output(CommandStatus::Signal(9)));
        assert_eq!(finished.exit_code(), 137);
        assert_eq!(
            finished.problem.as_deref(),
            Some("killed by signal 9 (SIGKILL) (on worker w1)")
        );

        let finished = Finished::new(&failed(ErrorKind::TimeLimit, "", vec![]), &Payload::empty());
        assert_eq!(
            (finished.exit_code(), finished.label.outcome),
            (124, "time_limit")
        );
    }

    #[test]
    fn other_ends_say_which_workers_and_whether_it_ran() {
        let losses = vec![
            record("w1", AttemptLoss::WorkerGone),
            record("w2", AttemptLoss::ChildCrashed(ExitCause::Signal(11))),
        ];
        let outcome = Outcome::Lost { history: losses };
        let finished = Finished::new(&outcome, &Payload::empty());
        let text = finished.problem.unwrap();
        assert!(text.contains("w1") && text.contains("w2") && text.contains("signal 11"));
        assert_eq!(finished.label.worker.as_deref(), Some("w2"));

        let reason = RejectReason::QueueFull;
        let rejected = problem(&Outcome::Rejected {
            reason,
            retries: 10,
            similar: Vec::new(),
        })
        .unwrap();
        assert!(rejected.contains("11 times") && rejected.contains("never ran"));
    }

    #[test]
    fn a_result_of_another_runtime_is_no_success() {
        let completion = Completion {
            last: last(),
            charged: 0,
        };
        let finished = Finished::new(
            &Outcome::Completed(completion),
            &Payload::from(&b"\xffx"[..]),
        );
        assert!(!finished.succeeded() && finished.exit_code() == EXIT_PROBLEM);
    }
}
