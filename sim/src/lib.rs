//! Deterministic simulations: the product's own state machines under faults drawn from a seed.
//!
//! One loop, virtual time, one heap of events in order of (time, sequence). The seed decides the
//! whole [`Plan`]: topology, settings, workload, and an explicit schedule of faults, so that a
//! failing schedule can be made smaller without drawing anything again. A run fills a
//! [`History`](history::History) of what clients submitted and got and of what pools ran; the
//! [`checker`] judges that alone and shares no code with core.

pub mod checker;
mod disturb;
pub mod explore;
pub mod faults;
pub mod history;
mod hostile;
pub mod minimise;
mod network;
pub mod options;
mod pool;
mod process;
pub mod report;
pub mod rng;
pub mod run;
pub mod trace;
mod turn;
mod wire;
pub mod workload;
mod world;

pub use options::{Options, Plan};
pub use report::{Class, Failure, Report};
pub use run::{run, run_seed, run_with_history};
pub use trace::Trace;
