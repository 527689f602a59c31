//! What a task is to those who submit it, run it, and hear of its end.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::payload::Payload;
use bincode::de::{BorrowDecoder, Decoder};
use bincode::error::DecodeError;
use bincode::{BorrowDecode, Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::limits::{ATTEMPTS_DEFAULT, ERROR_TEXT_MAX};
use crate::name::Name;
use crate::time::Nanos;

/// How important a task is: 0 (most) to 7 (least).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Serialize, Deserialize,
)]
#[serde(try_from = "u8", into = "u8")]
pub struct Priority(u8);

impl Priority {
    /// How many levels there are.
    pub const LEVELS: usize = 8;
    /// Before everything else.
    pub const MOST: Self = Self(0);
    /// Before everything that is not itself urgent.
    pub const HIGH: Self = Self(2);
    /// The default.
    pub const NORMAL: Self = Self(4);
    /// When there is nothing better to do.
    pub const LOW: Self = Self(6);

    /// The priority at `level`, or `None` above 7.
    #[must_use]
    pub const fn new(level: u8) -> Option<Self> {
        if (level as usize) < Self::LEVELS {
            Some(Self(level))
        } else {
            None
        }
    }

    /// From 0 (most important) to 7.
    #[must_use]
    pub const fn level(self) -> usize {
        self.0 as usize
    }
}

/// By hand, because levels index arrays: one that does not exist must not come in.
impl<C> Decode<C> for Priority {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let level = u8::decode(decoder)?;
        Self::new(level).ok_or(DecodeError::Other("no such priority"))
    }
}

impl<'de, C> BorrowDecode<'de, C> for Priority {
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(
        decoder: &mut D,
    ) -> Result<Self, DecodeError> {
        Self::decode(decoder)
    }
}

impl TryFrom<u8> for Priority {
    type Error = &'static str;

    fn try_from(level: u8) -> Result<Self, Self::Error> {
        Self::new(level).ok_or("a priority is a number from 0 to 7")
    }
}

impl From<Priority> for u8 {
    fn from(priority: Priority) -> Self {
        priority.0
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self::NORMAL
    }
}

/// How a task is run, as opposed to when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskOptions {
    /// How important it is.
    pub priority: Priority,
    /// How many attempts may be ended by the loss of a worker or the crash of a child, 1 to
    /// `ATTEMPTS_MAX`.
    pub max_attempts: u8,
    /// Never start it twice: if an attempt may have started and is gone, the task is `Lost`.
    pub at_most_once: bool,
}

/// A task as its owner describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskSpec {
    /// What to run, as the workers' runtime understands it.
    pub name: Name,
    /// Its argument; never looked into.
    pub payload: Payload,
    /// How important it is.
    pub priority: Priority,
    /// If set, it ends as `Expired` when it has no other outcome this long after being submitted.
    pub deadline: Option<Duration>,
    /// If set, a manager that cannot start it within this time rejects it now instead of later.
    pub max_wait: Option<Duration>,
    /// If set, an attempt that runs longer is killed, and the task fails.
    pub time_limit: Option<Duration>,
    /// How many attempts may be ended by the loss of a worker or the crash of a child, 1 to 16.
    pub max_attempts: u8,
    /// Never start it twice: if an attempt may have started and is gone, the task is `Lost`.
    pub at_most_once: bool,
    /// How often it is submitted again after a rejection; `None`: the client's own setting.
    pub retries: Option<u32>,
}

impl TaskSpec {
    /// A task of normal priority without limits.
    #[must_use]
    pub fn new(name: Name, payload: impl Into<Payload>) -> Self {
        Self {
            name,
            payload: payload.into(),
            priority: Priority::NORMAL,
            deadline: None,
            max_wait: None,
            time_limit: None,
            max_attempts: ATTEMPTS_DEFAULT,
            at_most_once: false,
            retries: None,
        }
    }
}

/// The one end of a task. Its payload, if it has one, travels beside it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Outcome {
    /// An attempt ran to its end; the payload is its result.
    Completed(Completion),
    /// It ran and failed, or broke a limit, or crashed its pool process too often. The payload is
    /// whatever detail the runtime added.
    Failed(Box<Failure>),
    /// Its deadline passed.
    Expired {
        /// Whether an attempt may have started; if not, it is safe to submit again.
        may_have_run: bool,
    },
    /// Its client asked for its end.
    Cancelled {
        /// Whether an attempt may have started; if not, it is safe to submit again.
        may_have_run: bool,
    },
    /// Nobody knows: attempts may have run, but those who knew are gone.
    Lost {
        /// The attempts that are known of, oldest first.
        history: Vec<AttemptRecord>,
    },
    /// Never started, after all retries. Safe to submit again.
    Rejected {
        /// The manager's reason for the last refusal.
        reason: RejectReason,
        /// How often it was submitted again.
        retries: u32,
        /// For `NoRunner`: names like the task's that somebody runs.
        similar: Vec<Name>,
    },
}

impl Outcome {
    /// Bytes of its texts and lists. They travel in the header of a frame, and whoever holds or
    /// sends the outcome counts them together with its payload.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        match self {
            Self::Expired { .. } | Self::Cancelled { .. } => 0,
            Self::Completed(completion) => completion.last.text_bytes(),
            Self::Failed(failure) => {
                failure.error.text_bytes()
                    + failure.last.text_bytes()
                    + entries(failure.history.iter().map(|it| &it.worker))
            }
            Self::Lost { history } => entries(history.iter().map(|it| &it.worker)),
            Self::Rejected { similar, .. } => entries(similar.iter()),
        }
    }
}

/// More than an entry of a list has on the wire beside its name.
const ENTRY_BYTES: usize = 24;

/// Bytes of a list whose entries have these names.
fn entries<'a>(names: impl Iterator<Item = &'a Name>) -> usize {
    names.map(|name| ENTRY_BYTES + name.as_str().len()).sum()
}

/// How a completed task went.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Completion {
    /// The attempt that ran to its end.
    pub last: LastAttempt,
    /// Attempts that were charged to the task before this one.
    pub charged: u8,
}

/// When and where the attempt ran that ended its task.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct LastAttempt {
    /// How long it ran, measured where it ran.
    pub ran: Nanos,
    /// Time from the manager's acceptance of the task to the assignment of this attempt.
    pub waited: Nanos,
    /// The worker that had it.
    pub worker: Name,
}

impl LastAttempt {
    fn text_bytes(&self) -> usize {
        self.worker.as_str().len()
    }
}

/// Why a task failed, and what came before.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Failure {
    /// The error of the last attempt.
    pub error: TaskError,
    /// That attempt.
    pub last: LastAttempt,
    /// Earlier attempts that ended with their worker or pool process, oldest first.
    pub history: Vec<AttemptRecord>,
}

/// The error that ended an attempt. Texts are cut to 16 KiB each, keeping the end of `stderr`
/// and the start of the others.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct TaskError {
    /// What sort of end it was.
    pub kind: ErrorKind,
    /// What the runtime says happened.
    pub message: String,
    /// Where, if the runtime can tell; else empty.
    pub backtrace: String,
    /// The last that the pool process wrote to its standard error; else empty.
    pub stderr: String,
}

impl TaskError {
    /// An error of `kind` with a message and nothing more.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            backtrace: String::new(),
            stderr: String::new(),
        }
    }

    /// Bytes of its texts.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        let kind = match &self.kind {
            ErrorKind::Raised(kind) => kind.len(),
            ErrorKind::Exit(_)
            | ErrorKind::Signal(_)
            | ErrorKind::TimeLimit
            | ErrorKind::MemoryLimit
            | ErrorKind::Crashed(_)
            | ErrorKind::UnknownTask
            | ErrorKind::BadPayload
            | ErrorKind::ResultTooLarge
            | ErrorKind::Unavailable => 0,
        };
        kind + self.message.len() + self.backtrace.len() + self.stderr.len()
    }

    /// Cuts every text to [`ERROR_TEXT_MAX`] bytes. To be called where an error comes in from
    /// outside, so that every later bound holds.
    pub fn bound(&mut self) {
        if let ErrorKind::Raised(kind) = &mut self.kind {
            keep_start(kind, ERROR_TEXT_MAX);
        }
        keep_start(&mut self.message, ERROR_TEXT_MAX);
        keep_start(&mut self.backtrace, ERROR_TEXT_MAX);
        keep_end(&mut self.stderr, ERROR_TEXT_MAX);
    }
}

/// Cuts `text` to its first `max` bytes or a little less, between two characters, and gives
/// back the memory of the rest.
pub fn keep_start(text: &mut String, max: usize) {
    if text.len() > max {
        text.truncate(text.floor_char_boundary(max));
        text.shrink_to_fit();
    }
}

/// Cuts `text` to its last `max` bytes or a little less, between two characters, and gives back
/// the memory of the rest.
pub fn keep_end(text: &mut String, max: usize) {
    if text.len() > max {
        let start = text.ceil_char_boundary(text.len() - max);
        text.drain(..start);
        text.shrink_to_fit();
    }
}

/// What sort of error ended an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The task's own code raised it; the text is the error's type, as the runtime names it.
    Raised(String),
    /// A command ended with this exit code, not 0.
    Exit(i32),
    /// A command was ended by this signal.
    Signal(i32),
    /// It ran longer than its time limit.
    TimeLimit,
    /// It used more memory than its limit.
    MemoryLimit,
    /// Its pool process died under it, as often as `max_attempts` allows.
    Crashed(ExitCause),
    /// The runtime does not know a task of that name.
    UnknownTask,
    /// The runtime could not make sense of the payload.
    BadPayload,
    /// The result is larger than the payload limit.
    ResultTooLarge,
    /// The machine has not what it takes to start it at the moment, such as processes or memory.
    /// It has not run, and this is no outcome: it goes elsewhere, or waits, and is not charged.
    Unavailable,
}

/// How a pool process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitCause {
    /// It exited by itself with this code.
    Exit(i32),
    /// A signal ended it.
    Signal(i32),
    /// It could not be started at all.
    NotStarted,
    /// It broke the pool protocol and was killed.
    Protocol,
    /// It was killed for using more memory than the limit.
    Memory,
}

impl fmt::Display for ExitCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(code) => write!(f, "exited with code {code}"),
            Self::Signal(signal) => write!(f, "killed by signal {signal}"),
            Self::NotStarted => write!(f, "could not be started"),
            Self::Protocol => write!(f, "broke the pool protocol"),
            Self::Memory => write!(f, "used more memory than its limit"),
        }
    }
}

/// One attempt that did not end by itself.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct AttemptRecord {
    /// The worker that had it.
    pub worker: Name,
    /// What became of it.
    pub end: AttemptLoss,
}

/// How an attempt went missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptLoss {
    /// The worker's connection closed, and it did not come back in time.
    WorkerGone,
    /// The worker was silent for longer than the lease.
    WorkerSilent,
    /// The worker process was replaced by a new one of the same name.
    WorkerReplaced,
    /// The worker left when its drain time was up, or has given it back unasked too often.
    WorkerDrained,
    /// The pool process died.
    ChildCrashed(ExitCause),
}

/// Why a manager refuses a task.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum RejectReason {
    /// The queue has no room for another task.
    QueueFull,
    /// The queue has no room for so many bytes.
    QueueBytesFull,
    /// A more important task, or a client that holds less, took its place.
    Displaced,
    /// This client holds as many tasks as one client may.
    ClientFull,
    /// As many tasks are in flight as may be, and this one, which may have run and must not start
    /// twice, would have to be counted among them.
    InFlightFull,
    /// It has waited its `max_wait` without starting, or would by the manager's estimate.
    TooSlow,
    /// The manager is draining.
    Draining,
    /// The manager has no workers.
    NoWorkers,
    /// The payload is larger than the manager takes. Never retried.
    TooLarge,
    /// Workers are here, but for some time none that can run a task of that name. Never retried.
    NoRunner,
    /// The task has streams, and the manager is of a version that knows none. Never retried.
    NoStreams,
}

impl RejectReason {
    /// Whether another try cannot change the answer.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::TooLarge | Self::NoRunner | Self::NoStreams)
    }
}

impl fmt::Display for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::QueueFull => "the manager's queue is full",
            Self::QueueBytesFull => "the manager's queue has no room for so many bytes",
            Self::Displaced => "a more important task took its place in the full queue",
            Self::ClientFull => "this client has as many tasks at the manager as one client may",
            Self::InFlightFull => "as many tasks are in flight as the manager allows",
            Self::TooSlow => "it could not start in time",
            Self::Draining => "the manager is draining",
            Self::NoWorkers => "the manager has no workers",
            Self::TooLarge => "the payload is larger than the manager takes",
            Self::NoStreams => "the manager is of a version that has no streams",
            Self::NoRunner => "no worker that is connected runs tasks of that name",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_between_characters() {
        let mut text = String::from("aé");
        keep_start(&mut text, 2);
        assert_eq!(text, "a");
        let mut text = String::from("éa");
        keep_end(&mut text, 2);
        assert_eq!(text, "a");
        keep_end(&mut text, 1);
        keep_start(&mut text, 1);
        assert_eq!(text, "a");
    }

    #[test]
    fn a_bounded_error_keeps_the_end_of_stderr_and_the_start_of_the_rest() {
        let long = "s".repeat(ERROR_TEXT_MAX) + "e";
        let error = TaskError {
            kind: ErrorKind::Raised(long.clone()),
            message: long.clone(),
            backtrace: long.clone(),
            stderr: long,
        };
        let mut error = error;
        error.bound();
        let ErrorKind::Raised(kind) = &error.kind else {
            panic!("another kind");
        };
        for text in [kind, &error.message, &error.backtrace] {
            assert_eq!((text.len(), text.ends_with('s')), (ERROR_TEXT_MAX, true));
        }
        assert_eq!(error.stderr.len(), ERROR_TEXT_MAX);
        assert!(error.stderr.ends_with('e'));
        let once = error.clone();
        error.bound();
        assert_eq!(error, once);
    }
}
