//! One life of a host's process.

use std::sync::Arc;

use super::host::called;
use super::scene::Scene;
use super::transport::PORT;
use crate::options::Host;

#[derive(Clone)]
pub(super) struct Node {
    pub scene: Arc<Scene>,
    pub host: Host,
    pub life: usize,
    pub count: u64,
}

/// Where a manager is reached.
pub(super) fn address(scene: &Scene, host: Host) -> String {
    format!("{}:{PORT}", called(scene.options(), host))
}
