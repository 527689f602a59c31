//! What the manager is told that the pool can run.

use crate::offer::Offer;

/// What the process that got ready last can run, and so all that are given attempts.
#[derive(Clone, Debug)]
pub(super) struct Announced {
    offer: Offer,
    /// The manager has yet to be told.
    due: bool,
}

impl Default for Announced {
    fn default() -> Self {
        Self {
            offer: Offer::nothing(),
            due: false,
        }
    }
}

impl Announced {
    /// The pool can run this. Whether that is something else than before.
    pub(super) fn change(&mut self, offer: Offer) -> bool {
        let is_new = offer != self.offer;
        if is_new {
            self.offer = offer;
            self.due = true;
        }
        is_new
    }

    /// A manager has let us in that knows of nothing.
    pub(super) fn on_up(&mut self) {
        self.due = !self.offer.is_nothing();
    }

    /// What the manager is to be told now, once.
    pub(super) fn take_due(&mut self) -> Option<Offer> {
        core::mem::take(&mut self.due).then(|| self.offer.clone())
    }
}
