//! A client's or worker's one connection, as its machine's link wants it.

use std::future::Future;
use std::io;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use argon_core::codec;
use argon_core::event::CloseReason;
use argon_core::ids::ConnId;
use argon_core::limits::{HELLO_FRAME_MAX, PAYLOAD_MAX_CEILING};
use argon_core::link::{LinkInput, LinkOutput};
use argon_core::message::{Control, FromManager, Message, Tagged, ToManager};
use argon_core::time::Instant;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::{LINGER, PROGRESS_EVERY};
use crate::connection::{Incoming, linger, provoke};
use crate::error::refusal;
use crate::frames::Outgoing;
use crate::keys::Keys;
use crate::link::LinkState;
use crate::secure::{self, Channel};
use crate::transport::Transport;

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The connection to one of the managers, or the attempt to have one.
pub(crate) struct Uplink<T: Transport, R> {
    transport: T,
    keys: Option<Keys>,
    managers: Vec<String>,
    /// Output that may wait. Above what the machine holds, so that only a peer that does not
    /// read, and a machine that repeats itself, get there.
    output_max: usize,
    state: UplinkState<T::Stream>,
    /// The connection before, sending its last words; at most one.
    /// The last connection, which may still have something to say: what is spoken there instead.
    closing: Option<Boxed<Option<String>>>,
    link: LinkState,
    changed: bool,
    more: bool,
    /// What this peer is told.
    told: PhantomData<fn() -> R>,
}

enum UplinkState<S> {
    Down,
    Dialing {
        conn: ConnId,
        address: usize,
        dial: Boxed<Result<Channel<S>, NotOpened>>,
    },
    Open(Open<S>),
}

/// Why there is no connection.
enum NotOpened {
    /// Nobody answers.
    Unreachable(io::Error),
    /// One of the two sides does not trust the other.
    Unsafe(io::Error),
}

struct Open<S> {
    conn: ConnId,
    address: usize,
    stream: Channel<S>,
    incoming: Incoming,
    outgoing: Outgoing,
    /// Bytes moved without a whole frame since the machine was last told.
    moved: bool,
    progress: Instant,
    /// Why it is of no use any more.
    broken: Option<String>,
}

impl<T: Transport, R: Tagged> Uplink<T, R> {
    pub(crate) fn new(
        transport: T,
        keys: Option<Keys>,
        managers: Vec<String>,
        output_max: usize,
    ) -> Self {
        Self {
            transport,
            keys,
            managers,
            output_max,
            state: UplinkState::Down,
            closing: None,
            link: LinkState::default(),
            changed: false,
            more: false,
            told: PhantomData,
        }
    }

    /// Whether input was left for the next step.
    pub(crate) fn has_more(&self) -> bool {
        self.more
    }

    /// How the connection is doing, if that has changed since the last call.
    pub(crate) fn take_change(&mut self) -> Option<LinkState> {
        std::mem::take(&mut self.changed).then(|| self.link.clone())
    }

    /// Goes on dialling, appends what came of it to `facts`, and reads once, if at all. Without a
    /// read it has to be called again soon.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, read: bool, facts: &mut Vec<LinkInput<R>>) {
        if let Some(closing) = &mut self.closing
            && let Poll::Ready(said) = closing.as_mut().poll(cx)
        {
            self.closing = None;
            if let (Some(said), LinkState::Connecting { last, .. }) = (said, &mut self.link) {
                *last = Some(said);
                self.changed = true;
            }
        }
        if let UplinkState::Dialing {
            conn,
            address,
            dial,
        } = &mut self.state
            && let Poll::Ready(dialled) = dial.as_mut().poll(cx)
        {
            let (conn, address) = (*conn, *address);
            match dialled {
                Ok(stream) => {
                    self.state = UplinkState::Open(Open::new(conn, address, stream));
                    facts.push(LinkInput::Connected { conn });
                }
                Err(NotOpened::Unreachable(error)) => {
                    debug!(manager = self.managers[address], %error, "cannot connect");
                    let text = format!("{}: {error}", self.managers[address]);
                    self.down(text);
                    facts.push(LinkInput::Closed { conn });
                }
                Err(NotOpened::Unsafe(error)) => {
                    debug!(manager = self.managers[address], %error, "cannot connect safely");
                    self.state = UplinkState::Down;
                    // Keys may have been exchanged since they were read.
                    if let Some(Err(error)) = self.keys.as_ref().map(Keys::reload) {
                        debug!(%error, "keys stay as they were");
                    }
                    let reason = error.to_string();
                    self.link = LinkState::Refused { reason };
                    self.changed = true;
                    facts.push(LinkInput::Closed { conn });
                }
            }
        }
        self.more = !read;
        if let UplinkState::Open(open) = &mut self.state
            && read
        {
            self.more = open.read(cx);
        }
    }

    /// The next fact of what was read: a message, or that there will be no more.
    pub(crate) fn next(&mut self) -> Option<LinkInput<R>> {
        let UplinkState::Open(open) = &mut self.state else {
            return None;
        };
        let Some(message) = open.next() else {
            return self.drop_broken();
        };
        let conn = open.conn;
        match &message.body {
            FromManager::Control(Control::Welcome(_)) => {
                let address = self.managers[open.address].clone();
                self.link = LinkState::Connected { address };
                self.changed = true;
            }
            FromManager::Control(Control::Refuse(reason)) => {
                let reason = refusal(*reason);
                self.link = LinkState::Refused { reason };
                self.changed = true;
            }
            FromManager::Control(Control::Pong(_) | Control::Paused)
            | FromManager::Role(_)
            | FromManager::Misdirected => {}
        }
        Some(LinkInput::Received { conn, message })
    }

    /// Does what the machine wants.
    pub(crate) fn handle(&mut self, output: LinkOutput) {
        match output {
            LinkOutput::Connect { conn, address } => {
                if let LinkState::Connecting { attempts, .. } = &mut self.link {
                    *attempts += 1;
                    self.changed = true;
                }
                let (transport, keys) = (self.transport.clone(), self.keys.clone());
                let manager = self.managers[address].clone();
                self.state = UplinkState::Dialing {
                    conn,
                    address,
                    dial: Box::pin(async move {
                        let stream = transport.connect(&manager).await;
                        let stream = stream.map_err(NotOpened::Unreachable)?;
                        let secured = secure::connect(keys.as_ref(), stream).await;
                        secured.map_err(NotOpened::Unsafe)
                    }),
                };
            }
            LinkOutput::Send { conn, message } => {
                if let UplinkState::Open(open) = &mut self.state
                    && open.conn == conn
                {
                    open.send(message, self.output_max);
                }
            }
            LinkOutput::Close { conn, reason } => self.close(conn, reason),
        }
    }

    /// Writes what waits; appends what happened to `facts`.
    pub(crate) fn flush(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        facts: &mut Vec<LinkInput<R>>,
    ) {
        if let UplinkState::Open(open) = &mut self.state {
            open.write(cx);
            if open.moved && now.since(open.progress) >= PROGRESS_EVERY {
                open.moved = false;
                open.progress = now;
                facts.push(LinkInput::Progress { conn: open.conn });
            }
            facts.extend(self.drop_broken());
        }
    }

    /// Lets the last connection send its last words.
    pub(crate) async fn finish(self) {
        if let Some(closing) = self.closing {
            closing.await;
        }
    }

    fn close(&mut self, conn: ConnId, reason: CloseReason) {
        match &self.state {
            UplinkState::Dialing { conn: ours, .. } if *ours == conn => {}
            UplinkState::Open(open) if open.conn == conn => {}
            UplinkState::Down | UplinkState::Dialing { .. } | UplinkState::Open(_) => return,
        }
        let text = match reason {
            CloseReason::HandshakeTimeout => match &self.state {
                UplinkState::Dialing { address, .. } => self.never_connected(*address),
                UplinkState::Down | UplinkState::Open(_) => {
                    "the manager did not answer in time".to_owned()
                }
            },
            CloseReason::Silent => "the manager fell silent".to_owned(),
            CloseReason::Protocol(what) => {
                format!("what answers is not an Argon manager of this version ({what})")
            }
            CloseReason::MovedOn => "the manager has no workers".to_owned(),
            CloseReason::Done
            | CloseReason::Superseded
            | CloseReason::Stopping
            | CloseReason::Refused(_) => format!("closed ({reason:?})"),
        };
        let refused = matches!(self.link, LinkState::Refused { .. });
        let old = std::mem::replace(&mut self.state, UplinkState::Down);
        if let UplinkState::Open(open) = old {
            let manager = self.managers[open.address].clone();
            self.closing = Some(Box::pin(async move {
                if reason == CloseReason::HandshakeTimeout {
                    let spoken =
                        timeout(LINGER, provoke(open.stream, open.incoming, open.outgoing)).await;
                    return Some(format!("{manager}: {}", speaks(spoken.ok()??)));
                }
                let _ = timeout(LINGER, linger(open.stream, open.outgoing)).await;
                None
            }));
        }
        if !refused {
            self.down(text);
        }
    }

    /// Of a dial that took too long.
    fn never_connected(&self, address: usize) -> String {
        let manager = &self.managers[address];
        let why = if manager.parse::<SocketAddr>().is_ok() {
            "the manager did not answer in time"
        } else {
            "no name server said in time where it is, or nobody answered there"
        };
        format!("{manager}: {why}")
    }

    fn drop_broken(&mut self) -> Option<LinkInput<R>> {
        let UplinkState::Open(open) = &mut self.state else {
            return None;
        };
        let why = open.broken.take()?;
        let (conn, manager) = (open.conn, &self.managers[open.address]);
        debug!(manager, why, "connection lost");
        let text = format!("{manager}: {why}");
        self.down(text);
        Some(LinkInput::Closed { conn })
    }

    fn down(&mut self, last: String) {
        self.state = UplinkState::Down;
        let attempts = match self.link {
            LinkState::Connecting { attempts, .. } => attempts,
            LinkState::Connected { .. } | LinkState::Refused { .. } => 0,
        };
        self.link = LinkState::Connecting {
            attempts,
            last: Some(last),
        };
        self.changed = true;
        self.more = false;
    }
}

fn speaks(name: &str) -> String {
    format!("what listens there speaks {name}, not Argon's protocol")
}

impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> Open<S> {
    fn new(conn: ConnId, address: usize, stream: Channel<S>) -> Self {
        Self {
            conn,
            address,
            stream,
            incoming: Incoming::new(HELLO_FRAME_MAX),
            outgoing: Outgoing::default(),
            moved: false,
            progress: Instant::ZERO,
            broken: None,
        }
    }

    /// Reads once; tells whether more may be there.
    fn read(&mut self, cx: &mut Context<'_>) -> bool {
        if self.broken.is_some() {
            return false;
        }
        match self.incoming.poll_read(cx, &mut self.stream) {
            Poll::Pending => return false,
            Poll::Ready(Ok(0)) => {
                self.broken = Some("the manager closed the connection".to_owned())
            }
            Poll::Ready(Ok(_)) => {
                self.moved = true;
                return true;
            }
            Poll::Ready(Err(error)) => self.broken = Some(error.to_string()),
        }
        false
    }

    /// Takes the next whole frame out of what was read.
    fn next<R: Tagged>(&mut self) -> Option<Message<FromManager<R>>> {
        match self.incoming.next() {
            Ok(message) => {
                let message: Message<FromManager<R>> = message?;
                self.moved = false;
                if let FromManager::Control(Control::Welcome(welcome)) = &message.body {
                    let payload_max = welcome.payload_max as usize;
                    let payload_max = payload_max.min(PAYLOAD_MAX_CEILING);
                    self.incoming.set_frame_max(codec::frame_max(payload_max));
                }
                Some(message)
            }
            Err(error) => {
                self.broken = Some(match self.incoming.other_protocol() {
                    Some(name) => speaks(name),
                    None => format!("the manager sent {error}"),
                });
                None
            }
        }
    }

    fn send(&mut self, message: Message<ToManager>, output_max: usize) {
        if self.broken.is_some() {
            return;
        }
        if let Err(error) = self.outgoing.push(&message) {
            self.broken = Some(error.to_string());
        } else if self.outgoing.len() > output_max {
            warn!(waits = self.outgoing.len(), "the manager does not read");
            self.broken = Some("the manager does not read".to_owned());
        }
    }

    fn write(&mut self, cx: &mut Context<'_>) {
        let mut written = 0;
        match self.outgoing.poll_flush(cx, &mut self.stream, &mut written) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => self.broken = Some(error.to_string()),
            Poll::Pending => self.moved |= written > 0,
        }
    }
}
