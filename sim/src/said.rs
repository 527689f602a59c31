//! A message on its way: sent by one machine, heard by another.

use argon_core::message::{FromManager, Message, Said, ToClient, ToManager, ToPeer, ToWorker};

/// What peers of a sort are told.
pub(crate) trait Told: Sized {
    fn of(said: ToPeer) -> Option<Self>;
}

impl Told for ToClient {
    fn of(said: ToPeer) -> Option<Self> {
        match said {
            ToPeer::Client(said) => Some(said),
            _ => None,
        }
    }
}

impl Told for ToWorker {
    fn of(said: ToPeer) -> Option<Self> {
        match said {
            ToPeer::Worker(said) => Some(said),
            _ => None,
        }
    }
}

/// As a manager hears it.
pub(crate) fn at_manager(message: Message<Said>) -> Message<ToManager> {
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
pub(crate) fn at_peer<T: Told>(message: Message<Said>) -> Message<FromManager<T>> {
    let body = match message.body {
        Said::FromManager(ToPeer::Control(control)) => FromManager::Control(control),
        Said::FromManager(said) => T::of(said).map_or(FromManager::Misdirected, FromManager::Role),
        Said::ToManager(_) => FromManager::Misdirected,
    };
    Message {
        body,
        payload: message.payload,
    }
}

/// What a manager sends.
pub(crate) fn by_manager(message: Message<ToPeer>) -> Message<Said> {
    Message {
        body: Said::FromManager(message.body),
        payload: message.payload,
    }
}

/// What a peer sends.
pub(crate) fn by_peer(message: Message<ToManager>) -> Message<Said> {
    Message {
        body: Said::ToManager(message.body),
        payload: message.payload,
    }
}
