//! Peers that have yet to show a key.

use std::net::SocketAddr;
use std::sync::{Arc, MutexGuard, PoisonError};

use argon_core::limits::STRANGER_TIME;
use argon_core::strangers::{Strangers, Ticket};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};
use tracing::{debug, warn};

use super::{ManagerDriver, ManagerMachine};
use crate::driver::log;
use crate::keys::Keys;
use crate::secure::{self, KeptOut};

/// The room of a connection that may show a key. Given back however its task ends, by a panic too.
pub(super) struct Room<M: ManagerMachine> {
    driver: Arc<ManagerDriver<M>>,
    ticket: Option<Ticket>,
    failed: bool,
}

impl<M: ManagerMachine> Drop for Room<M> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            let now = self.driver.clock.now();
            self.driver.strangers().leave(now, ticket, self.failed);
        }
    }
}

impl<M: ManagerMachine> ManagerDriver<M> {
    /// Room for a connection to show a key, if there is any.
    pub(super) fn room(self: &Arc<Self>, from: Option<SocketAddr>) -> Option<Room<M>> {
        let address = from.map(|from| from.ip());
        let ticket = self.strangers().enter(self.clock.now(), address)?;
        Some(Room {
            driver: Arc::clone(self),
            ticket: Some(ticket),
            failed: false,
        })
    }

    /// Serves a connection whose peer shows a key in time.
    pub(super) async fn serve_stranger<S: AsyncRead + AsyncWrite + Unpin>(
        self: Arc<Self>,
        keys: Keys,
        stream: S,
        from: Option<SocketAddr>,
        mut room: Room<M>,
    ) {
        let until = Instant::now() + STRANGER_TIME;
        let looked = timeout_at(until, secure::look(stream)).await;
        let accepted = match looked.unwrap_or(Err(KeptOut::Silent)) {
            Ok(stream) => {
                let accepted = timeout_at(until, secure::accept(&keys, stream)).await;
                accepted.unwrap_or(Err(KeptOut::Slow))
            }
            Err(kept_out) => Err(kept_out),
        };
        let kept_out = match accepted {
            Ok((channel, access)) => {
                drop(room);
                return self.serve(channel, from, access).await;
            }
            Err(kept_out) => kept_out,
        };
        room.failed = kept_out.was_costly();
        drop(room);
        self.say_kept_out(from, &kept_out);
    }

    /// Says why somebody is not let in: once a minute for each address, and not more often than other
    /// refusals are said.
    fn say_kept_out(&self, from: Option<SocketAddr>, kept_out: &KeptOut) {
        let now = self.clock.now();
        let address = from.map(|from| from.ip());
        let is_news = *kept_out != KeptOut::Gone;
        let is_due = is_news && self.strangers().is_worth_a_line(now, address);
        let address = address.map(tracing::field::display);
        let reason = kept_out.reason();
        if !is_due {
            debug!(address, reason, "not let in");
        } else if let Ok(mut state) = self.lock() {
            state.limiter.say(now, log::Kind::Refused, || {
                warn!(address, reason, "not let in; not said again for a minute");
            });
        }
    }

    fn strangers(&self) -> MutexGuard<'_, Strangers> {
        self.strangers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
