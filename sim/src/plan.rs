//! The whole of a run: settings, workload and faults, drawn from a seed.

use serde::{Deserialize, Serialize};

use crate::faults::{self, Fault};
use crate::options::Options;
use crate::rng::{Draw, stream};
use crate::workload::{self, Submission};

/// Everything that a run depends on. Kept whole, it replays for as long as its meaning stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The seed of every stream of chance in the run.
    pub seed: u64,
    /// Topology and settings.
    pub options: Options,
    /// What clients submit.
    pub tasks: Vec<Submission>,
    /// What goes wrong, and when.
    pub faults: Vec<Fault>,
}

impl Plan {
    /// What this seed stands for.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        Self::with(seed, Options::draw(seed))
    }

    /// A workload and faults for these options.
    pub(crate) fn with(seed: u64, mut options: Options) -> Self {
        let calm = stream(seed, &[2]).percent(20);
        if calm {
            let (workers, clients) = (options.worker_hosts(), options.client_hosts());
            if options.managers == 1 {
                options.core_workers = workers.collect();
                options.core_clients = clients.collect();
            }
        }
        let tasks = workload::draw(seed, &mut options, calm);
        let faults = if calm {
            Vec::new()
        } else {
            faults::draw(seed, &options)
        };
        Self {
            seed,
            options,
            tasks,
            faults,
        }
    }

    /// Whether nothing is planned to go wrong: then every task runs exactly once.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        let core = 1 + self.options.core_workers.len() + self.options.core_clients.len();
        self.faults.is_empty()
            && core == usize::from(self.options.hosts())
            && self.tasks.iter().all(|task| task.deed.is_orderly())
    }
}
