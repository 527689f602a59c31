//! Peers that have yet to show a key.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, MutexGuard, PoisonError};

use argon_core::limits::STRANGER_TIME;
use argon_core::strangers::{Entry, StrangerId, Strangers, Ticket};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use tracing::{debug, warn};

use super::{ManagerDriver, ManagerMachine};
use crate::driver::log;
use crate::keys::Keys;
use crate::secure::{self, KeptOut};

/// Peers that have yet to show a key: what core decides of them, and how each learns that it is displaced.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    strangers: Strangers,
    /// Of all that are waited for, so no more than core allows.
    places: BTreeMap<StrangerId, oneshot::Sender<Infallible>>,
}

/// The place of a connection that may show a key. Given back however its task ends, by a panic too.
pub(super) struct Room<M: ManagerMachine> {
    driver: Arc<ManagerDriver<M>>,
    ticket: Option<Ticket>,
    /// Ends when core has given the place to another.
    place: oneshot::Receiver<Infallible>,
    failed: bool,
}

impl<M: ManagerMachine> Drop for Room<M> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            let now = self.driver.clock.now();
            let mut waiting = self.driver.waiting();
            waiting.places.remove(&ticket.id());
            waiting.strangers.leave(now, ticket, self.failed);
        }
    }
}

impl<M: ManagerMachine> Room<M> {
    /// Goes on with what a stranger has to do while it has its place and time.
    async fn bounded<T>(
        &mut self,
        until: Instant,
        step: impl Future<Output = Result<T, KeptOut>>,
        late: KeptOut,
        displaced: KeptOut,
    ) -> Result<T, KeptOut> {
        tokio::select! {
            biased;
            done = timeout_at(until, step) => done.unwrap_or(Err(late)),
            _ = &mut self.place => Err(displaced),
        }
    }
}

impl<M: ManagerMachine> ManagerDriver<M> {
    /// Room for a connection to show a key, if there is any; whom core names for it has no room any more.
    pub(super) fn room(self: &Arc<Self>, from: Option<SocketAddr>) -> Option<Room<M>> {
        let address = from.map(|from| from.ip());
        let mut waiting = self.waiting();
        let Entry { ticket, displaced } = waiting.strangers.enter(self.clock.now(), address)?;
        if let Some(displaced) = displaced {
            waiting.places.remove(&displaced);
        }
        let (held, place) = oneshot::channel();
        waiting.places.insert(ticket.id(), held);
        Some(Room {
            driver: Arc::clone(self),
            ticket: Some(ticket),
            place,
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
        use KeptOut::{Displaced, Interrupted, Silent, Slow};

        let until = Instant::now() + STRANGER_TIME;
        let look = secure::look(stream);
        let accepted = match room.bounded(until, look, Silent, Displaced).await {
            Ok(stream) => {
                let accept = secure::accept(&keys, stream);
                room.bounded(until, accept, Slow, Interrupted).await
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
        let is_due = is_news && self.waiting().strangers.is_worth_a_line(now, address);
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

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
