//! Peers: their connections, and the sessions that outlive them.

mod clients;
mod connections;
mod session;
mod workers;

pub(super) use clients::Clients;
pub(super) use connections::{Connections, Peer};
pub(super) use session::{ClientSession, Occupied, Purpose, WorkerSession};
pub(super) use workers::Workers;
