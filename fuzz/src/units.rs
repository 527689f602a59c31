//! Durations, sizes and counts as people write them.

#[expect(dead_code, reason = "the command uses all of it")]
#[path = "../../bin/src/units.rs"]
mod ours;

use std::time::Duration;

use ours::{Size, Span, count, duration, memory_size, size};

pub(crate) const WORDS: &[&[u8]] = &[
    b"ns",
    b"us",
    b"ms",
    b"s",
    b"m",
    b"h",
    b"d",
    b"k",
    b"KiB",
    b"kB",
    b"GiB",
    b"TB",
    b"P",
    b".",
    b" ",
    b"18446744073709551615",
    b"0.000000001",
];

const DAYS_MAX: u64 = 86_400 * 365 * 600;

pub(crate) fn units(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    match duration(&text) {
        Ok(span) => {
            let nanos = span.as_nanos();
            assert_eq!(duration(&format!("{nanos}ns")), Ok(span), "{text}");
            assert_eq!(
                duration(&format!(" {text} ")),
                Ok(span),
                "blanks around matter"
            );
            let shown = Span(span).to_string();
            assert!(span.as_secs() < DAYS_MAX && shown.len() < 40, "{shown}");
            // Whatever is read as a time begins like a number.
            let number = text.trim();
            assert!(number.starts_with(|c: char| c.is_ascii_digit() || c == '.'));
        }
        Err(error) => assert!(error.to_string().contains(&*text)),
    }
    match size(&text) {
        Ok(bytes) => {
            assert_eq!(size(&bytes.to_string()), Ok(bytes), "{text}");
            assert_eq!(size(&text.to_ascii_uppercase()), Ok(bytes), "case matters");
            assert_eq!(memory_size(&text), Ok(bytes as usize));
            assert!(Size(bytes).to_string().len() < 40);
        }
        Err(error) => {
            assert!(error.to_string().contains(&*text));
            assert!(memory_size(&text).is_err());
        }
    }
    match count(&text) {
        Ok(number) => assert_eq!(count(&number.to_string()), Ok(number), "{text}"),
        Err(error) => assert!(error.to_string().contains(&*text)),
    }
    if let Some(bytes) = input.first_chunk() {
        let number = u64::from_le_bytes(*bytes);
        assert!(Size(number).to_string().len() < 40);
        assert!(Span(Duration::from_nanos(number)).to_string().len() < 40);
        let seconds = format!("{}.{:09}s", number / 1_000_000_000, number % 1_000_000_000);
        assert_eq!(
            duration(&seconds),
            Ok(Duration::from_nanos(number)),
            "{seconds}"
        );
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let texts = [
        "250ms", "1.5s", "5m", "1 h", ".5", "64MiB", "1G", "500kB", "10k", "2M", "7 d",
    ];
    texts.map(|text| text.as_bytes().to_vec()).into()
}
