//! A connection of a small cluster: each direction keeps its order, and packets wait to be chosen.

use std::collections::VecDeque;

use argon_core::ids::ConnId;
use argon_core::message::{Message, Said};

/// What travels.
#[derive(Clone, Debug)]
pub(crate) enum Packet {
    Message(Message<Said>),
    Fin,
}

/// One side of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Side {
    pub host: usize,
    pub conn: ConnId,
    pub open: bool,
}

/// A connection; side 0 dialled.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub sides: [Side; 2],
    /// `pipes[side]` holds what that side has sent.
    pub pipes: [VecDeque<Packet>; 2],
    pub dialling: bool,
    /// Nothing that is sent from now on arrives.
    pub dead: bool,
}

impl Link {
    /// Whether both sides take it for open.
    pub(crate) fn is_whole(&self) -> bool {
        !self.dead && !self.dialling && self.sides.iter().all(|side| side.open)
    }

    /// The first packet that a side has sent, if there is anybody to take it.
    pub(crate) fn head(&self, side: usize) -> Option<&Packet> {
        self.pipes[side]
            .front()
            .filter(|_| self.sides[1 - side].open)
    }
}
