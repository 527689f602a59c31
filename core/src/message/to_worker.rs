//! What only workers are told.

use alloc::boxed::Box;
use alloc::vec::Vec;

use bincode::{Decode, Encode};

use super::tagged::tagged;
use super::{AttemptRun, Run};
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
