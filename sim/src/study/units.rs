//! Lengths of time as people write them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::options::{MS, S, US};

/// A length of time, in nanoseconds; written like `200us`, `20ms`, `1.5s`, `2m`, `1h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(pub u64);

const UNITS: [(&str, u64); 6] = [
    ("h", 3_600 * S),
    ("m", 60 * S),
    ("s", S),
    ("ms", MS),
    ("us", US),
    ("ns", 1),
];

/// Longer than this is a slip of the pen: ten years.
const MOST: f64 = 3.2e17;

impl Span {
    /// In seconds.
    #[must_use]
    pub fn seconds(self) -> f64 {
        self.0 as f64 / S as f64
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a length of time; write it like 200us, 20ms or 2s");
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
        let (number, unit) = text.split_at(end.ok_or_else(wrong)?);
        let unit = UNITS.iter().find(|(name, _)| *name == unit);
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let nanos = number * unit.ok_or_else(wrong)?.1 as f64;
        if nanos > MOST {
            return Err(format!("`{text}` is longer than ten years"));
        }
        Ok(Self(nanos.round() as u64))
    }
}

impl fmt::Display for Span {
    /// The largest unit that needs at most three digits after the point.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS
            .iter()
            .find(|(_, nanos)| self.0 >= *nanos && self.0.is_multiple_of((nanos / 1_000).max(1)));
        match unit {
            Some((name, nanos)) => write!(f, "{}{name}", self.0 as f64 / *nanos as f64),
            None => write!(f, "{}ns", self.0),
        }
    }
}

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Span> for String {
    fn from(span: Span) -> Self {
        span.to_string()
    }
}

/// A span for people: three digits that count.
pub(super) fn shown(nanos: u64) -> String {
    let (unit, name) = match nanos {
        0..US => (1, "ns"),
        US..MS => (US, "us"),
        MS..S => (MS, "ms"),
        _ => (S, "s"),
    };
    let value = nanos as f64 / unit as f64;
    let digits = match value {
        _ if unit == 1 => 0,
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {name}")
}

/// A number for people: three digits that count, thousands apart.
pub(super) fn figure(value: f64) -> String {
    if value < 100.0 && value.fract() != 0.0 {
        return format!("{value:.2}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Span, figure, shown};

    #[test]
    fn spans_are_read_and_written() {
        for (text, nanos) in [
            ("200us", 200_000),
            ("1.5s", 1_500_000_000),
            ("2m", 120_000_000_000),
            ("0s", 0),
        ] {
            assert_eq!(text.parse(), Ok(Span(nanos)));
            assert_eq!(Span(nanos).to_string().parse(), Ok(Span(nanos)));
        }
        for wrong in [
            "",
            "5",
            "ms",
            "-1s",
            "1.2.3s",
            "5 days",
            "1e9h",
            "99999999999h",
        ] {
            assert!(wrong.parse::<Span>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn figures_are_short() {
        assert_eq!(shown(1_234_567), "1.23 ms");
        assert_eq!(shown(45_600_000_000), "45.6 s");
        assert_eq!(figure(1_234_567.0), "1,234,567");
        assert_eq!(figure(12.345), "12.35");
    }
}
