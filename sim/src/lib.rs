//! Deterministic simulations: the product's own state machines under faults drawn from a seed.
//!
//! There are two levels. The fast one drives the machines of core alone; the other, `turmoil`, which
//! is a feature of this crate, runs the whole of net over a simulated network. Both take a plan, and both are judged alike.
//!
//! The fast level is one loop, virtual time, one heap of events in order of (time, sequence). The seed decides the
//! whole [`Plan`]: topology, settings, workload, and an explicit schedule of faults, so that a
//! failing schedule can be made smaller without drawing anything again. A run fills a
//! [`History`](history::History) of what clients submitted and got and of what pools ran; the
//! [`checker`] judges that alone and shares no code with core.

pub mod chart;
pub mod checker;
pub mod diff;
mod disturb;
#[cfg(feature = "explore")]
pub mod explore;
pub mod faults;
pub mod history;
mod hostile;
mod impostor;
#[cfg(feature = "turmoil")]
mod level;
pub mod minimise;
mod names;
mod network;
pub mod options;
pub mod picture;
pub mod plan;
mod pool;
mod process;
mod quiet;
pub mod report;
pub mod rng;
pub mod run;
pub mod scenario;
mod step;
pub mod study;
pub mod timeline;
pub mod trace;
#[cfg(feature = "turmoil")]
pub mod turmoil;
mod wire;
pub mod workload;
mod world;

#[cfg(feature = "turmoil")]
pub use level::Level;
pub use options::Options;
pub use plan::Plan;
pub use report::{Class, Failure, Report};
pub use run::{run, run_seed, run_watched, run_with_history};
pub use trace::Trace;
