//! Peers that have yet to show a key.

use std::net::SocketAddr;
use std::sync::{Arc, MutexGuard, PoisonError};

use argon_core::limits::STRANGER_TIME;
use argon_core::strangers::{Strangers, Ticket};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tracing::{debug, warn};

use super::{ManagerDriver, ManagerMachine};
use crate::keys::Keys;
use crate::secure::{self, KeptOut};

impl<M: ManagerMachine> ManagerDriver<M> {
    /// Whether a connection may show a key.
    pub(super) fn enter(&self, from: Option<SocketAddr>) -> Option<Ticket> {
        let address = from.map(|from| from.ip());
        self.strangers().enter(self.clock.now(), address)
    }

    /// Serves a connection whose peer shows a key in time.
    pub(super) async fn serve_stranger<S: AsyncRead + AsyncWrite + Unpin>(
        self: Arc<Self>,
        keys: Keys,
        stream: S,
        from: Option<SocketAddr>,
        ticket: Ticket,
    ) {
        let shown = timeout(STRANGER_TIME, secure::accept(&keys, stream)).await;
        let now = self.clock.now();
        let kept_out = match shown {
            Ok(Ok((channel, access))) => {
                self.strangers().leave(now, ticket, false);
                return self.serve(channel, from, access).await;
            }
            Ok(Err(kept_out)) => kept_out,
            Err(_) => KeptOut::Slow,
        };
        let address = from.map(|from| from.ip());
        let is_due = {
            let mut strangers = self.strangers();
            strangers.leave(now, ticket, kept_out.was_costly());
            kept_out != KeptOut::Gone && strangers.is_worth_a_line(now, address)
        };
        let address = address.map(tracing::field::display);
        let reason = kept_out.reason();
        if is_due {
            warn!(address, reason, "not let in; not said again for a minute");
        } else {
            debug!(address, reason, "not let in");
        }
    }

    fn strangers(&self) -> MutexGuard<'_, Strangers> {
        self.strangers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
