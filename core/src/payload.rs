//! What travels with a message: an argument, a result, the detail of an error.

use core::fmt;
use core::ops::Deref;

use bytes::{Bytes, BytesMut};

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

/// Longer payloads are allocated, and shared by their clones. As long as it may be for a payload to
/// take no more room than nine words.
const INLINE_MAX: usize = 69;

const _: () = assert!(size_of::<Payload>() == 72);

/// Bytes that a payload has room for when something is appended first: more will be.
const OPEN_MIN: usize = 4 * 1024;

/// Bytes and what kind they are. Cloning it copies a few bytes and shares more.
#[derive(Clone)]
pub struct Payload(Bound);

/// Most arguments and results are short, and a task's payload passes through many hands: to copy
/// it costs less than to allocate it and to count who has it.
enum Bound {
    Inline {
        content: Content,
        len: u8,
        bytes: [u8; INLINE_MAX],
    },
    Shared {
        content: Content,
        bytes: Bytes,
    },
    /// Something may yet be appended.
    Open {
        content: Content,
        bytes: BytesMut,
    },
}

impl Clone for Bound {
    fn clone(&self) -> Self {
        match self {
            Self::Inline {
                content,
                len,
                bytes,
            } => Self::Inline {
                content: *content,
                len: *len,
                bytes: *bytes,
            },
            Self::Shared { content, bytes } => Self::Shared {
                content: *content,
                bytes: bytes.clone(),
            },
            Self::Open { content, bytes } => Self::Shared {
                content: *content,
                bytes: Bytes::copy_from_slice(bytes),
            },
        }
    }
}

impl Payload {
    /// Bytes of this kind.
    #[must_use]
    pub fn new(content: Content, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self::inline(content, &bytes).unwrap_or(Self(Bound::Shared { content, bytes }))
    }

    /// A copy of bytes of this kind. Up to 256 take one allocation at most, however often they are
    /// cloned; bytes that come from a vector take a second one with the first clone.
    #[must_use]
    pub fn copy_from_slice(content: Content, bytes: &[u8]) -> Self {
        Self::inline(content, bytes).unwrap_or_else(|| {
            let bytes = match bytes.len() {
                0..=128 => Bytes::from_owner(Owned::<128>::new(bytes)),
                129..=256 => Bytes::from_owner(Owned::<256>::new(bytes)),
                _ => Bytes::copy_from_slice(bytes),
            };
            Self(Bound::Shared { content, bytes })
        })
    }

    /// A copy of the first `len` of these bytes, of which there are as many at least. To copy as many as
    /// have room is quicker than to copy so many and no more: what is behind them is never looked at.
    #[inline]
    pub(crate) fn copy_first(content: Content, from: &[u8], len: usize) -> Self {
        if len <= INLINE_MAX
            && let Some(bytes) = from.first_chunk::<INLINE_MAX>()
        {
            let (len, bytes) = (len as u8, *bytes);
            return Self(Bound::Inline {
                content,
                len,
                bytes,
            });
        }
        Self::copy_from_slice(content, &from[..len])
    }

    /// No bytes.
    #[must_use]
    pub const fn empty() -> Self {
        Self(Bound::Inline {
            content: Content::BYTES,
            len: 0,
            bytes: [0; INLINE_MAX],
        })
    }

    fn inline(content: Content, from: &[u8]) -> Option<Self> {
        let mut bytes = [0; INLINE_MAX];
        bytes.get_mut(..from.len())?.copy_from_slice(from);
        Some(Self(Bound::Inline {
            content,
            len: from.len() as u8,
            bytes,
        }))
    }

    /// Adds more bytes at the end, of the same kind as those that are there.
    pub fn append(&mut self, more: &[u8]) {
        if let Bound::Open { bytes, .. } = &mut self.0 {
            return bytes.extend_from_slice(more);
        }
        let mut bytes = BytesMut::with_capacity(OPEN_MIN.max(2 * self.len() + more.len()));
        bytes.extend_from_slice(self);
        bytes.extend_from_slice(more);
        let content = self.content();
        self.0 = Bound::Open { content, bytes };
    }

    /// What the bytes are.
    #[must_use]
    pub fn content(&self) -> Content {
        match self.0 {
            Bound::Inline { content, .. }
            | Bound::Shared { content, .. }
            | Bound::Open { content, .. } => content,
        }
    }

    /// The bytes, for those who go on sharing them.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        match &self.0 {
            Bound::Inline { .. } | Bound::Open { .. } => Bytes::copy_from_slice(self),
            Bound::Shared { bytes, .. } => bytes.clone(),
        }
    }

    /// The bytes, for those who go on sharing them.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        match self.0 {
            Bound::Inline { .. } => Bytes::copy_from_slice(&self),
            Bound::Shared { bytes, .. } => bytes,
            Bound::Open { bytes, .. } => bytes.freeze(),
        }
    }
}

impl Default for Payload {
    fn default() -> Self {
        Self::empty()
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        self.content() == other.content() && self[..] == other[..]
    }
}

impl Eq for Payload {}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Payload")
            .field("bytes", &self.to_bytes())
            .field("content", &self.content())
            .finish()
    }
}

impl Deref for Payload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Bound::Inline { len, bytes, .. } => &bytes[..usize::from(*len)],
            Bound::Shared { bytes, .. } => bytes,
            Bound::Open { bytes, .. } => bytes,
        }
    }
}

impl<T: Into<Bytes>> From<T> for Payload {
    fn from(bytes: T) -> Self {
        Self::new(Content::BYTES, bytes)
    }
}

/// Up to `N` bytes, to be allocated together with the count of those who share them.
struct Owned<const N: usize> {
    len: usize,
    bytes: [u8; N],
}

impl<const N: usize> Owned<N> {
    fn new(from: &[u8]) -> Self {
        let (len, mut bytes) = (from.len(), [0; N]);
        bytes[..len].copy_from_slice(from);
        Self { len, bytes }
    }
}

impl<const N: usize> AsRef<[u8]> for Owned<N> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::vec;

    use super::*;

    #[test]
    fn the_first_of_many_bytes_are_all_that_is_copied() {
        let bytes: vec::Vec<u8> = (0..200).collect();
        for from in [&bytes[..], &bytes[..69], &bytes[..68], &bytes[..10]] {
            for len in 0..=from.len() {
                let first = Payload::copy_first(Content::JSON, from, len);
                assert_eq!(first, Payload::new(Content::JSON, from[..len].to_vec()));
                assert_eq!(first.clone().into_bytes(), from[..len]);
                let mut longer = first.clone();
                longer.append(b"end");
                assert_eq!(longer[len..], *b"end");
            }
        }
    }

    #[test]
    fn it_is_its_bytes_however_it_came() {
        for len in [0, 1, 68, 69, 70, 128, 129, 256, 257, 5_000] {
            let bytes = vec![len as u8; len];
            let copied = Payload::copy_from_slice(Content::JSON, &bytes);
            let moved = Payload::new(Content::JSON, bytes.clone());
            for payload in [&copied, &moved, &copied.clone()] {
                assert_eq!(payload[..], bytes[..]);
                assert_eq!(payload.content(), Content::JSON);
                assert_eq!(payload.to_bytes(), bytes);
                assert_eq!(payload.clone().into_bytes(), bytes);
            }
            assert_eq!(copied, moved);
            assert_ne!(copied, Payload::new(Content::BYTES, bytes));
        }
        assert_eq!(
            format!("{:?}", Payload::from("a\n")),
            r#"Payload { bytes: b"a\n", content: Content(0) }"#
        );
        assert_eq!(Payload::default(), Payload::from(""));
    }
}
