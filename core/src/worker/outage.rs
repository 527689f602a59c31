//! How long the manager has been out of reach.

use core::time::Duration;

use crate::time::AwakeInstant;

/// See the [module](self).
#[derive(Clone, Copy, Debug)]
pub(super) struct Outage {
    since: Option<AwakeInstant>,
    /// Whether the manager had been silent for a lease by then.
    silent: bool,
}

impl Outage {
    /// No manager has been reached yet.
    pub(super) fn from_the_start(awake: AwakeInstant) -> Self {
        Self {
            since: Some(awake),
            silent: false,
        }
    }

    /// Whether the manager is out of reach.
    pub(super) fn is_on(self) -> bool {
        self.since.is_some()
    }

    /// The manager is reached.
    pub(super) fn on_up(&mut self) {
        self.since = None;
    }

    /// The connection is gone, if it was not before. A silent manager has been gone for a lease
    /// already, and so have we for it.
    pub(super) fn on_down(&mut self, awake: AwakeInstant, is_silent: bool) {
        if self.since.is_none() {
            self.silent = is_silent;
            self.since = Some(awake);
        }
    }

    /// Whether it has lasted a lease.
    pub(super) fn is_past(self, lease: Duration, awake: AwakeInstant) -> bool {
        self.since
            .is_some_and(|since| self.silent || since + lease <= awake)
    }
}
