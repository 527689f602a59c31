//! How many ids a message lists: what a peer may ask for at once is bounded where it is read.
//!
//! Every type of a field says it, so that no list is left out.

use alloc::boxed::Box;
use alloc::vec::Vec;

use bincode::error::DecodeError;

use super::{
    Assign, AttemptRun, Beat, Ends, Finished, RefuseReason, Rejections, Report, ReportedAttempt,
    Run, StreamAssign, StreamAttempt, StreamChunk, StreamLevel, StreamSubmit, Submit, Version,
    Welcome,
};
use crate::capabilities::Capabilities;
use crate::ids::{Attempt, PoolProcess, SlotId};
use crate::limits::IDS_MAX;
use crate::name::Name;
use crate::status::{RunningReport, StatusReport};
use crate::task::{Outcome, RejectReason};
use crate::time::Nanos;

/// What the error of decoding says of a message that lists too many.
pub(crate) const TOO_MANY_IDS: &str = "too many ids";

/// A message or a part of one.
pub(super) trait Listed {
    /// How many ids it lists.
    fn ids(&self) -> usize;
}

/// Refuses what lists more ids than a message may.
#[inline(always)]
pub(super) fn bounded(said: &impl Listed) -> Result<(), DecodeError> {
    if said.ids() > IDS_MAX {
        return Err(DecodeError::Other(TOO_MANY_IDS));
    }
    Ok(())
}

macro_rules! lists {
    ($($id:ty),+) => {$(
        impl Listed for Vec<$id> {
            #[inline(always)]
            fn ids(&self) -> usize {
                self.len()
            }
        }
    )+};
}

macro_rules! no_lists {
    ($($type:ty),+) => {$(
        impl Listed for $type {
            #[inline(always)]
            fn ids(&self) -> usize {
                0
            }
        }
    )+};
}

lists!(u64, Attempt, ReportedAttempt);

impl Listed for Report {
    #[inline(always)]
    fn ids(&self) -> usize {
        self.running.ids() + self.finished.ids()
    }
}

impl<T> Listed for Box<Run<T>> {
    #[inline(always)]
    fn ids(&self) -> usize {
        self.sizes.len()
    }
}

impl<T> Listed for Box<Ends<T>> {
    #[inline(always)]
    fn ids(&self) -> usize {
        self.ends.len()
    }
}

impl Listed for Rejections {
    #[inline(always)]
    fn ids(&self) -> usize {
        self.count as usize
    }
}

impl Listed for Box<StreamSubmit> {
    fn ids(&self) -> usize {
        self.streams.len()
    }
}

impl Listed for Box<StreamAssign> {
    fn ids(&self) -> usize {
        self.streams.len()
    }
}

impl Listed for Vec<AttemptRun> {
    fn ids(&self) -> usize {
        let counts = self.iter().map(|row| row.count as usize);
        self.len().max(counts.fold(0, usize::saturating_add))
    }
}

no_lists!(
    bool,
    u32,
    u64,
    Nanos,
    Attempt,
    SlotId,
    PoolProcess,
    Version,
    Beat,
    Welcome,
    RefuseReason
);
no_lists!(Submit, Assign, Finished, Outcome, RejectReason);
no_lists!(StreamAttempt, StreamChunk, StreamLevel);
// Names, and pages of a few hundred rows: each has a bound of its own.
no_lists!(
    Capabilities,
    Vec<Name>,
    Box<StatusReport>,
    Box<RunningReport>
);
