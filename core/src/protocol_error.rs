//! How a peer can break the protocol.

use core::fmt;

use crate::stream::StreamError;

/// What a peer did that the protocol does not allow. Its connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProtocolError {
    /// It sent something else before its hello.
    BeforeHello,
    /// It sent a second hello.
    SecondHello,
    /// It answered a hello with neither a welcome nor a refusal.
    NoWelcome,
    /// It sent a message that its role does not send.
    Misdirected,
    /// It claims to have taken in more messages than it was sent.
    Overcounted,
    /// It submitted a task with no attempts, or with more than `ATTEMPTS_MAX`.
    BadMaxAttempts,
    /// A worker said something else before its report.
    BeforeReport,
    /// A worker reported more than it can hold.
    ReportTooLong,
    /// A worker reported an attempt that was never made.
    UnknownAttempt,
    /// A worker ended an attempt that it does not have.
    EndedUnassigned,
    /// A worker did not say what became of the attempts that it was asked to give back.
    RecallUnanswered,
    /// A manager assigned more than the worker's window.
    WindowExceeded,
    /// A manager asked for a result again that it had acknowledged.
    ResendOfAcknowledged,
    /// A manager ended a task that it was never sent.
    EndedUnsubmitted,
    /// A manager sent a rejection as the outcome of a task.
    RejectionAsOutcome,
    /// It said a run whose sizes are not those of its payload, or of which there is too little.
    BadRun,
    /// A manager does not know a task that it was just sent.
    ForgotSubmitted,
    /// It named streams twice, too many, none, or one that goes the other way.
    BadStreams,
    /// It sent more of a stream than its reader had granted.
    StreamOverrun,
    /// It claims to have received what was never sent of a stream.
    StreamNeverSent,
    /// It ended a stream in two places.
    StreamTwoEnds,
}

impl From<StreamError> for ProtocolError {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::BeyondGrant => Self::StreamOverrun,
            StreamError::NeverSent => Self::StreamNeverSent,
            StreamError::BeyondEnd => Self::StreamTwoEnds,
        }
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BeforeHello => "spoke before its hello",
            Self::SecondHello => "said hello twice",
            Self::NoWelcome => "answered a hello with something else",
            Self::Misdirected => "sent a message that is not for us",
            Self::Overcounted => "counted more messages than it was sent",
            Self::BadMaxAttempts => "asked for a number of attempts that is out of range",
            Self::BeforeReport => "is a worker and did not report first",
            Self::ReportTooLong => "reported more than a worker can have",
            Self::UnknownAttempt => "reported an attempt that was never made",
            Self::EndedUnassigned => "ended an attempt that it does not have",
            Self::RecallUnanswered => "did not say what became of what was recalled",
            Self::WindowExceeded => "assigned more than the window",
            Self::ResendOfAcknowledged => "asked again for what it had acknowledged",
            Self::EndedUnsubmitted => "ended a task that it was not sent",
            Self::RejectionAsOutcome => "rejected a task as its outcome",
            Self::BadRun => "sent a run that is none",
            Self::BadStreams => "named streams that a task cannot have",
            Self::StreamOverrun => "sent more of a stream than was granted",
            Self::StreamNeverSent => "received what was never sent of a stream",
            Self::StreamTwoEnds => "ended a stream in two places",
            Self::ForgotSubmitted => "does not know a task that it was just sent",
        })
    }
}
