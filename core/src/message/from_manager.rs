//! What the manager says.

use alloc::boxed::Box;

use bincode::de::Decoder;
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{Decode, Encode};

use super::tagged::{TAGS, Tagged, tagged};
use super::{Beat, Message, ToClient, ToWorker, Version};
use crate::ids::Epoch;
use crate::payload::Payload;
use crate::status::{RunningReport, StatusReport};
use crate::time::Nanos;

tagged! {
    /// Manager to any peer: the connection itself. None of it is counted.
    pub enum Control {
        /// Come in.
        1 => Welcome(welcome: Welcome),
        /// Stay out; the connection is closed after it.
        2 => Refuse(reason: RefuseReason),
        /// The answer to a heartbeat.
        4 => Pong(beat: Beat),
        /// Now and then while that is so: the rest of your large frame is read later, since too many
        /// arrive at once. A sign of life of both.
        30 => Paused,
    }
}

tagged! {
    /// Manager to whoever asked.
    pub enum ToObserver {
        /// How things are.
        14 => Status(report: Box<StatusReport>),
        /// What runs where.
        27 => Running(report: Box<RunningReport>),
    }
}

/// What a peer hears from its manager: `T` is what only peers of its sort are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromManager<T> {
    /// About the connection.
    Control(Control),
    /// For this sort of peer.
    Role(T),
    /// A message that there is, but not for this sort of peer. What it says is not read.
    Misdirected,
}

/// What the manager says to any peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToPeer {
    /// To any peer, about the connection.
    Control(Control),
    /// To a client.
    Client(ToClient),
    /// To a worker.
    Worker(ToWorker),
    /// To an observer, or a client that asked.
    Observer(ToObserver),
}

impl<T: Encode> Encode for FromManager<T> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        match self {
            Self::Control(control) => control.encode(encoder),
            Self::Role(role) => role.encode(encoder),
            Self::Misdirected => Err(EncodeError::Other("nobody says that")),
        }
    }
}

impl<T: Tagged> Decode<()> for FromManager<T> {
    #[inline(always)]
    fn decode<D: Decoder<Context = ()>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let tag = u32::decode(decoder)?;
        if T::owns(tag) {
            T::decode_rest(tag, decoder, Self::Role)
        } else if tag < TAGS && !Control::owns(tag) {
            Ok(Self::Misdirected)
        } else {
            Control::decode_rest(tag, decoder, Self::Control)
        }
    }
}

impl Encode for ToPeer {
    #[inline]
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        match self {
            Self::Control(control) => control.encode(encoder),
            Self::Client(client) => client.encode(encoder),
            Self::Worker(worker) => worker.encode(encoder),
            Self::Observer(observer) => observer.encode(encoder),
        }
    }
}

impl Tagged for ToPeer {
    fn owns(tag: u32) -> bool {
        Control::owns(tag) || ToClient::owns(tag) || ToWorker::owns(tag) || ToObserver::owns(tag)
    }

    fn decode_rest<D: Decoder<Context = ()>, R>(
        tag: u32,
        decoder: &mut D,
        wrap: impl FnOnce(Self) -> R,
    ) -> Result<R, DecodeError> {
        if ToClient::owns(tag) {
            ToClient::decode_rest(tag, decoder, |said| wrap(Self::Client(said)))
        } else if ToWorker::owns(tag) {
            ToWorker::decode_rest(tag, decoder, |said| wrap(Self::Worker(said)))
        } else if ToObserver::owns(tag) {
            ToObserver::decode_rest(tag, decoder, |said| wrap(Self::Observer(said)))
        } else {
            Control::decode_rest(tag, decoder, |said| wrap(Self::Control(said)))
        }
    }
}

/// For those who listen to a manager without being one of its peers.
impl Decode<()> for ToPeer {
    fn decode<D: Decoder<Context = ()>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let tag = u32::decode(decoder)?;
        Self::decode_rest(tag, decoder, |said| said)
    }
}

macro_rules! to_peer {
    ($($part:ident($type:ty),)+) => {$(
        impl From<$type> for ToPeer {
            #[inline]
            fn from(part: $type) -> Self {
                Self::$part(part)
            }
        }

        impl From<$type> for Message<ToPeer> {
            #[inline]
            fn from(part: $type) -> Self {
                Self {
                    body: ToPeer::$part(part),
                    payload: Payload::empty(),
                }
            }
        }
    )+};
}

to_peer! {
    Control(Control),
    Client(ToClient),
    Worker(ToWorker),
    Observer(ToObserver),
}

/// The manager's answer to a hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Welcome {
    /// The version that both will speak.
    pub version: Version,
    /// The manager's life.
    pub epoch: Epoch,
    /// Whether the session named in the hello goes on. If not, whatever it left unanswered may
    /// have run. A session goes on only if the peer has said something after the welcome that
    /// began it: one that never read that welcome does not know that an earlier session of the
    /// same epoch expired, and must be told again.
    pub resumed: bool,
    /// How long silence is trusted, by both sides.
    pub lease: Nanos,
    /// Largest payload that this manager takes, in bytes.
    pub payload_max: u32,
}

/// Why a peer is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum RefuseReason {
    /// The peer speaks another major version; this is ours.
    Version(Version),
    /// A newer connection of the same process is already in.
    OldConnection,
    /// As many sessions are open as may be.
    Full,
    /// What came is no hello, or no valid one.
    BadHello,
    /// A worker must have a capacity of 1 to `CAPACITY_MAX`.
    BadCapacity,
    /// Another worker has come in under the name of this one. Said on an open connection too; the
    /// worker leaves, and does not come back under that name.
    Replaced,
    /// The manager lets in only peers with a key, over TLS. Said without it, to a peer that does not
    /// speak TLS.
    KeyRequired,
    /// The key of the peer does not have the role that the peer asks for.
    NotAllowed,
    /// The session that is to go on, or the worker that has this name, belongs to another holder of a
    /// key.
    OtherHolder,
}
