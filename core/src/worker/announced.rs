//! What the manager is told that the pool can run.

use crate::capabilities::Capabilities;

/// What the process that got ready last can run, and so all that are given attempts.
#[derive(Clone, Debug)]
pub(super) struct Announced {
    capabilities: Capabilities,
    /// The manager has yet to be told.
    due: bool,
}

impl Default for Announced {
    fn default() -> Self {
        Self {
            capabilities: Capabilities::nothing(),
            due: false,
        }
    }
}

impl Announced {
    /// The pool can run this. Whether that is something else than before.
    pub(super) fn change(&mut self, capabilities: Capabilities) -> bool {
        let is_new = capabilities != self.capabilities;
        if is_new {
            self.capabilities = capabilities;
            self.due = true;
        }
        is_new
    }

    /// A manager has let us in that knows of nothing.
    pub(super) fn on_up(&mut self) {
        self.due = !self.capabilities.is_nothing();
    }

    /// What the manager is to be told now, once.
    pub(super) fn take_due(&mut self) -> Option<Capabilities> {
        core::mem::take(&mut self.due).then(|| self.capabilities.clone())
    }
}
