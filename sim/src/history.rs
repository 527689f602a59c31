//! The two ledgers of a run, and what went wrong in it. Plain data, and all that the checker sees.

use crate::options::Host;

/// What happened in a run. Times are virtual nanoseconds of no host's own clock.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// What clients submitted, in order of time.
    pub submits: Vec<Submit>,
    /// What clients were given back, in order of time.
    pub deliveries: Vec<Delivery>,
    /// What pools ran, in order of start.
    pub executions: Vec<Execution>,
    /// Pool processes, in order of start.
    pub processes: Vec<Process>,
    /// Lives of processes of the cluster.
    pub lives: Vec<Life>,
    /// What went wrong, with everything that it may have touched.
    pub disturbances: Vec<Disturbance>,
    /// What passed over the wire, as far as order is judged.
    pub wire: Vec<Wire>,
    /// When which lives of managers and workers were told to drain; known at the fast level only.
    pub drains: Vec<(u64, usize)>,
    /// Ids under which strangers came.
    pub hostile: Vec<u64>,
    /// Tasks that a client did not take in, by their place in the plan.
    pub turned_away: Vec<usize>,
    /// When faults ended for the core.
    pub healed_at: Option<u64>,
    /// How many of the first executions are no longer kept.
    pub(crate) forgotten: usize,
}

impl History {
    /// The place of the execution that starts next.
    #[must_use]
    pub fn next_execution(&self) -> usize {
        self.forgotten + self.executions.len()
    }

    /// The execution of this place, which must still be kept.
    pub(crate) fn execution(&self, place: usize) -> &Execution {
        &self.executions[place - self.forgotten]
    }

    /// See `execution`.
    pub(crate) fn execution_mut(&mut self, place: usize) -> &mut Execution {
        &mut self.executions[place - self.forgotten]
    }

    /// Drops the executions before this place, all of which must have ended.
    pub(crate) fn forget_executions(&mut self, before: usize) {
        self.executions.drain(..before - self.forgotten);
        self.forgotten = before;
    }
}

/// A task that a client took in.
#[derive(Clone, Debug)]
pub struct Submit {
    /// Its place in the plan.
    pub task: usize,
    /// When.
    pub at: u64,
    /// Which life of which client.
    pub life: usize,
    /// The client's number for it.
    pub seq: u64,
}

/// An outcome that a client gave to its application.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// When.
    pub at: u64,
    /// Which life of which client.
    pub life: usize,
    /// The client's number of the task.
    pub seq: u64,
    /// How it ended.
    pub end: End,
    /// The result, or detail of an error.
    pub payload: Vec<u8>,
}

/// An outcome in the checker's own words.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are what they are called")]
pub enum End {
    /// With a result, after this many charged attempts.
    Completed { charged: u8 },
    /// With an error.
    Failed { why: FailedWhy, history: usize },
    /// Too late.
    Expired { may_have_run: bool },
    /// No longer wanted.
    Cancelled { may_have_run: bool },
    /// Nobody knows.
    Lost { history: usize },
    /// Never started.
    Rejected { retries: u32, why: RejectedWhy },
}

impl End {
    /// A word for counting.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Completed { .. } => "completed",
            Self::Failed { .. } => "failed",
            Self::Expired { may_have_run: true } => "expired-may-have-run",
            Self::Expired { .. } => "expired",
            Self::Cancelled { may_have_run: true } => "cancelled-may-have-run",
            Self::Cancelled { .. } => "cancelled",
            Self::Lost { .. } => "lost",
            Self::Rejected { .. } => "rejected",
        }
    }
}

/// Why a task was given up by its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectedWhy {
    /// Its retries were used up.
    Retries,
    /// The manager takes nothing so large.
    TooLarge,
    /// Nobody runs tasks of its name.
    NoRunner,
}

/// Why a task failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FailedWhy {
    /// It raised this error.
    Raised(String),
    /// It ran for too long.
    TimeLimit,
    /// It took too much memory.
    MemoryLimit,
    /// Its pool process died.
    Crashed,
    /// Its result is larger than the manager takes.
    ResultTooLarge,
    /// Something else, which no simulated task does.
    Other(String),
}

/// One execution of a task by a pool process.
#[derive(Clone, Debug)]
pub struct Execution {
    /// Its place in this ledger.
    pub place: usize,
    /// The task, by the place in the plan that its argument names.
    pub task: usize,
    /// The task as the worker was told, by client and number.
    pub client: u64,
    /// See `client`.
    pub seq: u64,
    /// The assignment.
    pub attempt: (u64, u64),
    /// Which life of which worker.
    pub life: usize,
    /// Bytes of its argument.
    pub bytes: usize,
    /// In which pool process.
    pub process: usize,
    /// When that life of that worker first wrote the attempt to a pool process.
    pub given: u64,
    /// When it began.
    pub start: u64,
    /// When and how it ended.
    pub end: Option<(u64, ExecutionEnd)>,
}

/// How an execution ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecutionEnd {
    /// It completed.
    Completed,
    /// It failed.
    Failed,
    /// Its pool process died by itself or by accident.
    Crashed,
    /// Its worker had its pool process ended.
    Killed,
    /// Its worker died, and the pool process with it.
    WorkerDied,
}

/// A pool process.
#[derive(Clone, Debug)]
pub struct Process {
    /// Which life of which worker.
    pub life: usize,
    /// Its slot.
    pub slot: u32,
    /// When it was started.
    pub start: u64,
    /// When it was gone.
    pub end: Option<u64>,
}

/// A process of the cluster from its start to its end.
#[derive(Clone, Debug)]
pub struct Life {
    /// Where.
    pub host: Host,
    /// The random id that it drew.
    pub id: u64,
    /// When it started.
    pub start: u64,
    /// When it ended, if it did.
    pub end: Option<u64>,
    /// For a worker: how many executions it may run at once.
    pub capacity: u32,
    /// For a worker: the names that it runs, a bit each.
    pub runs: u8,
}

/// Something went wrong from one instant to another.
#[derive(Clone, Debug)]
pub struct Disturbance {
    /// When it began.
    pub from: u64,
    /// When its direct effect was over.
    pub to: u64,
    /// Whom it touched; empty means everybody.
    pub hosts: Vec<Host>,
    /// A word for it.
    pub what: &'static str,
}

/// A message that matters for order, as the manager took or sent it.
#[derive(Clone, Debug)]
pub struct Wire {
    /// When.
    pub at: u64,
    /// Which life of which manager.
    pub life: usize,
    /// The task.
    pub client: u64,
    /// See `client`.
    pub seq: u64,
    /// What.
    pub what: WireWhat,
}

/// See [`Wire`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireWhat {
    /// The manager took in a submission.
    Submitted {
        /// Its importance; lower is more.
        priority: u8,
        /// Its client says that it may have run.
        marked: bool,
        /// What it runs: a hash of the name.
        name: u64,
        /// How long it has left, in nanoseconds; the maximum stands for any time.
        deadline: u64,
        /// How long it may wait for its start, in the same way.
        max_wait: u64,
        /// How long it surely waits if it is not sent out, in the same way: for the shorter of both.
        waits: u64,
        /// All that must be the same whenever the task is submitted again, as one number.
        same: u64,
    },
    /// The manager was asked to end it.
    Cancelled,
    /// A worker gave it back, not begun.
    Returned,
    /// The manager lost or replaced its client's connection; the number means nothing.
    Left,
    /// The manager sent an assignment.
    Assigned,
    /// The manager sent a rejection.
    Rejected {
        /// For having been displaced.
        displaced: bool,
        /// When another try is worth it, in nanoseconds from then.
        after: u64,
    },
    /// The manager sent an outcome.
    Ended,
}
