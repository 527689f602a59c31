//! What a pool can run: the names of tasks, exact or by their beginning.

use alloc::vec::Vec;
use core::fmt;

use bincode::de::Decoder;
use bincode::error::DecodeError;
use bincode::{BorrowDecode, Decode, Encode};

use crate::limits::OFFER_MAX;
use crate::name::Name;

/// The names of the tasks that a pool runs. Each pattern is a name, or the beginning of one
/// followed by `*`; `*` alone is every name. Sorted, each once, so that pools that run the same
/// say the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Encode)]
pub struct Offer(Vec<Name>);

/// More patterns than an offer may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfferTooLong {
    /// How many there were.
    pub patterns: usize,
}

impl fmt::Display for OfferTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "an offer of {} names, where at most {OFFER_MAX} are allowed; end a common beginning \
             with * to offer many at once",
            self.patterns
        )
    }
}

impl core::error::Error for OfferTooLong {}

impl Offer {
    /// An offer of these patterns, in any order.
    ///
    /// # Errors
    /// If there are more than [`OFFER_MAX`] different ones.
    pub fn new(patterns: impl IntoIterator<Item = Name>) -> Result<Self, OfferTooLong> {
        let mut patterns: Vec<Name> = patterns.into_iter().collect();
        patterns.sort_unstable();
        patterns.dedup();
        if patterns.len() > OFFER_MAX {
            return Err(OfferTooLong {
                patterns: patterns.len(),
            });
        }
        Ok(Self(patterns))
    }

    /// Runs nothing: what is known of a pool before it has said anything.
    #[must_use]
    pub const fn nothing() -> Self {
        Self(Vec::new())
    }

    /// Runs whatever it is given, and fails what it does not know.
    ///
    /// # Panics
    /// Never: the pattern is a valid name.
    #[must_use]
    pub fn anything() -> Self {
        Self([Name::new("*").expect("it is printable")].into())
    }

    /// Its patterns, sorted.
    #[must_use]
    pub fn patterns(&self) -> &[Name] {
        &self.0
    }

    /// Whether it runs nothing.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether tasks of this name can run.
    #[must_use]
    pub fn covers(&self, name: &Name) -> bool {
        self.0.binary_search(name).is_ok()
            || self
                .beginnings()
                .any(|start| name.as_str().starts_with(start))
    }

    /// The names that are offered one by one.
    pub fn names(&self) -> impl Iterator<Item = &Name> {
        self.0.iter().filter(|name| !name.as_str().ends_with('*'))
    }

    fn beginnings(&self) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter_map(|name| name.as_str().strip_suffix('*'))
    }
}

impl<C> Decode<C> for Offer {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Self::new(Vec::decode(decoder)?).map_err(|_| DecodeError::Other("too many names"))
    }
}

impl<'de, C> BorrowDecode<'de, C> for Offer {
    fn borrow_decode<D: bincode::de::BorrowDecoder<'de, Context = C>>(
        decoder: &mut D,
    ) -> Result<Self, DecodeError> {
        Self::decode(decoder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn offer(patterns: &[&str]) -> Offer {
        let names = patterns.iter().map(|text| Name::new(text).expect("valid"));
        Offer::new(names).expect("few")
    }

    fn covers(offer: &Offer, name: &str) -> bool {
        offer.covers(&Name::new(name).expect("valid"))
    }

    #[test]
    fn names_are_exact_and_beginnings_are_not() {
        let offer = offer(&["add", "perl:*"]);
        assert!(covers(&offer, "add") && covers(&offer, "perl:X") && covers(&offer, "perl:"));
        assert!(!covers(&offer, "adder") && !covers(&offer, "ad") && !covers(&offer, "perl"));
        assert!(!covers(&Offer::nothing(), "add") && covers(&Offer::anything(), "add"));
    }

    #[test]
    fn order_and_repetition_make_no_difference() {
        assert_eq!(offer(&["b", "a", "b"]), offer(&["a", "b"]));
        let names: Vec<&str> = [].into();
        assert_eq!(offer(&names), Offer::nothing());
    }

    #[test]
    fn too_many_are_refused() {
        let names = |count| (0..count).map(|n| Name::new(&std::format!("{n}")).expect("valid"));
        assert!(Offer::new(names(OFFER_MAX)).is_ok());
        let error = Offer::new(names(OFFER_MAX + 1)).expect_err("too many");
        assert_eq!(error.patterns, OFFER_MAX + 1);
    }
}
