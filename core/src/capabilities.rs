//! What a pool can run: the names of tasks, exact or by their beginning.

use alloc::vec::Vec;
use core::fmt;

use bincode::de::Decoder;
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{BorrowDecode, Decode, Encode};

use crate::limits::CAPABILITIES_MAX;
use crate::name::Name;

/// The names of the tasks that a pool runs. Each pattern is a name, or the beginning of one
/// followed by `*`; `*` alone is every name. Sorted, each once, so that pools that run the same
/// say the same.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Capabilities {
    patterns: Vec<Name>,
    /// The places of those that end with `*`, by their beginnings, without those that begin with
    /// another: so one of them at most is in question for a name, however many there are.
    beginnings: Vec<u16>,
}

const _: () = assert!(CAPABILITIES_MAX <= u16::MAX as usize);

/// More patterns than capabilities may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyCapabilities {
    /// How many there were.
    pub patterns: usize,
}

impl fmt::Display for TooManyCapabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "capabilities of {} names, where at most {CAPABILITIES_MAX} are allowed; end a common beginning \
             with * to name many at once",
            self.patterns
        )
    }
}

impl core::error::Error for TooManyCapabilities {}

impl Capabilities {
    /// Capabilities of these patterns, in any order.
    ///
    /// # Errors
    /// If there are more than [`CAPABILITIES_MAX`] different ones.
    pub fn new(patterns: impl IntoIterator<Item = Name>) -> Result<Self, TooManyCapabilities> {
        let mut patterns: Vec<Name> = patterns.into_iter().collect();
        patterns.sort_unstable();
        patterns.dedup();
        if patterns.len() > CAPABILITIES_MAX {
            return Err(TooManyCapabilities {
                patterns: patterns.len(),
            });
        }
        Ok(Self::sorted(patterns))
    }

    fn sorted(patterns: Vec<Name>) -> Self {
        let begins = (0..).zip(&patterns);
        let mut all: Vec<(&str, u16)> = begins
            .filter_map(|(place, name)| Some((beginning(name)?, place)))
            .collect();
        all.sort_unstable();
        all.dedup_by(|longer, shorter| longer.0.starts_with(shorter.0));
        let beginnings = all.into_iter().map(|(_, place)| place).collect();
        Self {
            patterns,
            beginnings,
        }
    }

    /// Runs nothing: what is known of a pool before it has said anything.
    #[must_use]
    pub const fn nothing() -> Self {
        Self {
            patterns: Vec::new(),
            beginnings: Vec::new(),
        }
    }

    /// Runs whatever it is given, and fails what it does not know.
    ///
    /// # Panics
    /// Never: the pattern is a valid name.
    #[must_use]
    pub fn anything() -> Self {
        Self::sorted([Name::new("*").expect("it is printable")].into())
    }

    /// Its patterns, sorted.
    #[must_use]
    pub fn patterns(&self) -> &[Name] {
        &self.patterns
    }

    /// Whether it runs nothing.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether tasks of this name can run.
    #[must_use]
    pub fn covers(&self, name: &Name) -> bool {
        let text = name.as_str();
        self.patterns.binary_search(name).is_ok() || {
            // What lies between a beginning and a name that begins so begins so too.
            let after = self
                .beginnings
                .partition_point(|place| self.begins(*place) <= text);
            let last = after.checked_sub(1);
            last.is_some_and(|last| text.starts_with(self.begins(self.beginnings[last])))
        }
    }

    /// The beginning that the pattern at this place stands for.
    fn begins(&self, place: u16) -> &str {
        let name = &self.patterns[usize::from(place)];
        beginning(name).unwrap_or(name.as_str())
    }

    /// The names that are offered one by one.
    pub fn names(&self) -> impl Iterator<Item = &Name> {
        self.patterns
            .iter()
            .filter(|name| !name.as_str().ends_with('*'))
    }
}

/// What a pattern for many names begins with.
fn beginning(pattern: &Name) -> Option<&str> {
    pattern.as_str().strip_suffix('*')
}

impl fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Capabilities").field(&self.patterns).finish()
    }
}

impl Encode for Capabilities {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.patterns.encode(encoder)
    }
}

impl<C> Decode<C> for Capabilities {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Self::new(Vec::decode(decoder)?).map_err(|_| DecodeError::Other("too many names"))
    }
}

impl<'de, C> BorrowDecode<'de, C> for Capabilities {
    fn borrow_decode<D: bincode::de::BorrowDecoder<'de, Context = C>>(
        decoder: &mut D,
    ) -> Result<Self, DecodeError> {
        Self::decode(decoder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec as some;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn capabilities(patterns: &[&str]) -> Capabilities {
        let names = patterns.iter().map(|text| Name::new(text).expect("valid"));
        Capabilities::new(names).expect("few")
    }

    fn covers(capabilities: &Capabilities, name: &str) -> bool {
        capabilities.covers(&Name::new(name).expect("valid"))
    }

    #[test]
    fn names_are_exact_and_beginnings_are_not() {
        let capabilities = capabilities(&["add", "perl:*"]);
        assert!(
            covers(&capabilities, "add")
                && covers(&capabilities, "perl:X")
                && covers(&capabilities, "perl:")
        );
        assert!(
            !covers(&capabilities, "adder")
                && !covers(&capabilities, "ad")
                && !covers(&capabilities, "perl")
        );
        assert!(
            !covers(&Capabilities::nothing(), "add") && covers(&Capabilities::anything(), "add")
        );
    }

    proptest! {
        /// As if every pattern were looked at.
        #[test]
        fn however_many_there_are(patterns in some("[ab*]{1,4}", 0..12), names in some("[ab*]{1,5}", 20)) {
            let patterns: Vec<&str> = patterns.iter().map(std::string::String::as_str).collect();
            let capabilities = capabilities(&patterns);
            for name in &names {
                let runs = |pattern: &&str| {
                    let begin = pattern.strip_suffix('*');
                    *pattern == name || begin.is_some_and(|begin| name.starts_with(begin))
                };
                prop_assert_eq!(covers(&capabilities, name), patterns.iter().any(runs));
            }
        }
    }

    #[test]
    fn order_and_repetition_make_no_difference() {
        assert_eq!(capabilities(&["b", "a", "b"]), capabilities(&["a", "b"]));
        let names: Vec<&str> = [].into();
        assert_eq!(capabilities(&names), Capabilities::nothing());
    }

    #[test]
    fn too_many_are_refused() {
        let names = |count| (0..count).map(|n| Name::new(&std::format!("{n}")).expect("valid"));
        assert!(Capabilities::new(names(CAPABILITIES_MAX)).is_ok());
        let error = Capabilities::new(names(CAPABILITIES_MAX + 1)).expect_err("too many");
        assert_eq!(error.patterns, CAPABILITIES_MAX + 1);
    }
}
