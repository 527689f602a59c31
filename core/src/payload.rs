//! What travels with a message: an argument, a result, the detail of an error.

use core::fmt;
use core::ops::Deref;

use bytes::Bytes;

/// What kind of bytes a payload holds, so that whoever reads it need not guess. Argon itself
/// never looks; numbers it does not know pass through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Content(pub u8);

impl Content {
    /// Bytes of which nothing is said.
    pub const BYTES: Self = Self(0);
    /// JSON in UTF-8: what languages exchange unless they agree on something else.
    pub const JSON: Self = Self(1);
    /// The fixed-size bincode 2 of Rust types, between Rust programs that share them.
    pub const BINCODE: Self = Self(2);
    /// A Python pickle, between Python programs where shipped code is allowed.
    pub const PICKLE: Self = Self(3);
    /// The built-in commands' own layout.
    pub const COMMAND: Self = Self(4);
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::BYTES => f.write_str("plain bytes"),
            Self::JSON => f.write_str("JSON"),
            Self::BINCODE => f.write_str("bincode"),
            Self::PICKLE => f.write_str("a pickle"),
            Self::COMMAND => f.write_str("a command"),
            Self(other) => write!(f, "content of kind {other}"),
        }
    }
}

/// Shared bytes and what kind they are. Cloning it copies nothing.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Payload {
    /// The bytes.
    pub bytes: Bytes,
    /// What they are.
    pub content: Content,
}

impl Payload {
    /// Bytes of this kind.
    #[must_use]
    pub fn new(content: Content, bytes: impl Into<Bytes>) -> Self {
        Self {
            bytes: bytes.into(),
            content,
        }
    }

    /// No bytes.
    #[must_use]
    pub const fn empty() -> Self {
        Self {
            bytes: Bytes::new(),
            content: Content::BYTES,
        }
    }
}

impl Deref for Payload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl<T: Into<Bytes>> From<T> for Payload {
    fn from(bytes: T) -> Self {
        Self::new(Content::BYTES, bytes)
    }
}
