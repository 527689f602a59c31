//! Studies: a cluster that is yet to be bought, under the load that it is to carry.
//!
//! A [`Study`] says which workers, which load and what goes wrong; [`run`] simulates it with the
//! product's own machines and gives back [`Findings`]: goodput, utilisation, waits and latencies.
//! [`Arguments`] are the same as options of a command line. Tasks are drawn as they come and
//! forgotten when they have ended, so a study of hours needs no more memory than one of minutes.
//!
//! The checks are on: the machines' own invariants, and for each task that it has one outcome,
//! that what completed ran, that nothing runs twice without cause, and that no worker runs more
//! than it has slots for. Small studies are judged by the whole [`checker`](crate::checker) too.

mod arguments;
mod config;
mod findings;
mod histogram;
mod load;
mod measure;
mod plot;
mod run;
mod service;
mod units;

pub use arguments::Arguments;
pub use config::{Group, Loss, Rate, Shares, Spike, Study, Wrong};
pub use findings::{Checks, Findings, Spread, Waits};
pub use histogram::Histogram;
pub use measure::{Counts, Moment};
pub use plot::plot;
pub use run::run;
pub use service::Service;
pub use units::Span;
