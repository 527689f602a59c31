//! What goes into a link, and what comes out.

use crate::event::{CloseReason, LinkDown};
use crate::ids::{ConnId, PeerId};
use crate::message::{FromManager, Message, RefuseReason, Role, ToManager, Version, Welcome};
use crate::name::Name;

/// Who this side is, and how many managers it knows.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// This process, drawn at random at its start.
    pub peer: PeerId,
    /// For people to read.
    pub name: Name,
    /// What this side is.
    pub role: Role,
    /// The newest version of the protocol that this side speaks.
    pub version: Version,
    /// How many manager addresses there are; they are named by index. At least 1.
    pub addresses: usize,
}

/// A fact about the connection, from the driver.
#[derive(Clone, Debug)]
pub enum LinkInput<T> {
    /// The connection that was asked for is open.
    Connected {
        /// As named in [`LinkOutput::Connect`].
        conn: ConnId,
    },
    /// A message came.
    Received {
        /// On this connection.
        conn: ConnId,
        /// The message.
        message: Message<FromManager<T>>,
    },
    /// Bytes moved although no message was finished. The driver says so now and then, not at
    /// every byte.
    Progress {
        /// On this connection.
        conn: ConnId,
    },
    /// What was sent is written. Said each time once nothing waits any more, if streams were among it.
    Written {
        /// On this connection.
        conn: ConnId,
    },
    /// The connection could not be opened, or is closed.
    Closed {
        /// Which.
        conn: ConnId,
    },
}

/// What a machine with a link tells its driver.
pub trait CarriesLink: From<LinkOutput> {
    /// What it is to do with the connection, if it is about that.
    fn as_link(&mut self) -> Option<&mut LinkOutput>;
}

/// What the driver is to do with the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkOutput {
    /// Open a connection to the manager at this index of the list.
    Connect {
        /// How it will be named; never used before.
        conn: ConnId,
        /// Index into the list of addresses.
        address: usize,
    },
    /// Send this message.
    Send {
        /// On this connection.
        conn: ConnId,
        /// The message.
        message: Message<ToManager>,
    },
    /// Close it; no `Closed` needs to come back. A connection being opened may be closed too.
    Close {
        /// Which.
        conn: ConnId,
        /// For the log.
        reason: CloseReason,
    },
}

/// What a fact meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkEvent<T> {
    /// The manager let us in.
    Up(Welcome),
    /// The connection is gone; another will be tried.
    Down(LinkDown),
    /// The manager said something that is not the link's own business.
    Message(Message<T>),
    /// The manager refused us; another try will be made.
    Refused(RefuseReason),
}

impl CarriesLink for LinkOutput {
    fn as_link(&mut self) -> Option<&mut LinkOutput> {
        Some(self)
    }
}
