//! What only clients are told.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::tagged::tagged;
use super::{Completed, Ends, Rejections, StreamAttempt, StreamChunk, StreamLevel};
use crate::name::Name;
use crate::task::{Outcome, RejectReason};
use crate::time::Nanos;

tagged! {
    /// Manager to client.
    pub enum ToClient {
        /// The one end of a task; held until acknowledged. The payload is the result.
        11 => Outcome {
            /// The client's number of the task.
            seq: u64,
            /// The end.
            outcome: Outcome,
        },
        /// Not now. The manager forgets the task.
        12 => Reject {
            /// The client's number of the task.
            seq: u64,
            /// Why.
            reason: RejectReason,
            /// When it is worth another try.
            retry_after: Nanos,
            /// Whether an attempt may have started, now or in an earlier life.
            may_have_run: bool,
            /// For `NoRunner`: names like the task's that somebody runs, at most `SIMILAR_MAX`.
            similar: Vec<Name>,
        },
        /// Of what you asked about in `Resume`, these I never had; in an unexpired session that means
        /// never started.
        13 => Unknown {
            /// The client's numbers.
            seqs: Vec<u64>,
        },
        /// Many of `Outcome` that say that the task completed. Since 1.1.
        34 => OutcomeRun(ends: Box<Ends<Completed>>),
        /// Many of `Reject`. Since 1.1.
        36 => RejectRun(rejections: Rejections),
        /// A task with streams is with a worker: whose streams they are from now on. Since 1.2.
        42 => StreamAttempt(attempt: StreamAttempt),
        /// A piece of a stream that comes from an attempt. Since 1.2.
        43 => StreamChunk(chunk: StreamChunk),
        /// How far a stream that goes to an attempt is there. Since 1.2.
        44 => StreamLevel(level: StreamLevel),
    }
}
