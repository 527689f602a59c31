//! What machines say, in few words: the `Debug` text of a message or event without what is as
//! always. A new message needs nothing here.

use std::time::Duration;

use argon_core::task::{ErrorKind, ExitCause, TaskError};

use super::command::Command;

/// The `Debug` text of anything, shortened.
pub(super) fn short(thing: &impl std::fmt::Debug) -> String {
    let mut text = format!("{thing:?}");
    for (open, shorten) in RULES {
        text = rewrite(&text, open, *shorten);
    }
    let nothing = ["..", "false", "never", "[]", "None", "\"\"", "{}"];
    let text = nothing
        .iter()
        .fold(text, |text, nothing| without_fields(&text, nothing));
    once(&text)
}

type Rule = (&'static str, fn(&str) -> String);

/// What a value begins with, and what its inside becomes. In order: insides come first.
const RULES: &[Rule] = &[
    ("Nanos(", |inner| {
        inner.parse().map_or_else(|_| inner.to_owned(), time)
    }),
    ("Epoch(", str::to_owned),
    ("PeerId(", str::to_owned),
    ("SlotId(", str::to_owned),
    ("Name(", |inner| inner.trim_matches('"').to_owned()),
    ("Attempt { ", attempt),
    ("TaskId { ", |inner| fields(inner).join("/")),
    ("SlotLife { ", |inner| {
        format!("s{}", fields(inner).join("."))
    }),
    ("ReportedAttempt { ", |inner| fields(inner).join(" of ")),
    ("LastAttempt { ", |inner| format!("({inner})")),
    ("Payload { ", |_| "..".to_owned()),
    ("Priority(", str::to_owned),
];

/// Replaces each value that begins with `open`, which ends in a bracket.
fn rewrite(text: &str, open: &str, shorten: fn(&str) -> String) -> String {
    let (mut rest, mut new) = (text, String::new());
    while let Some(at) = rest.find(open) {
        let inside = &rest[at + open.len()..];
        let alone = !rest[..at].ends_with(|c: char| c.is_alphanumeric());
        let Some(end) = closing(inside).filter(|_| alone) else {
            new.push_str(&rest[..at + open.len()]);
            rest = inside;
            continue;
        };
        new.push_str(&rest[..at]);
        new.push_str(&shorten(inside[..end].trim()));
        rest = &inside[end + 1..];
    }
    new + rest
}

/// Where the bracket closes that was open before `text`.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut quoted, mut escaped) = (0, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            '(' | '{' | '[' => depth += 1,
            ')' | '}' | ']' if depth == 0 => return Some(at),
            ')' | '}' | ']' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// The values of the fields of a struct whose values have no commas.
fn fields(inner: &str) -> Vec<String> {
    let value = |field: &str| {
        field
            .split_once(": ")
            .map_or(field, |(_, value)| value)
            .to_owned()
    };
    inner.split(", ").map(value).collect()
}

fn attempt(inner: &str) -> String {
    match &fields(inner)[..] {
        [epoch, number] if *epoch == super::EPOCH.0.to_string() => format!("#{number}"),
        [epoch, number] => format!("#{number}@{epoch}"),
        _ => inner.to_owned(),
    }
}

/// `Submit { .. }` of `Submit(Submit { .. })`.
fn once(text: &str) -> String {
    match text.split_once('(') {
        Some((name, inner)) if inner.starts_with(&format!("{name} ")) => {
            inner.strip_suffix(')').unwrap_or(inner).to_owned()
        }
        _ => text.to_owned(),
    }
}

/// Leaves out the fields whose value is `nothing`.
pub(super) fn without_fields(text: &str, nothing: &str) -> String {
    let mut text = text.to_owned();
    for (before, after, instead) in [
        (", ", ", ", ", "),
        (", ", " }", " }"),
        ("{ ", ", ", "{ "),
        ("{ ", " }", "{}"),
    ] {
        text = drop_field(&text, nothing, before, after, instead);
    }
    text
}

/// Leaves out `before name: nothing after`, again and again.
fn drop_field(text: &str, nothing: &str, before: &str, after: &str, instead: &str) -> String {
    let mut text = text.to_owned();
    let ends = format!(": {nothing}{after}");
    let mut from = 0;
    while let Some(at) = text[from..].find(&ends).map(|at| at + from) {
        let start = text[..at].rfind(|c: char| !(c.is_ascii_lowercase() || c == '_'));
        let start = start.map_or(0, |start| start + 1);
        if text[..start].ends_with(before) {
            text.replace_range(start - before.len()..at + ends.len(), instead);
            from = 0;
        } else {
            from = at + ends.len() - after.len();
        }
    }
    text
}

/// A span in its largest unit without a fraction.
pub(super) fn time(nanos: u64) -> String {
    if nanos == u64::MAX {
        return "never".to_owned();
    }
    let units = [("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000)];
    let unit = units
        .into_iter()
        .find(|(_, unit)| nanos.is_multiple_of(*unit));
    match unit.filter(|_| nanos > 0) {
        Some((name, unit)) => format!("{}{name}", nanos / unit),
        None if nanos == 0 => "0".to_owned(),
        None => format!("{nanos}ns"),
    }
}

/// Reads a span as [`time`] writes it.
pub(super) fn span(text: &str) -> Duration {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: u64 = number
        .parse()
        .unwrap_or_else(|_| panic!("{text} is no span"));
    match unit {
        "s" => Duration::from_secs(number),
        "ms" => Duration::from_millis(number),
        "us" => Duration::from_micros(number),
        "ns" => Duration::from_nanos(number),
        "" if number == 0 => Duration::ZERO,
        _ => panic!("{text} is no span: write it like 10ms"),
    }
}

/// Why a process ended: `cause=exit:3`, `cause=memory`; a signal if nothing is said.
pub(super) fn cause(command: &Command<'_>) -> ExitCause {
    match command
        .option("cause")
        .map(|text| text.split_once(':').unwrap_or((text, "")))
    {
        None => ExitCause::Signal(11),
        Some(("signal", number)) => ExitCause::Signal(command.read(number)),
        Some(("exit", number)) => ExitCause::Exit(command.read(number)),
        Some(("not_started", _)) => ExitCause::NotStarted,
        Some(("protocol", _)) => ExitCause::Protocol,
        Some(("memory", _)) => ExitCause::Memory,
        Some(_) => command.unknown(),
    }
}

/// An error: `kind=exit:3`, `kind=time_limit`, `message=word`; one of the task if nothing is said.
pub(super) fn error(command: &Command<'_>) -> TaskError {
    let kind = match command
        .option("kind")
        .map(|text| text.split_once(':').unwrap_or((text, "")))
    {
        None => ErrorKind::Raised("Wrong".to_owned()),
        Some(("raised", text)) => ErrorKind::Raised(text.to_owned()),
        Some(("exit", number)) => ErrorKind::Exit(command.read(number)),
        Some(("signal", number)) => ErrorKind::Signal(command.read(number)),
        Some(("time_limit", _)) => ErrorKind::TimeLimit,
        Some(("memory_limit", _)) => ErrorKind::MemoryLimit,
        Some(("crashed", _)) => ErrorKind::Crashed(cause(command)),
        Some(("unknown_task", _)) => ErrorKind::UnknownTask,
        Some(("bad_payload", _)) => ErrorKind::BadPayload,
        Some(("result_too_large", _)) => ErrorKind::ResultTooLarge,
        Some(("unavailable", _)) => ErrorKind::Unavailable,
        Some(_) => command.unknown(),
    };
    TaskError::new(kind, command.option("message").unwrap_or("it is wrong"))
}

#[test]
fn texts_are_shortened() {
    #[derive(Debug)]
    #[allow(dead_code, reason = "shown")]
    struct Shown {
        seq: u64,
        none: Option<u8>,
        list: Vec<u8>,
        flag: bool,
        text: &'static str,
    }
    let shown = Shown {
        seq: 7,
        none: None,
        list: vec![],
        flag: true,
        text: "a: 0, }",
    };
    assert_eq!(
        short(&shown),
        "Shown { seq: 7, flag: true, text: \"a: 0, }\" }"
    );
    assert_eq!(
        (time(1_500_000), time(u64::MAX)),
        ("1500us".into(), "never".into())
    );
}
