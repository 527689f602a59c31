//! Short names on the wire: of tasks, workers and clients.

use core::fmt;

use bincode::de::{BorrowDecoder, Decoder, read::Reader};
use bincode::enc::{Encoder, write::Writer};
use bincode::error::{DecodeError, EncodeError};
use bincode::{BorrowDecode, Decode, Encode};
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::limits::NAME_MAX;

/// A name: 1 to 255 bytes of UTF-8 without control characters. Up to 23 bytes are stored without
/// an allocation, and copies of longer ones are shared.
///
/// On the wire: one byte of length, then the bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Name(SmolStr);

/// Why a text cannot be a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// It has no bytes.
    Empty,
    /// It has more than 255 bytes; this many.
    TooLong(usize),
    /// It has a control character.
    Control,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "a name needs at least one character"),
            Self::TooLong(bytes) => {
                write!(
                    f,
                    "a name has at most {NAME_MAX} bytes, this one has {bytes}"
                )
            }
            Self::Control => write!(f, "a name has no control characters"),
        }
    }
}

impl core::error::Error for NameError {}

impl Name {
    /// Checks `text` and makes a name of it.
    ///
    /// # Errors
    /// If it is empty, longer than 255 bytes, or has control characters.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > NAME_MAX {
            return Err(NameError::TooLong(text.len()));
        }
        // Nearly all names are ASCII, where a byte says it all.
        let control = if text.is_ascii() {
            text.bytes().any(|byte| byte.is_ascii_control())
        } else {
            text.chars().any(char::is_control)
        };
        if control {
            return Err(NameError::Control);
        }
        Ok(Self(SmolStr::new(text)))
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let text = core::str::from_utf8(bytes).map_err(|_| DecodeError::Other("name not UTF-8"))?;
        Self::new(text).map_err(|_| DecodeError::Other("not a valid name"))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Encode for Name {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        let bytes = self.0.as_bytes();
        let len = u8::try_from(bytes.len()).map_err(|_| EncodeError::Other("name too long"))?;
        encoder.writer().write(&[len])?;
        encoder.writer().write(bytes)
    }
}

impl<C> Decode<C> for Name {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let mut len = [0];
        decoder.claim_bytes_read(1)?;
        decoder.reader().read(&mut len)?;
        let len = usize::from(len[0]);
        decoder.claim_bytes_read(len)?;
        // From where it is, if the reader can show it.
        if let Some(bytes) = decoder.reader().peek_read(len) {
            let name = Self::from_bytes(bytes)?;
            decoder.reader().consume(len);
            return Ok(name);
        }
        let mut bytes = [0; NAME_MAX];
        let bytes = &mut bytes[..len];
        decoder.reader().read(bytes)?;
        Self::from_bytes(bytes)
    }
}

impl<'de, C> BorrowDecode<'de, C> for Name {
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(
        decoder: &mut D,
    ) -> Result<Self, DecodeError> {
        Self::decode(decoder)
    }
}
