//! A message on its way: said by one machine, heard by another.

use crate::message::{FromManager, Message, Said, ToClient, ToManager, ToPeer, ToWorker};

/// What peers of a sort are told.
pub trait Told: Sized {
    /// It, if it is for them.
    fn of(said: ToPeer) -> Option<Self>;
}

impl Told for ToClient {
    fn of(said: ToPeer) -> Option<Self> {
        match said {
            ToPeer::Client(said) => Some(said),
            ToPeer::Control(_) | ToPeer::Worker(_) | ToPeer::Observer(_) => None,
        }
    }
}

impl Told for ToWorker {
    fn of(said: ToPeer) -> Option<Self> {
        match said {
            ToPeer::Worker(said) => Some(said),
            ToPeer::Control(_) | ToPeer::Client(_) | ToPeer::Observer(_) => None,
        }
    }
}

/// As a manager hears it.
#[must_use]
pub fn at_manager(message: Message<Said>) -> Message<ToManager> {
    let body = match message.body {
        Said::ToManager(said) => said,
        Said::FromManager(_) => ToManager::Misdirected,
    };
    Message {
        body,
        payload: message.payload,
    }
}

/// As a peer hears it.
pub(super) fn heard<T: Told>(said: Said) -> FromManager<T> {
    match said {
        Said::FromManager(ToPeer::Control(control)) => FromManager::Control(control),
        Said::FromManager(said) => T::of(said).map_or(FromManager::Misdirected, FromManager::Role),
        Said::ToManager(_) => FromManager::Misdirected,
    }
}

/// As a peer hears it.
#[must_use]
pub fn at_peer<T: Told>(message: Message<Said>) -> Message<FromManager<T>> {
    Message {
        body: heard(message.body),
        payload: message.payload,
    }
}

/// What a manager sends.
#[must_use]
pub fn by_manager(message: Message<ToPeer>) -> Message<Said> {
    Message {
        body: Said::FromManager(message.body),
        payload: message.payload,
    }
}

/// What a peer sends.
#[must_use]
pub fn by_peer(message: Message<ToManager>) -> Message<Said> {
    Message {
        body: Said::ToManager(message.body),
        payload: message.payload,
    }
}
