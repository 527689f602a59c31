//! Drives a manager: one machine behind a lock, a task for each connection, and one for the time.
//!
//! A connection's task reads a batch, hands it to the machine, and puts the answers into the
//! buffers of the connections they are for; each of those is woken once, and writes once. No
//! other task lies between a frame that comes and the frames that it causes.
//!
//! Invariants: what waits for one peer is at most `output_max` and what one step says; what is held for all
//! together, output that waits and large frames that come slowly, is at most `memory`. Past either
//! the peer for which most is held is cut off, never waited for. Large frames that come quickly have
//! a part of it; past that their connections are not read until others' frames have ended. A
//! connection's number names its place in the table and is never used twice.

mod connection_task;
mod stranger;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Waker;
use std::time::Duration;

use argon_core::Machine;
use argon_core::access::Access;
use argon_core::codec;
use argon_core::ids::ConnId;
use argon_core::limits::WORKER_WINDOW_BYTES;
use argon_core::manager::{ManagerInput, ManagerOutput};
use argon_core::message::{Control, Message, ToPeer};
use argon_core::pressure::Pressure;
use argon_core::receive_budget::{self, ReceiveBudget};
use argon_core::time::Instant;
use tokio::sync::Notify;
use tokio::time::{sleep, sleep_until};
use tracing::{debug, warn};

use super::clock::Clock;
use super::{LINGER, Rest, handle_timeouts, log};
use crate::error::RunError;
use crate::frames::Outgoing;
use crate::keys::Keys;
use crate::secure::Channel;
use crate::transport::Transport;

/// Output that may wait for one peer beyond one payload of the largest size. Core's own windows
/// (the larger is the worker's) stay below it, so only a peer that does not read gets there.
const OUTPUT_SLACK: usize = WORKER_WINDOW_BYTES as usize + 32 * 1024 * 1024;
/// Low bits of a connection's number that are its place in the table.
const PLACE_BITS: u32 = 24;
/// Turns granted to readable connections before a time-out is handled.
const ROUNDS_BEFORE_TIMEOUT: usize = 16;
/// Connections that wait for room and are woken by one message.
const RESUMED_AT_ONCE: usize = 16;
/// Pause after the system refused to hand out a connection, usually for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A manager's machine, as its driver sees it.
pub(crate) trait ManagerMachine:
    Machine<Input = ManagerInput, Output = ManagerOutput> + Send + 'static
{
}

impl<M> ManagerMachine for M where
    M: Machine<Input = ManagerInput, Output = ManagerOutput> + Send + 'static
{
}

/// A manager's machine and its connections.
#[derive(Debug)]
pub(crate) struct ManagerDriver<M> {
    clock: Clock,
    state: Mutex<DriverState<M>>,
    /// Wakes whoever keeps the time.
    changed: Notify,
    frame_max: usize,
    output_max: usize,
    /// Who has yet to show a key.
    waiting: Mutex<stranger::Waiting>,
}

#[derive(Debug)]
struct DriverState<M> {
    machine: M,
    places: Vec<Option<Peer>>,
    free: Vec<u32>,
    serial: u64,
    /// Connections to be woken at the end of the step.
    dirty: Vec<ConnId>,
    /// Connections that the machine has yet to be told about.
    cut: Vec<ConnId>,
    /// When the time keeper wakes up by itself.
    armed: Option<Instant>,
    /// Counts steps with input.
    activity: u64,
    stopping: bool,
    drained: bool,
    rest: Rest,
    /// What is held for all peers together.
    pressure: Pressure,
    /// What is held of large frames that come quickly.
    receive_budget: ReceiveBudget,
    limiter: log::Limiter,
}

/// A connection, between the machine and its task.
#[derive(Debug)]
struct Peer {
    conn: ConnId,
    out: Outgoing,
    /// Bytes that its task took out of `out` and has not written.
    unwritten: usize,
    /// Bytes of a large frame of which the rest has yet to come.
    unfinished: usize,
    /// What it counts for in what is held for all.
    counted: u64,
    waker: Option<Waker>,
    dirty: bool,
    welcome: bool,
    end: Option<Closing>,
}

/// How a connection is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    /// Send what waits, then close.
    Finish,
    /// Close.
    Cut,
}

impl<M: ManagerMachine> ManagerDriver<M> {
    /// A driver around `machine`, which was made at the clock's zero.
    pub(crate) fn new(machine: M, clock: Clock, payload_max: usize, memory: u64) -> Arc<Self> {
        Arc::new(Self {
            clock,
            state: Mutex::new(DriverState {
                machine,
                places: Vec::new(),
                free: Vec::new(),
                serial: 0,
                dirty: Vec::new(),
                cut: Vec::new(),
                armed: None,
                activity: 0,
                stopping: false,
                drained: false,
                rest: Rest::default(),
                pressure: Pressure::new(memory),
                receive_budget: ReceiveBudget::new(memory / receive_budget::PART_OF_MEMORY),
                limiter: log::Limiter::default(),
            }),
            changed: Notify::new(),
            frame_max: codec::frame_max(payload_max),
            output_max: payload_max + OUTPUT_SLACK,
            waiting: Mutex::default(),
        })
    }

    /// Takes no new tasks, finishes what runs, then ends.
    pub(crate) fn drain(&self) {
        if let Ok(mut state) = self.lock() {
            state
                .machine
                .handle_input(self.clock.now(), ManagerInput::Drain);
            self.step(&mut state);
        }
    }

    /// Ends now; what is already said is still sent.
    pub(crate) fn stop(&self) {
        if let Ok(mut state) = self.lock() {
            state.stopping = true;
            for peer in state.places.iter_mut().flatten() {
                peer.end.get_or_insert(Closing::Finish);
                if let Some(waker) = &peer.waker {
                    waker.wake_by_ref();
                }
            }
        }
        self.changed.notify_one();
    }

    /// Keeps the time until the machine is stopped or drained, then closes all connections.
    pub(crate) async fn run(&self) -> Result<(), RunError> {
        loop {
            let deadline = {
                let mut state = self.lock()?;
                if state.stopping || state.drained {
                    break;
                }
                state.armed = state.machine.poll_timeout().map(|next| next.at);
                state.armed
            };
            let due = async {
                match deadline {
                    Some(at) => sleep_until(self.clock.when(at)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.changed.notified() => {}
                () = due => {
                    self.let_input_in().await?;
                    self.time_out()?;
                }
            }
        }
        self.stop();
        let emptied = async {
            while !self.lock()?.is_empty() {
                self.changed.notified().await;
            }
            Ok(())
        };
        tokio::select! {
            biased;
            result = emptied => result,
            () = sleep(LINGER) => Ok(()),
        }
    }

    /// Takes in connections for ever: with keys, of those that show one.
    pub(crate) async fn accept_from<T: Transport>(
        self: &Arc<Self>,
        transport: &T,
        listener: &mut T::Listener,
        keys: Option<&Keys>,
    ) {
        loop {
            match transport.accept(listener).await {
                Ok(stream) => {
                    let from = transport.peer_addr(&stream);
                    let driver = Arc::clone(self);
                    if let Some(keys) = keys {
                        if let Some(room) = driver.room(from) {
                            let keys = keys.clone();
                            transport.spawn(driver.serve_stranger(keys, stream, from, room));
                        }
                    } else {
                        let channel = Channel::Plain(stream);
                        transport.spawn(driver.serve(channel, from, Access::everything()));
                    }
                }
                Err(error) if is_of_the_peer(&error) => {
                    debug!(%error, "a connection ended before it was accepted");
                }
                Err(error) => {
                    if let Ok(mut state) = self.lock() {
                        state.limiter.say(self.clock.now(), log::Kind::CannotAccept, || {
                            warn!(%error, "cannot accept connections; see how many files may be open");
                        });
                    }
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Lets the tasks of readable connections go first, within reason.
    async fn let_input_in(&self) -> Result<(), RunError> {
        for _ in 0..ROUNDS_BEFORE_TIMEOUT {
            let before = self.lock()?.activity;
            tokio::task::yield_now().await;
            if self.lock()?.activity == before {
                break;
            }
        }
        Ok(())
    }

    fn time_out(&self) -> Result<(), RunError> {
        let mut state = self.lock()?;
        let now = self.clock.now();
        if handle_timeouts(&mut state.machine, now) {
            self.step_at(&mut state, now);
            let DriverState { machine, rest, .. } = &mut *state;
            rest.check(machine, now);
        }
        Ok(())
    }

    /// The state, unless a panic broke it.
    fn lock(&self) -> Result<MutexGuard<'_, DriverState<M>>, RunError> {
        self.state.lock().map_err(|_| RunError::Broken)
    }

    /// Bytes of large frames that are under way.
    #[cfg(test)]
    pub(crate) fn receiving(&self) -> u64 {
        self.lock().map_or(0, |state| state.receive_budget.total())
    }

    fn step(&self, state: &mut DriverState<M>) {
        self.step_at(state, self.clock.now());
    }

    /// Ends a batch of input: decides, carries out, wakes.
    fn step_at(&self, state: &mut DriverState<M>, now: Instant) {
        loop {
            state.machine.settle(now);
            while let Some(output) = state.machine.poll_output() {
                self.carry_out(state, output);
            }
            if state.cut.is_empty() {
                break;
            }
            for conn in std::mem::take(&mut state.cut) {
                state
                    .machine
                    .handle_input(now, ManagerInput::Closed { conn });
            }
        }
        while let Some(conn) = state.dirty.pop() {
            if let Some(peer) = state.peer(conn) {
                peer.dirty = false;
                if let Some(waker) = &peer.waker {
                    waker.wake_by_ref();
                }
            }
        }
        let next = state.machine.poll_timeout().map(|next| next.at);
        let earlier = match (next, state.armed) {
            (Some(next), Some(armed)) => next < armed,
            (Some(_), None) => true,
            (None, _) => false,
        };
        if earlier || state.drained {
            state.armed = next;
            self.changed.notify_one();
        }
    }

    fn carry_out(&self, state: &mut DriverState<M>, output: ManagerOutput) {
        match output {
            ManagerOutput::Send { conn, message } => self.send(state, conn, &message),
            ManagerOutput::Close { conn, reason } => {
                debug!(%conn, ?reason, "closing");
                state.end(conn, Closing::Finish);
            }
            ManagerOutput::Notify(event) => {
                state.limiter.event(self.clock.now(), &event, None);
            }
            ManagerOutput::Drained => state.drained = true,
        }
    }

    fn send(&self, state: &mut DriverState<M>, conn: ConnId, message: &Message<ToPeer>) {
        let Some(peer) = state.peer(conn).filter(|peer| peer.end.is_none()) else {
            return;
        };
        peer.welcome |= matches!(message.body, ToPeer::Control(Control::Welcome(_)));
        let pushed = peer.out.push(message);
        let waits = peer.out.len() + peer.unwritten;
        if let Err(error) = pushed {
            warn!(%conn, %error, "closing a connection");
        } else if waits > self.output_max {
            let now = self.clock.now();
            state.limiter.say(now, log::Kind::DoesNotRead, || {
                warn!(%conn, waits, "closing a connection whose peer does not read");
            });
        } else {
            if !peer.dirty {
                peer.dirty = true;
                state.dirty.push(conn);
            }
            state.count(conn);
            state.relieve(self.clock.now());
            return;
        }
        state.cut_off(conn);
    }

    /// Makes a place for a new connection; `None` if there shall be none.
    fn open(&self, from: Option<SocketAddr>, access: Access) -> Option<ConnId> {
        let mut state = self.lock().ok()?;
        if state.stopping || state.drained {
            return None;
        }
        let place = match state.free.pop() {
            Some(place) => place,
            None => {
                let place = u32::try_from(state.places.len()).ok()?;
                if place >> PLACE_BITS != 0 {
                    return None;
                }
                state.places.push(None);
                place
            }
        };
        let conn = ConnId(state.serial << PLACE_BITS | u64::from(place));
        state.serial += 1;
        state.places[place as usize] = Some(Peer {
            conn,
            out: Outgoing::default(),
            unwritten: 0,
            unfinished: 0,
            counted: 0,
            waker: None,
            dirty: false,
            welcome: false,
            end: None,
        });
        state.machine.handle_input(
            self.clock.now(),
            ManagerInput::Accepted { conn, from, access },
        );
        self.step(&mut state);
        Some(conn)
    }

    /// Takes a connection out of the table, and tells the machine if that does not know.
    fn forget(&self, conn: ConnId) {
        if let Ok(mut state) = self.lock()
            && let Some(peer) = state.remove(conn)
            && peer.end.is_none()
        {
            let now = self.clock.now();
            state
                .machine
                .handle_input(now, ManagerInput::Closed { conn });
            self.step_at(&mut state, now);
        }
        self.changed.notify_one();
    }
}

impl<M> DriverState<M> {
    fn peer(&mut self, conn: ConnId) -> Option<&mut Peer> {
        self.places
            .get_mut(place_of(conn))?
            .as_mut()
            .filter(|peer| peer.conn == conn)
    }

    /// Counts what waits for a peer among what waits for all.
    fn count(&mut self, conn: ConnId) {
        if let Some(peer) = self.peer(conn) {
            let held = (peer.out.len() + peer.unwritten + peer.unfinished) as u64;
            let before = std::mem::replace(&mut peer.counted, held);
            self.pressure.change(before, held);
        }
    }

    /// Counts the frame that a peer has begun and not ended. Whether somebody was cut off, of which
    /// the machine has to be told.
    fn count_unfinished(&mut self, now: Instant, conn: ConnId, bytes: usize) -> bool {
        let Some(peer) = self.peer(conn).filter(|peer| peer.end.is_none()) else {
            return false;
        };
        if peer.unfinished == bytes {
            return false;
        }
        peer.unfinished = bytes;
        self.count(conn);
        self.relieve(now);
        !self.cut.is_empty()
    }

    /// Counts the large frame of a peer that sends quickly, and lets those go on for which there is
    /// room now. Whether this one may.
    fn count_receiving(&mut self, conn: ConnId, bytes: usize) -> bool {
        self.receive_budget.set(conn, bytes as u64);
        let may = self.receive_budget.may_go_on(conn);
        self.resume_reading();
        may
    }

    /// Wakes connections that may be read on. Not all at once: each that goes on lets others go on,
    /// and whoever waits asks again by itself.
    fn resume_reading(&mut self) {
        for _ in 0..RESUMED_AT_ONCE {
            let Some(conn) = self.receive_budget.resume() else {
                break;
            };
            if let Some(waker) = self.peer(conn).and_then(|peer| peer.waker.as_ref()) {
                waker.wake_by_ref();
            }
        }
    }

    /// Lets go of the worst peers while too much is held for all.
    fn relieve(&mut self, now: Instant) {
        while let Some(worst) = self.worst() {
            let (total, limit) = (self.pressure.total(), self.pressure.limit());
            self.limiter.say(now, log::Kind::DoesNotRead, || {
                warn!(
                    conn = %worst, total, limit,
                    "closing the connection for which most is held: peers that do not read, or \
                     that send large frames slowly, make this manager hold too much"
                );
            });
            self.cut_off(worst);
        }
    }

    fn worst(&self) -> Option<ConnId> {
        let open = self.places.iter().flatten();
        let open = open.filter(|peer| peer.end.is_none());
        self.pressure
            .worst(open.map(|peer| (peer.conn, peer.counted)))
    }

    /// Closes a connection whose peer does not read, and drops what waits for it.
    fn cut_off(&mut self, conn: ConnId) {
        self.end(conn, Closing::Cut);
        if let Some(peer) = self.peer(conn) {
            peer.out = Outgoing::default();
            peer.unfinished = 0;
            let before = std::mem::take(&mut peer.counted);
            self.pressure.change(before, 0);
        }
        self.cut.push(conn);
    }

    fn remove(&mut self, conn: ConnId) -> Option<Peer> {
        self.count_receiving(conn, 0);
        let peer = self.peer(conn)?;
        let before = std::mem::take(&mut peer.counted);
        self.pressure.change(before, 0);
        let place = place_of(conn);
        self.free.push(place as u32);
        self.places[place].take()
    }

    /// Marks a connection as ended for the machine; its task does the rest.
    fn end(&mut self, conn: ConnId, end: Closing) {
        let Some(peer) = self.peer(conn).filter(|peer| peer.end.is_none()) else {
            return;
        };
        peer.end = Some(end);
        if !peer.dirty {
            peer.dirty = true;
            self.dirty.push(conn);
        }
    }

    fn is_empty(&self) -> bool {
        self.free.len() == self.places.len()
    }
}

fn place_of(conn: ConnId) -> usize {
    (conn.0 & ((1 << PLACE_BITS) - 1)) as usize
}

/// Whether an error of `accept` says something about the connection and nothing about us.
fn is_of_the_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}
