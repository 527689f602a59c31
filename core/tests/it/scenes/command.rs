//! A command of a scene: who does what, with which values.

use std::cell::Cell;
use std::str::FromStr;
use std::time::Duration;

use super::text::span;

/// `who: verb value key=value`; who is left out where it is nobody's.
pub(super) struct Command<'a> {
    /// Where it stands, for errors.
    place: String,
    pub(super) who: Option<&'a str>,
    pub(super) verb: &'a str,
    values: Vec<Value<'a>>,
}

struct Value<'a> {
    key: Option<&'a str>,
    text: &'a str,
    used: Cell<bool>,
}

impl<'a> Command<'a> {
    pub(super) fn parse(line: &'a str, place: String) -> Self {
        let (who, rest) = match line.split_once(": ") {
            Some((who, rest)) if !who.contains(' ') => (Some(who), rest),
            _ => (None, line),
        };
        let mut words = rest.split(' ').filter(|word| !word.is_empty());
        let verb = words.next().unwrap_or_else(|| panic!("{place}: no verb"));
        let value = |word: &'a str| {
            let (key, text) = match word.split_once('=') {
                Some((key, text)) => (Some(key), text),
                None => (None, word),
            };
            Value {
                key,
                text,
                used: Cell::new(false),
            }
        };
        let values = words.map(value).collect();
        Self {
            place,
            who,
            verb,
            values,
        }
    }

    /// The value of a key, if it is given.
    pub(super) fn option(&self, key: &str) -> Option<&'a str> {
        let value = self.values.iter().find(|value| value.key == Some(key))?;
        value.used.set(true);
        Some(value.text)
    }

    pub(super) fn number<N: FromStr>(&self, key: &str) -> Option<N> {
        self.option(key).map(|text| self.read(text))
    }

    pub(super) fn span(&self, key: &str) -> Option<Duration> {
        self.option(key).map(span)
    }

    /// Whether a word is there.
    pub(super) fn says(&self, word: &str) -> bool {
        let value = self
            .values
            .iter()
            .find(|value| value.key.is_none() && value.text == word);
        value.inspect(|value| value.used.set(true)).is_some()
    }

    /// The next value without a key.
    pub(super) fn next(&self) -> Option<&'a str> {
        let next = |value: &&Value<'_>| value.key.is_none() && !value.used.get();
        let value = self.values.iter().find(next)?;
        value.used.set(true);
        Some(value.text)
    }

    /// The next value, which must be there.
    pub(super) fn must(&self) -> &'a str {
        self.next()
            .unwrap_or_else(|| panic!("{}: a value is missing", self.place))
    }

    /// The parts of a list `a,b`; none if the key is not there.
    pub(super) fn list(&self, key: &str) -> Vec<&'a str> {
        self.option(key)
            .map_or_else(Vec::new, |text| text.split(',').collect())
    }

    /// Numbers as `3`, `1,4` or `0..4`.
    pub(super) fn numbers(&self, text: &str) -> Vec<u64> {
        let part = |part: &str| match part.split_once("..") {
            Some((from, to)) => (self.read(from)..self.read(to)).collect(),
            None => vec![self.read(part)],
        };
        text.split(',').flat_map(part).collect()
    }

    pub(super) fn read<N: FromStr>(&self, text: &str) -> N {
        let read = text.parse();
        read.unwrap_or_else(|_| panic!("{}: {text} cannot be read", self.place))
    }

    /// Ends the test: this command cannot be done.
    pub(super) fn wrong(&self, why: &str) -> ! {
        panic!("{}: {}: {why}", self.place, self.verb)
    }

    /// Ends the test: this command means nothing.
    pub(super) fn unknown(&self) -> ! {
        self.wrong("nobody knows what that is")
    }

    /// Whoever misspells a key must hear of it.
    pub(super) fn all_used(&self) {
        let unused = self.values.iter().find(|value| !value.used.get());
        if let Some(Value { key, text, .. }) = unused {
            panic!("{}: {key:?} {text} means nothing here", self.place);
        }
    }
}
