//! What only workers are told.

use alloc::boxed::Box;
use alloc::vec::Vec;

use bincode::{Decode, Encode};

use super::tagged::tagged;
use super::{AttemptRun, Run, StreamAssign, StreamChunk, StreamLevel};
use crate::ids::{Attempt, TaskId};
use crate::name::Name;
use crate::time::Nanos;

tagged! {
    /// Manager to worker.
    pub enum ToWorker {
        /// Run this. The payload is the task's argument.
        15 => Assign(assign: Assign),
        /// Give these back if they have not started.
        16 => Recall {
            /// Which; each is answered by `Returned` or by `Finished`.
            attempts: Vec<Attempt>,
        },
        /// End this attempt, started or not; answered by `Returned` (not started) or by `Finished`.
        17 => Kill {
            /// Which.
            attempt: Attempt,
        },
        /// These results you may forget.
        18 => AckResults {
            /// Which.
            attempts: Vec<Attempt>,
        },
        /// Send the `Finished` of this attempt again.
        19 => Resend {
            /// Which.
            attempt: Attempt,
        },
        /// Many of `Assign`. Since 1.1.
        32 => AssignRun(run: Box<Run<Assign>>),
        /// As `AckResults`. Since 1.1.
        35 => AckResultRuns {
            /// Which.
            rows: Vec<AttemptRun>,
        },
        /// As `Assign`, of a task whose attempts have streams. Since 1.2.
        45 => AssignStreams(assign: Box<StreamAssign>),
        /// The streams of this attempt go on: what you sent and is not received is lost, and so is what was
        /// sent to you. Answered by a `StreamLevel` of each that goes to it. Since 1.2.
        48 => StreamAgain {
            /// Which.
            attempt: Attempt,
        },
        /// A piece of a stream that goes to an attempt. Since 1.2.
        46 => StreamChunk(chunk: StreamChunk),
        /// How far a stream that comes from an attempt is at its client. Since 1.2.
        47 => StreamLevel(level: StreamLevel),
    }
}

/// A task on its way to a worker.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Assign {
    /// This assignment.
    pub attempt: Attempt,
    /// The task.
    pub task: TaskId,
    /// Run it only in an idle pool process, never queued behind another.
    pub at_most_once: bool,
    /// What is left until its deadline.
    pub deadline: Nanos,
    /// Longest run.
    pub time_limit: Nanos,
    /// What to run.
    pub name: Name,
}
