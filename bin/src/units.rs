//! Durations and sizes as people write them.

use std::error::Error;
use std::fmt;
use std::time::Duration;

/// Units of time, in nanoseconds.
const TIMES: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("", SECOND),
    ("s", SECOND),
    ("m", 60 * SECOND),
    ("h", 3_600 * SECOND),
    ("d", 86_400 * SECOND),
];
const SECOND: u64 = 1_000_000_000;

/// Multiples in counts.
const COUNTS: [(&str, u64); 3] = [("", 1), ("k", 1_000), ("m", 1_000_000)];

/// Units of size, in bytes, as coreutils have them; upper and lower case are the same.
const SIZES: [(&str, u64); 15] = [
    ("", 1),
    ("b", 1),
    ("k", 1 << 10),
    ("kib", 1 << 10),
    ("kb", 1_000),
    ("m", 1 << 20),
    ("mib", 1 << 20),
    ("mb", 1_000_000),
    ("g", 1 << 30),
    ("gib", 1 << 30),
    ("gb", 1_000_000_000),
    ("t", 1 << 40),
    ("tib", 1 << 40),
    ("tb", 1_000_000_000_000),
    ("p", 1 << 50),
];

/// A value on the command line that cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BadValue {
    given: String,
    problem: &'static str,
}

impl BadValue {
    /// `problem` goes on after what was given: "is not a size; write it like 64MiB".
    pub(crate) fn new(given: &str, problem: &'static str) -> Self {
        Self {
            given: given.to_owned(),
            problem,
        }
    }
}

impl fmt::Display for BadValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {}", self.given, self.problem)
    }
}

impl Error for BadValue {}

/// Reads `250ms`, `1.5s`, `5m`, `1h`; a plain number is seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, BadValue> {
    scaled(text, |unit| factor(&TIMES, unit))
        .map(Duration::from_nanos)
        .ok_or_else(|| {
            let problem = "is not a duration; write it like 250ms, 2s, 5m or 1h, or as seconds";
            BadValue::new(text, problem)
        })
}

/// A duration above zero.
pub(crate) fn some_duration(text: &str) -> Result<Duration, BadValue> {
    match duration(text)? {
        Duration::ZERO => Err(BadValue::new(
            text,
            "must be more than nothing; leave it out for no limit",
        )),
        span => Ok(span),
    }
}

/// A count, as `10000` or `10k`.
pub(crate) fn count(text: &str) -> Result<usize, BadValue> {
    let factor = |unit: &str| factor(&COUNTS, &unit.to_ascii_lowercase());
    let count = scaled(text, factor).and_then(|count| usize::try_from(count).ok());
    count.ok_or_else(|| BadValue::new(text, "is not a count; write it like 500, 10k or 2M"))
}

/// Reads `64MiB`, `1G`, `10kB`; a plain number is bytes.
pub(crate) fn size(text: &str) -> Result<u64, BadValue> {
    scaled(text, |unit| factor(&SIZES, &unit.to_ascii_lowercase())).ok_or_else(|| {
        let problem = "is not a size; write it like 64MiB, 1G or 500kB, or as bytes";
        BadValue::new(text, problem)
    })
}

/// A size that fits into memory.
pub(crate) fn memory_size(text: &str) -> Result<usize, BadValue> {
    usize::try_from(size(text)?)
        .map_err(|_| BadValue::new(text, "is more than this machine can hold"))
}

fn factor(units: &[(&str, u64)], unit: &str) -> Option<u64> {
    let found = units.iter().find(|(name, _)| *name == unit);
    found.map(|(_, factor)| *factor)
}

/// A number, perhaps with a fraction, and a unit; `None` if it is neither or too large. Integers
/// only, so that what is written is what is meant.
fn scaled(text: &str, unit: impl Fn(&str) -> Option<u64>) -> Option<u64> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, name) = text.split_at(end);
    let factor = unit(name.trim_start())?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let digits = |text: &str| {
        if text.is_empty() {
            Some(0)
        } else {
            text.parse::<u64>().ok()
        }
    };
    let whole = digits(whole)?.checked_mul(factor)?;
    let places = u32::try_from(fraction.len()).ok()?;
    let part = u128::from(digits(fraction)?) * u128::from(factor) / 10u128.checked_pow(places)?;
    whole.checked_add(u64::try_from(part).ok()?)
}

/// A span as people read it: `1.5 s`, `250 ms`.
pub(crate) struct Span(pub(crate) Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = self.0;
        let text = if span >= Duration::from_secs(3_600) {
            let minutes = span.as_secs() / 60;
            format!("{} h {:02} min", minutes / 60, minutes % 60)
        } else if span >= Duration::from_secs(60) {
            format!("{} min {:02} s", span.as_secs() / 60, span.as_secs() % 60)
        } else if span >= Duration::from_secs(1) {
            with_unit(span.as_secs_f64(), "s")
        } else if span >= Duration::from_millis(1) {
            with_unit(span.as_secs_f64() * 1e3, "ms")
        } else if span.is_zero() {
            "0 s".to_owned()
        } else {
            with_unit(span.as_secs_f64() * 1e6, "us")
        };
        f.pad(&text)
    }
}

/// A size as people read it: `64 MiB`.
pub(crate) struct Size(pub(crate) u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [
            (1u64 << 40, "TiB"),
            (1 << 30, "GiB"),
            (1 << 20, "MiB"),
            (1 << 10, "KiB"),
        ];
        let text = match units.iter().find(|(unit, _)| self.0 >= *unit) {
            #[expect(clippy::cast_precision_loss, reason = "for people")]
            Some((unit, name)) => with_unit(self.0 as f64 / *unit as f64, name),
            None => format!("{} B", self.0),
        };
        f.pad(&text)
    }
}

/// One decimal, unless it is 0.
fn with_unit(number: f64, unit: &str) -> String {
    let text = format!("{number:.1}");
    format!("{} {unit}", text.strip_suffix(".0").unwrap_or(&text))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_have_units_and_plain_numbers_are_seconds() {
        for (text, millis) in [
            ("250ms", 250),
            ("2s", 2_000),
            ("2", 2_000),
            ("0", 0),
            ("1.5", 1_500),
            (".5s", 500),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("1 h", 3_600_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(duration("1us"), Ok(Duration::from_micros(1)));
    }

    #[test]
    fn sizes_have_units_and_plain_numbers_are_bytes() {
        for (text, bytes) in [
            ("64MiB", 64 << 20),
            ("1G", 1 << 30),
            ("1g", 1 << 30),
            ("500kB", 500_000),
            ("1.5K", 1_536),
            ("17", 17),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn errors_say_what_was_wrong_and_what_would_be_right() {
        for text in ["", "s", "2x", "-1s", "1.2.3", ".", "1e3", "99999999999999h"] {
            let error = duration(text).unwrap_err().to_string();
            assert!(error.contains(&format!("`{text}`")) && error.contains("250ms"));
            let error = size(text).map_err(|error| error.to_string());
            assert!(error.is_err_and(|error| error.contains("64MiB")) || text == "2x");
        }
    }

    #[test]
    fn what_people_read() {
        let read = |millis| Span(Duration::from_millis(millis)).to_string();
        assert_eq!(read(0), "0 s");
        assert_eq!(read(250), "250 ms");
        assert_eq!(read(1_500), "1.5 s");
        assert_eq!(read(61_000), "1 min 01 s");
        assert_eq!(read(3_660_000), "1 h 01 min");
        assert_eq!(Size(64 << 20).to_string(), "64 MiB");
        assert_eq!(Size(1_536).to_string(), "1.5 KiB");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC*") {
            let _ = duration(&text);
            let _ = size(&text);
        }

        #[test]
        fn nanoseconds_are_exact(nanos in 0u64..) {
            prop_assert_eq!(duration(&format!("{nanos}ns")), Ok(Duration::from_nanos(nanos)));
            let seconds = format!("{}.{:09}s", nanos / SECOND, nanos % SECOND);
            prop_assert_eq!(duration(&seconds), Ok(Duration::from_nanos(nanos)));
        }
    }
}
