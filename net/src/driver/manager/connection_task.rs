//! The task of one connection at a manager.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use argon_core::access::Access;
use argon_core::codec::DecodeError;
use argon_core::ids::ConnId;
use argon_core::limits::HELLO_FRAME_MAX;
use argon_core::manager::ManagerInput;
use argon_core::message::ToManager;
use argon_core::pressure::is_slow;
use argon_core::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::yield_now;
use tokio::time::{Sleep, sleep, timeout};
use tracing::{debug, warn};

use super::{Closing, DriverState, ManagerDriver, ManagerMachine};
use crate::connection::{Incoming, linger};
use crate::driver::{
    LINGER, PROGRESS_EVERY, STEP_BYTES, STEP_LOOKS_EVERY, STEP_MESSAGES, STEP_TIME, log,
};
use crate::frames::Outgoing;
use crate::secure::Channel;

impl<M: ManagerMachine> ManagerDriver<M> {
    /// Serves one connection until either side ends it.
    pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
        self: Arc<Self>,
        stream: Channel<S>,
        from: Option<SocketAddr>,
        access: Access,
    ) {
        let Some(conn) = self.open(from, access) else {
            return;
        };
        // Told however this ends, by a panic or by the end of the runtime too.
        let _forget = Forget {
            driver: &self,
            conn,
        };
        let mut task = ConnectionTask {
            driver: &self,
            conn,
            stream,
            incoming: Incoming::new(HELLO_FRAME_MAX),
            outgoing: Outgoing::default(),
            unseen: false,
            long: false,
            welcome: false,
            moved: false,
            progress: Instant::ZERO,
            large_since: None,
            paused: None,
            from,
        };
        if poll_fn(|cx| task.poll(cx)).await == Closing::Finish {
            let ConnectionTask {
                stream, outgoing, ..
            } = task;
            let _ = timeout(LINGER, linger(stream, outgoing)).await;
        }
    }
}

struct Forget<'a, M: ManagerMachine> {
    driver: &'a ManagerDriver<M>,
    conn: ConnId,
}

impl<M: ManagerMachine> Drop for Forget<'_, M> {
    fn drop(&mut self) {
        self.driver.forget(self.conn);
    }
}

struct ConnectionTask<'a, M, S> {
    driver: &'a ManagerDriver<M>,
    conn: ConnId,
    stream: S,
    incoming: Incoming,
    /// Taken from the table to be written without the lock.
    outgoing: Outgoing,
    /// There may be whole frames among what was read.
    unseen: bool,
    /// Enough of what it sent was handled; others have their turn before the rest.
    long: bool,
    welcome: bool,
    /// Bytes moved without a whole frame since the machine was last told.
    moved: bool,
    progress: Instant,
    /// Since when a large frame is under way.
    large_since: Option<Instant>,
    /// It is not read on, since too many large frames are under way; until its peer is told again.
    paused: Option<Pin<Box<Sleep>>>,
    /// Who that is, for the log.
    from: Option<SocketAddr>,
}

/// What one read came to.
enum Read {
    /// Nothing more is there; the waker is registered.
    Dry,
    /// There may be more.
    More,
    /// The connection is of no use any more.
    Gone,
}

impl<M: ManagerMachine, S: AsyncRead + AsyncWrite + Unpin> ConnectionTask<'_, M, S> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Closing> {
        let mut bytes = 0;
        loop {
            let read = self.read(cx, &mut bytes);
            let mut written = 0;
            loop {
                // The lock is held for the machine, never for the system.
                if let Some(end) = self.exchange(cx.waker(), &read, written) {
                    return Poll::Ready(end);
                }
                written = 0;
                if self.outgoing.is_empty() {
                    break;
                }
                let flushed = self.outgoing.poll_flush(cx, &mut self.stream, &mut written);
                match flushed {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) => {
                        debug!(conn = %self.conn, %error, "cannot write");
                        return Poll::Ready(Closing::Cut);
                    }
                    Poll::Pending => {
                        self.moved |= written > 0;
                        if written == 0 {
                            break;
                        }
                    }
                }
            }
            match read {
                Read::Dry => return Poll::Pending,
                Read::Gone => return Poll::Ready(Closing::Cut),
                Read::More if std::mem::take(&mut self.long) || bytes >= STEP_BYTES => {
                    // Behind all that is readable by now. Woken at once, peers that always have more
                    // would keep the runtime from looking who else has something to say.
                    let _ = pin!(yield_now()).poll(cx);
                    return Poll::Pending;
                }
                Read::More => {}
            }
        }
    }

    /// Reads once, unless there may be whole frames that the machine has not seen.
    fn read(&mut self, cx: &mut Context<'_>, bytes: &mut usize) -> Read {
        if self.unseen {
            return Read::More;
        }
        if self.paused.is_some() && !self.may_go_on(cx) {
            return Read::Dry;
        }
        match self.incoming.poll_read(cx, &mut self.stream) {
            Poll::Pending => Read::Dry,
            Poll::Ready(Ok(0)) => Read::Gone,
            Poll::Ready(Ok(count)) => {
                *bytes += count;
                self.moved = true;
                self.unseen = true;
                Read::More
            }
            Poll::Ready(Err(error)) => {
                debug_unless_reset(self.conn, &error);
                Read::Gone
            }
        }
    }

    /// Whether a connection that was paused is read on; its peer is told now and then if not.
    fn may_go_on(&mut self, cx: &mut Context<'_>) -> bool {
        let Ok(mut state) = self.driver.lock() else {
            // The exchange that follows ends it.
            return false;
        };
        if state.receive_budget.may_go_on(self.conn) {
            self.paused = None;
            // The wait was ours.
            self.large_since = None;
            return true;
        }
        let pause = self.paused.as_mut();
        if pause.is_some_and(|pause| pause.as_mut().poll(cx).is_ready()) {
            let now = self.driver.clock.now();
            self.pause(&mut state, now, cx.waker());
            self.driver.step_at(&mut state, now);
        }
        false
    }

    /// Reads no more until there is room, and has the peer told.
    fn pause(&mut self, state: &mut DriverState<M>, now: Instant, waker: &Waker) {
        let input = ManagerInput::Paused { conn: self.conn };
        state.machine.handle_input(now, input);
        let mut pause = Box::pin(sleep(PROGRESS_EVERY));
        let _ = pause.as_mut().poll(&mut Context::from_waker(waker));
        self.paused = Some(pause);
    }

    /// Counts the large frame that is under way, and pauses where it may not go on for now. Whether
    /// the machine has something to decide.
    fn weigh(&mut self, state: &mut DriverState<M>, now: Instant, waker: &Waker) -> bool {
        let large = self.incoming.large();
        if self.paused.is_some() || large == 0 && self.large_since.is_none() {
            return false;
        }
        let since = *self.large_since.get_or_insert(now);
        if large == 0 {
            self.large_since = None;
        }
        let slow = is_slow(large as u64, now.since(since));
        let (slowly, quickly) = if slow { (large, 0) } else { (0, large) };
        if !state.count_receiving(self.conn, quickly) {
            self.pause(state, now, waker);
        }
        state.count_unfinished(now, self.conn, slowly) || self.paused.is_some()
    }

    /// Says that what came is no frame.
    fn is_no_frame(&self, state: &mut DriverState<M>, now: Instant, error: DecodeError) {
        let spoken = self.incoming.other_protocol();
        let from = self.from.map(tracing::field::display);
        state.limiter.say(now, log::Kind::BrokeProtocol, || {
            if spoken == Some("TLS") {
                let what = "TLS: it has a key, and this manager has none";
                warn!(conn = %self.conn, from, "closed a connection: its peer sent {what}");
            } else {
                warn!(conn = %self.conn, from, spoken, "closed a connection: its peer sent {error}");
            }
        });
    }

    /// Gives the machine what was read, and takes what is to be written.
    fn exchange(&mut self, waker: &Waker, read: &Read, written: usize) -> Option<Closing> {
        let Ok(mut state) = self.driver.lock() else {
            return Some(Closing::Cut);
        };
        let conn = self.conn;
        let mut gone = matches!(read, Read::Gone);
        if let Some(peer) = state.peer(conn) {
            // We are here already: what the machine answers needs to wake others only.
            peer.dirty = true;
        }
        if self.unseen || gone || self.moved {
            let now = self.driver.clock.now();
            let (mut fed, mut handled) = (false, 0);
            let ended = state.peer(conn).is_none_or(|peer| peer.end.is_some());
            // Straight from the buffer into the machine: at millions of messages a second, what
            // a list of them between the two costs is seen, and so is each move.
            while self.unseen && !self.long {
                match self.incoming.next() {
                    Ok(Some(message)) => {
                        self.moved = false;
                        fed = true;
                        let asks_for_page = matches!(message.body, ToManager::Query(_));
                        if !ended {
                            let input = ManagerInput::Received { conn, message };
                            state.machine.handle_input(now, input);
                        }
                        if !self.welcome {
                            // How long the next may be is for the machine to say.
                            break;
                        }
                        handled += 1;
                        // Whoever asks for many pages at once is in no hurry.
                        self.long = asks_for_page
                            || handled == STEP_MESSAGES
                            || handled % STEP_LOOKS_EVERY == 0
                                && self.driver.clock.now().since(now) >= STEP_TIME;
                    }
                    Ok(None) => self.unseen = false,
                    Err(error) => {
                        if !ended {
                            self.is_no_frame(&mut state, now, error);
                        }
                        self.unseen = false;
                        gone = true;
                    }
                }
            }
            fed |= self.weigh(&mut state, now, waker);
            if self.moved && self.welcome && now.since(self.progress) >= PROGRESS_EVERY {
                self.moved = false;
                self.progress = now;
                fed = true;
                let input = ManagerInput::Progress { conn };
                state.machine.handle_input(now, input);
            }
            if gone
                && let Some(peer) = state.peer(conn)
                && peer.end.is_none()
            {
                peer.end = Some(Closing::Cut);
                fed = true;
                let input = ManagerInput::Closed { conn };
                state.machine.handle_input(now, input);
            }
            if fed {
                state.activity += 1;
                self.driver.step_at(&mut state, now);
            }
        }
        let Some(peer) = state.peer(conn) else {
            return Some(Closing::Cut);
        };
        if !peer.waker.as_ref().is_some_and(|old| old.will_wake(waker)) {
            peer.waker = Some(waker.clone());
        }
        if peer.welcome && !self.welcome {
            self.welcome = true;
            self.incoming.set_frame_max(self.driver.frame_max);
        }
        peer.unwritten -= written;
        if self.outgoing.is_empty() {
            std::mem::swap(&mut self.outgoing, &mut peer.out);
            peer.unwritten = self.outgoing.len();
        }
        peer.dirty = false;
        if peer.end == Some(Closing::Finish) {
            self.outgoing.append(std::mem::take(&mut peer.out));
        }
        let end = peer.end;
        if end.is_none() {
            state.count(conn);
        }
        end
    }
}

/// Peers that are killed reset their connections; that is no news.
fn debug_unless_reset(conn: ConnId, error: &io::Error) {
    if error.kind() != io::ErrorKind::ConnectionReset {
        debug!(%conn, %error, "cannot read");
    }
}
