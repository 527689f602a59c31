//! A message of either direction, for networks that carry both and for those who listen.

use core::fmt;

use bincode::de::Decoder;
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{Decode, Encode};

use super::{
    Control, FromClient, FromWorker, Query, Tagged as _, ToClient, ToManager, ToObserver, ToPeer,
    ToWorker,
};

/// What somebody says to somebody.
#[derive(Clone, PartialEq, Eq)]
pub enum Said {
    /// Somebody to a manager.
    ToManager(ToManager),
    /// A manager to somebody.
    FromManager(ToPeer),
}

/// As the message is called, without its direction.
impl fmt::Debug for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ToManager(ToManager::Client(said)) => said.fmt(f),
            Self::ToManager(ToManager::Worker(said)) => said.fmt(f),
            Self::ToManager(ToManager::Query(said)) => said.fmt(f),
            Self::ToManager(said) => said.fmt(f),
            Self::FromManager(ToPeer::Control(said)) => said.fmt(f),
            Self::FromManager(ToPeer::Client(said)) => said.fmt(f),
            Self::FromManager(ToPeer::Worker(said)) => said.fmt(f),
            Self::FromManager(ToPeer::Observer(said)) => said.fmt(f),
        }
    }
}

impl Encode for Said {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        match self {
            Self::ToManager(said) => said.encode(encoder),
            Self::FromManager(said) => said.encode(encoder),
        }
    }
}

impl Decode<()> for Said {
    fn decode<D: Decoder<Context = ()>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let tag = u32::decode(decoder)?;
        if ToManager::owns(tag) {
            ToManager::decode_rest(tag, decoder, Self::ToManager)
        } else {
            ToPeer::decode_rest(tag, decoder, Self::FromManager)
        }
    }
}

impl From<FromClient> for Said {
    fn from(said: FromClient) -> Self {
        Self::ToManager(said.into())
    }
}

impl From<FromWorker> for Said {
    fn from(said: FromWorker) -> Self {
        Self::ToManager(said.into())
    }
}

impl From<ToClient> for Said {
    fn from(said: ToClient) -> Self {
        Self::FromManager(said.into())
    }
}

impl From<ToWorker> for Said {
    fn from(said: ToWorker) -> Self {
        Self::FromManager(said.into())
    }
}

impl From<Control> for Said {
    fn from(said: Control) -> Self {
        Self::FromManager(said.into())
    }
}

impl From<Query> for Said {
    fn from(said: Query) -> Self {
        Self::ToManager(said.into())
    }
}

impl From<ToObserver> for Said {
    fn from(said: ToObserver) -> Self {
        Self::FromManager(said.into())
    }
}

impl From<ToManager> for Said {
    fn from(said: ToManager) -> Self {
        Self::ToManager(said)
    }
}
