//! Why there is no result.

use std::any::Any;
use std::fmt;

use argon_core::payload::Payload;
use argon_core::task::{
    AttemptLoss, AttemptRecord, ErrorKind, Failure, LastAttempt, Outcome, RejectReason, TaskError,
};
use serde::de::DeserializeOwned;

use super::{StartError, SubmitError};
use crate::values;

/// Why a call has no result. The text says what to do next.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The task ran and failed, broke a limit, or crashed its pool process too often.
    Failed(Box<Failed>),
    /// No manager took it, after all retries. It never ran, so it is safe to send again.
    Rejected {
        /// Its name.
        task: String,
        /// What the manager said last.
        reason: RejectReason,
        /// How often it was sent again.
        retries: u32,
        /// If nobody runs tasks of this name: names like it that somebody runs.
        similar: Vec<String>,
    },
    /// Its deadline passed.
    Expired {
        /// Its name.
        task: String,
        /// Whether an attempt may have started; if not, it is safe to send again.
        may_have_run: bool,
    },
    /// It was cancelled, or its client was closed.
    Cancelled {
        /// Its name.
        task: String,
        /// Whether an attempt may have started; if not, it is safe to send again.
        may_have_run: bool,
    },
    /// Attempts may have run, but those who knew are gone.
    Lost {
        /// Its name.
        task: String,
        /// The attempts that are known of, oldest first.
        history: Vec<AttemptRecord>,
    },
    /// Its payload is larger than may be sent. It never ran.
    TooLarge {
        /// Its name.
        task: String,
        /// The bytes of its arguments.
        bytes: usize,
        /// The bytes that the client allows; `None` if it was the manager that refused.
        limit: Option<usize>,
    },
    /// The call cannot be sent as it is: its name, arguments or options make no sense.
    Arguments {
        /// Its name.
        task: String,
        /// What is wrong.
        problem: String,
    },
    /// It completed, but its result is not of the type that the caller expects.
    Result {
        /// Its name.
        task: String,
        /// What is wrong.
        problem: String,
    },
    /// No manager let us in within the time that was given.
    NotConnected {
        /// Where managers were looked for.
        managers: Vec<String>,
        /// What became of the last try.
        reason: String,
    },
    /// The client is closed.
    Closed,
    /// The client was not started.
    Start(StartError),
}

/// What a task that failed left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failed {
    /// Its name.
    pub task: String,
    /// What sort of end it was; errors that the task gave itself are
    /// [`ErrorKind::Raised`] with their type.
    pub kind: ErrorKind,
    /// What the task says happened.
    pub message: String,
    /// Where, if the runtime can tell; else empty.
    pub backtrace: String,
    /// The last that its process wrote to standard error; else empty.
    pub stderr: String,
    /// Which worker had it, when, and for how long.
    pub last: LastAttempt,
    /// Earlier attempts that ended with their worker or pool process, oldest first.
    pub history: Vec<AttemptRecord>,
    /// What the task's runtime adds for programs to read: of a Rust task its own error, if that can be
    /// serialised; often empty.
    pub detail: Payload,
}

impl Failed {
    /// The detail as a value, if there is one of this type.
    #[must_use]
    pub fn detail<T: DeserializeOwned + Any>(&self) -> Option<T> {
        values::decode_result(self.detail.clone()).ok()
    }
}

impl Error {
    /// The error that an outcome stands for, or else the result.
    pub(crate) fn of(
        task: &str,
        bytes: usize,
        outcome: Outcome,
        payload: Payload,
    ) -> Result<Payload, Self> {
        let task = || task.to_owned();
        Err(match outcome {
            Outcome::Completed(_) => return Ok(payload),
            Outcome::Failed(failure) => {
                let Failure {
                    error,
                    last,
                    history,
                } = *failure;
                let TaskError {
                    kind,
                    message,
                    backtrace,
                    stderr,
                } = error;
                Self::Failed(Box::new(Failed {
                    task: task(),
                    kind,
                    message,
                    backtrace,
                    stderr,
                    last,
                    history,
                    detail: payload,
                }))
            }
            Outcome::Expired { may_have_run } => Self::Expired {
                task: task(),
                may_have_run,
            },
            Outcome::Cancelled { may_have_run } => Self::Cancelled {
                task: task(),
                may_have_run,
            },
            Outcome::Lost { history } => Self::Lost {
                task: task(),
                history,
            },
            Outcome::Rejected {
                reason: RejectReason::TooLarge,
                ..
            } => Self::TooLarge {
                task: task(),
                bytes,
                limit: None,
            },
            Outcome::Rejected {
                reason,
                retries,
                similar,
            } => Self::Rejected {
                task: task(),
                reason,
                retries,
                similar: similar.iter().map(ToString::to_string).collect(),
            },
        })
    }

    /// The error of a task that was not even taken in.
    pub(crate) fn refused(task: &str, error: SubmitError) -> Self {
        let task = task.to_owned();
        match error {
            SubmitError::TooLarge { bytes, limit } => Self::TooLarge {
                task,
                bytes,
                limit: Some(limit),
            },
            SubmitError::Attempts(_) => Self::Arguments {
                task,
                problem: error.to_string(),
            },
            SubmitError::Stopped => Self::Closed,
        }
    }

    /// Whether the task may have started somewhere. If not, it is safe to send it again, whatever
    /// it does.
    #[must_use]
    pub fn may_have_run(&self) -> bool {
        match self {
            Self::Failed(failed) => {
                !matches!(failed.kind, ErrorKind::UnknownTask | ErrorKind::BadPayload)
            }
            Self::Lost { .. } | Self::Result { .. } => true,
            Self::Expired { may_have_run, .. } | Self::Cancelled { may_have_run, .. } => {
                *may_have_run
            }
            Self::Rejected { .. }
            | Self::TooLarge { .. }
            | Self::Arguments { .. }
            | Self::NotConnected { .. }
            | Self::Closed
            | Self::Start(_) => false,
        }
    }

    /// What a task that failed left behind.
    #[must_use]
    pub fn failed(&self) -> Option<&Failed> {
        match self {
            Self::Failed(failed) => Some(failed),
            _ => None,
        }
    }
}

impl From<StartError> for Error {
    fn from(error: StartError) -> Self {
        Self::Start(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(failed) => write!(f, "{failed}"),
            Self::Rejected {
                task,
                reason: RejectReason::NoRunner,
                similar,
                ..
            } => {
                write!(f, "task {task}: no worker that is connected runs it")?;
                if !similar.is_empty() {
                    write!(f, "; did you mean {}?", similar.join(" or "))?;
                }
                write!(
                    f,
                    " (start a worker whose program has it: argon worker -- PROGRAM)"
                )
            }
            Self::Rejected {
                task,
                reason,
                retries,
                ..
            } => write!(
                f,
                "task {task}: rejected {} times: {reason}; it never ran, so {}",
                u64::from(*retries) + 1,
                advice(*reason)
            ),
            Self::Expired { task, may_have_run } => {
                write!(f, "task {task}: its deadline passed {}", ran(*may_have_run))
            }
            Self::Cancelled { task, may_have_run } => {
                write!(f, "task {task}: cancelled {}", ran(*may_have_run))
            }
            Self::Lost { task, history } => {
                write!(f, "task {task}: lost; it may have run")?;
                if !history.is_empty() {
                    write!(f, " (before that, ")?;
                    earlier(f, history)?;
                    write!(f, ")")?;
                }
                write!(f, "; see what it has done before sending it again")
            }
            Self::TooLarge { task, bytes, limit } => {
                write!(f, "task {task}: its arguments take {bytes} bytes, ")?;
                match limit {
                    Some(limit) => write!(f, "where at most {limit} are allowed")?,
                    None => write!(f, "more than the manager takes")?,
                }
                write!(
                    f,
                    "; send less, or raise the limit of client, manager and workers"
                )
            }
            Self::Arguments { task, problem } => {
                write!(f, "task {task:?} cannot be sent: {problem}")
            }
            Self::Result { task, problem } => write!(
                f,
                "task {task} completed, but its result cannot be read: {problem}"
            ),
            Self::NotConnected { managers, reason } if managers.is_empty() => {
                write!(f, "there is no connection to a manager: {reason}")
            }
            Self::NotConnected { managers, reason } => write!(
                f,
                "no manager was reached at {} ({reason}); start one with `argon manager`, or give \
                 the HOST:PORT of one that runs",
                managers.join(" or ")
            ),
            Self::Closed => write!(f, "the client is closed; connect another one"),
            Self::Start(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Start(error) => error.source(),
            _ => None,
        }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = self.message.trim();
        write!(f, "task {} ", self.task)?;
        match &self.kind {
            ErrorKind::Raised(kind) if kind == "panic" => {
                write!(f, "panicked")?;
                if let Some(place) = self.backtrace.lines().next() {
                    write!(f, " at {place}")?;
                }
                write!(f, ": {message}")?;
            }
            ErrorKind::Raised(kind) => write!(f, "failed with {kind}: {message}")?,
            ErrorKind::Exit(code) => write!(f, "ended with exit code {code}")?,
            ErrorKind::Signal(signal) => write!(f, "was killed by signal {signal}")?,
            ErrorKind::TimeLimit => write!(
                f,
                "was killed at its time limit; raise that, or give it less to do"
            )?,
            ErrorKind::MemoryLimit => write!(
                f,
                "was killed at its worker's memory limit; raise that, or give it less to do"
            )?,
            ErrorKind::Crashed(cause) => {
                write!(f, "ended its pool process, which {cause}")?;
                if let Some(last) = self
                    .stderr
                    .lines()
                    .rev()
                    .find(|line| !line.trim().is_empty())
                {
                    write!(f, "; its last words: {}", last.trim())?;
                }
            }
            ErrorKind::UnknownTask => write!(f, "is unknown where it was to run: {message}")?,
            ErrorKind::BadPayload => write!(f, "could not read its arguments: {message}")?,
            ErrorKind::ResultTooLarge => write!(
                f,
                "has too large a result: {message}; return less, or raise --max-payload"
            )?,
            ErrorKind::Unavailable => write!(f, "could not be started: {message}")?,
        }
        write!(f, " (on worker {}", self.last.worker)?;
        if !self.history.is_empty() {
            write!(f, "; before that, ")?;
            earlier(f, &self.history)?;
        }
        write!(f, ")")
    }
}

impl std::error::Error for Failed {}

fn ran(may_have_run: bool) -> &'static str {
    if may_have_run {
        "when it may have run already; see what it has done before sending it again"
    } else {
        "before it ran; it is safe to send again"
    }
}

fn advice(reason: RejectReason) -> &'static str {
    match reason {
        RejectReason::NoWorkers | RejectReason::NoRunner => {
            "start a worker (argon worker --manager HOST:PORT) and send it again"
        }
        RejectReason::Draining => "send it to another manager",
        RejectReason::TooSlow => "wait longer (max_wait), or add workers",
        RejectReason::NoStreams => "send it to a manager of a later version",
        RejectReason::TooLarge => "send less, or raise the manager's --max-payload",
        RejectReason::QueueFull
        | RejectReason::QueueBytesFull
        | RejectReason::Displaced
        | RejectReason::ClientFull
        | RejectReason::InFlightFull => {
            "it is safe to send again later; more retries or workers help"
        }
    }
}

fn earlier(f: &mut fmt::Formatter<'_>, history: &[AttemptRecord]) -> fmt::Result {
    for (index, record) in history.iter().enumerate() {
        let worker = &record.worker;
        write!(f, "{}", if index == 0 { "" } else { ", " })?;
        match &record.end {
            AttemptLoss::WorkerGone => write!(f, "worker {worker} was gone")?,
            AttemptLoss::WorkerSilent => write!(f, "worker {worker} fell silent")?,
            AttemptLoss::WorkerReplaced => write!(f, "worker {worker} was started anew")?,
            AttemptLoss::WorkerDrained => {
                write!(f, "worker {worker} gave it up before it was done")?
            }
            AttemptLoss::ChildCrashed(cause) => {
                write!(f, "a pool process of worker {worker} {cause}")?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use argon_core::name::Name;
    use argon_core::task::ExitCause;
    use argon_core::time::Nanos;

    use super::*;

    fn error(outcome: Outcome) -> Error {
        Error::of("add", 7, outcome, Payload::empty()).unwrap_err()
    }

    fn failed(kind: ErrorKind, history: Vec<AttemptRecord>) -> Error {
        let mut inner = TaskError::new(kind, "division by zero");
        inner.stderr = "warm\nout of ink\n\n".to_owned();
        error(Outcome::Failed(Box::new(Failure {
            error: inner,
            last: LastAttempt {
                ran: Nanos(1),
                waited: Nanos(1),
                worker: Name::new("w2").unwrap(),
            },
            history,
        })))
    }

    #[test]
    fn texts_name_the_task_and_what_to_do() {
        let worker = Name::new("w1").unwrap();
        let end = AttemptLoss::WorkerGone;
        let history = vec![AttemptRecord { worker, end }];
        let rejected = |reason, similar: &[&str]| {
            error(Outcome::Rejected {
                reason,
                retries: 10,
                similar: similar
                    .iter()
                    .map(|name| Name::new(name).unwrap())
                    .collect(),
            })
        };
        let crashed = ErrorKind::Crashed(ExitCause::Signal(11));
        for (error, words, may_have_run) in [
            (
                failed(ErrorKind::Raised("MathError".into()), vec![]),
                "failed with MathError: division by zero",
                true,
            ),
            (
                failed(ErrorKind::Raised("panic".into()), vec![]),
                "panicked: division",
                true,
            ),
            (
                failed(crashed, history.clone()),
                "signal 11; its last words: out of ink (on worker w2; before that, worker w1 was gone)",
                true,
            ),
            (failed(ErrorKind::BadPayload, vec![]), "arguments", false),
            (failed(ErrorKind::TimeLimit, vec![]), "raise that", true),
            (
                rejected(RejectReason::NoRunner, &["sub", "and"]),
                "did you mean sub or and?",
                false,
            ),
            (
                rejected(RejectReason::QueueFull, &[]),
                "rejected 11 times: the manager's queue is full; it never ran",
                false,
            ),
            (
                rejected(RejectReason::TooLarge, &[]),
                "7 bytes, more than the manager takes",
                false,
            ),
            (
                error(Outcome::Expired {
                    may_have_run: false,
                }),
                "safe to send again",
                false,
            ),
            (
                error(Outcome::Cancelled { may_have_run: true }),
                "may have run",
                true,
            ),
            (error(Outcome::Lost { history }), "worker w1 was gone", true),
        ] {
            let text = error.to_string();
            assert!(
                text.starts_with("task add") && text.contains(words),
                "{text}"
            );
            assert_eq!(error.may_have_run(), may_have_run, "{text}");
        }
    }
}
