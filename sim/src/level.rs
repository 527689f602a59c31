//! The two levels of simulation behind one face.

use crate::plan::Plan;
use crate::report::Report;
use crate::run;
use crate::trace::Trace;
use crate::turmoil;

/// What is simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// The state machines of core, in one loop.
    Fast,
    /// The whole of net, over turmoil.
    Turmoil,
}

impl Level {
    /// The level of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "fast" => Some(Self::Fast),
            "turmoil" => Some(Self::Turmoil),
            _ => None,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Turmoil => "turmoil",
        }
    }

    /// What a seed stands for.
    #[must_use]
    pub fn plan(self, seed: u64) -> Plan {
        match self {
            Self::Fast => Plan::from_seed(seed),
            Self::Turmoil => turmoil::plan(seed),
        }
    }

    /// Runs a plan.
    #[must_use]
    pub fn run(self, plan: &Plan, trace: &mut Trace) -> Report {
        match self {
            Self::Fast => run(plan, trace),
            Self::Turmoil => turmoil::run(plan, trace),
        }
    }
}
