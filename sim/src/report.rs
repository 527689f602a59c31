//! How a run ended.

use std::collections::BTreeMap;
use std::fmt;

/// What sort of failure it is; also the exit code of a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// A promise about what happened was broken.
    Safety,
    /// Something that should have ended did not.
    Liveness,
    /// Something was left behind.
    Leak,
    /// A machine panicked.
    Panic,
    /// The same plan gave two traces.
    Nondeterminism,
}

impl Class {
    /// Tells failures apart in scripts.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Safety => 10,
            Self::Liveness => 11,
            Self::Leak => 12,
            Self::Panic => 13,
            Self::Nondeterminism => 14,
        }
    }
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What sort.
    pub class: Class,
    /// Which promise of the contract, or which rule of the simulator.
    pub promise: &'static str,
    /// What happened.
    pub text: String,
    /// The task it happened to, by its place in the plan.
    pub task: Option<usize>,
}

impl Failure {
    /// A failure that is about no task in particular.
    #[must_use]
    pub fn new(class: Class, promise: &'static str, text: impl Into<String>) -> Self {
        Self {
            class,
            promise,
            text: text.into(),
            task: None,
        }
    }

    /// The same, about a task.
    #[must_use]
    pub fn about(mut self, task: usize) -> Self {
        self.task = Some(task);
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?}: promise {}: {}",
            self.class, self.promise, self.text
        )?;
        if let Some(task) = self.task {
            write!(f, " (task {task})")?;
        }
        Ok(())
    }
}

/// What a run amounted to.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The first broken promise, if any.
    pub failure: Option<Failure>,
    /// Steps of the loop.
    pub events: u64,
    /// Virtual nanoseconds.
    pub virtual_time: u64,
    /// Tasks that clients submitted.
    pub submitted: u64,
    /// Executions that pools started.
    pub executions: u64,
    /// Faults that happened, by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Rare branches of the product that were taken, by name.
    pub marks: BTreeMap<&'static str, u64>,
    /// Outcomes delivered, by kind.
    pub outcomes: BTreeMap<&'static str, u64>,
}

impl Report {
    /// Adds the figures of another run.
    pub fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.virtual_time += other.virtual_time;
        self.submitted += other.submitted;
        self.executions += other.executions;
        for (mine, theirs) in [
            (&mut self.faults, &other.faults),
            (&mut self.marks, &other.marks),
            (&mut self.outcomes, &other.outcomes),
        ] {
            for (name, count) in theirs {
                *mine.entry(name).or_default() += count;
            }
        }
    }
}
