//! Arguments and results as payloads: JSON, bincode, or bytes as they are.
//!
//! A payload says what it holds, so whoever reads one need not guess: a task takes whatever it can
//! read and answers in the same way, and everything else is an error that names both.

use std::any::{Any, TypeId};
use std::fmt;

use argon_core::limits::PAYLOAD_MAX_CEILING;
use argon_core::payload::{Content, Payload};
use bincode::config::{Configuration, Fixint, Limit, LittleEndian};
use bytes::Bytes;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Nothing that is decoded takes more than the largest payload.
const BINCODE: Configuration<LittleEndian, Fixint, Limit<PAYLOAD_MAX_CEILING>> =
    bincode::config::standard()
        .with_fixed_int_encoding()
        .with_limit::<PAYLOAD_MAX_CEILING>();

/// What is wrong with a value that was to be written or read, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ValueError(String);

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ValueError {}

/// How the arguments of a call are written, and so its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Codec {
    /// JSON, which every language reads.
    #[default]
    Json,
    /// Bincode with integers of fixed size: smaller and faster, between Rust programs that have
    /// the same types.
    Bincode,
}

/// Writes a value.
pub(crate) fn encode<T: Serialize + ?Sized>(
    codec: Codec,
    value: &T,
) -> Result<Payload, ValueError> {
    match codec {
        Codec::Json => serde_json::to_vec(value)
            .map(|bytes| Payload::new(Content::JSON, bytes))
            .map_err(|error| ValueError(format!("not to be written as JSON: {error}"))),
        Codec::Bincode => bincode::serde::encode_to_vec(value, BINCODE)
            .map(|bytes| Payload::new(Content::BINCODE, bytes))
            .map_err(|error| ValueError(format!("not to be written as bincode: {error}"))),
    }
}

/// Writes the arguments of a task of any language: what JSON has as a list, an object, or null.
pub(crate) fn encode_list<T: Serialize + ?Sized>(arguments: &T) -> Result<Payload, ValueError> {
    let payload = encode(Codec::Json, arguments)?;
    match payload.first() {
        Some(b'[' | b'{') => Ok(payload),
        _ if &payload[..] == b"null" => Ok(Payload::new(Content::JSON, "[]")),
        _ => Err(ValueError(
            "the arguments of a call are a tuple, an array or a Vec; one alone is written (x,)"
                .to_owned(),
        )),
    }
}

/// Writes a result; bytes as they are.
pub(crate) fn encode_result<T: Serialize + Any>(
    codec: Codec,
    value: T,
) -> Result<Payload, ValueError> {
    let value = match same::<T, Vec<u8>>(value) {
        Ok(bytes) => return Ok(Payload::from(bytes)),
        Err(value) => value,
    };
    match same::<T, Bytes>(value) {
        Ok(bytes) => Ok(Payload::from(bytes)),
        Err(value) => encode(codec, &value),
    }
}

/// Reads a result.
pub(crate) fn decode_result<T: DeserializeOwned + Any>(payload: Payload) -> Result<T, ValueError> {
    match payload.content() {
        Content::JSON => serde_json::from_slice(&payload).map_err(|error| {
            ValueError(format!(
                "it is JSON, but not of the type that was expected: {error}"
            ))
        }),
        Content::BINCODE => from_bincode(&payload),
        Content::BYTES => from_bytes(payload.into_bytes()).ok_or_else(|| {
            let problem = "it is plain bytes; expect a Vec<u8> or Bytes to take them as they are";
            ValueError(problem.to_owned())
        }),
        other => Err(ValueError(format!(
            "it is {other}, where JSON, bincode or plain bytes are understood"
        ))),
    }
}

/// Reads arguments into a tuple; how the result is to be written.
pub(crate) fn decode_arguments<A: DeserializeOwned + Any>(
    payload: &Payload,
    parameters: &[&str],
) -> Result<(A, Codec), ValueError> {
    match payload.content() {
        Content::JSON if starts_object(payload) => {
            let list = positional(payload, parameters)?;
            let arguments =
                serde_json::from_value(list).map_err(|error| misfit(parameters, &error));
            Ok((arguments?, Codec::Json))
        }
        Content::JSON => {
            let arguments = serde_json::from_slice(payload);
            let arguments = arguments.map_err(|error| match count(payload) {
                Some(given) if given != parameters.len() => wrong_number(parameters, given),
                _ => misfit(parameters, &error),
            });
            Ok((arguments?, Codec::Json))
        }
        Content::BINCODE => Ok((from_bincode(payload)?, Codec::Bincode)),
        Content::BYTES => {
            let no_arguments = || payload.is_empty().then(from_nothing).flatten();
            let arguments = from_one(payload.to_bytes()).or_else(no_arguments);
            let arguments = arguments.ok_or_else(|| {
                ValueError(format!(
                    "plain bytes came, and this task takes {}; send JSON or bincode",
                    listed(parameters)
                ))
            });
            Ok((arguments?, Codec::Json))
        }
        other => Err(ValueError(format!(
            "{other} came, where JSON, bincode or plain bytes are understood"
        ))),
    }
}

/// `value`, if its type is that other one.
fn same<T: Any, U: Any>(value: T) -> Result<U, T> {
    let mut slot = Some(value);
    if let Some(found) = (&mut slot as &mut dyn Any).downcast_mut::<Option<U>>() {
        return Ok(found.take().expect("nobody has taken it"));
    }
    Err(slot.expect("nobody has taken it"))
}

/// Bytes, or nothing at all, as that type.
fn from_bytes<T: Any>(bytes: Bytes) -> Option<T> {
    if TypeId::of::<T>() == TypeId::of::<Vec<u8>>() {
        return same(Vec::from(bytes)).ok();
    }
    if TypeId::of::<T>() == TypeId::of::<()>() && bytes.is_empty() {
        return same(()).ok();
    }
    same(bytes).ok()
}

/// Bytes as the only argument.
fn from_one<A: Any>(bytes: Bytes) -> Option<A> {
    if TypeId::of::<A>() == TypeId::of::<(Vec<u8>,)>() {
        return same((Vec::from(bytes),)).ok();
    }
    same((bytes,)).ok()
}

/// No arguments.
fn from_nothing<A: Any>() -> Option<A> {
    same([(); 0]).ok()
}

fn from_bincode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ValueError> {
    let wrong = "it is bincode, but not of the types that are expected here; \
                 both programs need the same ones";
    match bincode::serde::decode_from_slice(bytes, BINCODE) {
        Ok((value, read)) if read == bytes.len() => Ok(value),
        Ok((_, read)) => Err(ValueError(format!(
            "{wrong} ({} bytes are left over)",
            bytes.len() - read
        ))),
        Err(error) => Err(ValueError(format!("{wrong} ({error})"))),
    }
}

fn starts_object(json: &[u8]) -> bool {
    json.trim_ascii_start().starts_with(b"{")
}

/// How many arguments a list has.
fn count(json: &[u8]) -> Option<usize> {
    let list: Vec<IgnoredAny> = serde_json::from_slice(json).ok()?;
    Some(list.len())
}

/// Arguments that some of which are named.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    #[serde(default)]
    args: Vec<Value>,
    #[serde(default)]
    kwargs: Map<String, Value>,
}

/// Puts named arguments where they belong.
fn positional(json: &[u8], parameters: &[&str]) -> Result<Value, ValueError> {
    let named: Named = serde_json::from_slice(json).map_err(|error| {
        let problem = "arguments are a list, or an object with \"args\" and \"kwargs\"";
        ValueError(format!("{problem}: {error}"))
    })?;
    let Named {
        mut args,
        mut kwargs,
    } = named;
    if args.len() > parameters.len() {
        return Err(wrong_number(parameters, args.len()));
    }
    for name in &parameters[args.len()..] {
        let value = kwargs.remove(*name);
        args.push(value.ok_or_else(|| {
            let takes = listed(parameters);
            ValueError(format!("no argument {name}; this task takes {takes}"))
        })?);
    }
    match kwargs.keys().next() {
        None => Ok(Value::Array(args)),
        Some(name) if parameters.contains(&&name[..]) => {
            Err(ValueError(format!("the argument {name} was given twice")))
        }
        Some(name) => Err(ValueError(format!(
            "there is no argument {name}; this task takes {}",
            listed(parameters)
        ))),
    }
}

fn wrong_number(parameters: &[&str], given: usize) -> ValueError {
    let takes = listed(parameters);
    ValueError(format!("{given} came, and this task takes {takes}"))
}

fn misfit(parameters: &[&str], error: &serde_json::Error) -> ValueError {
    ValueError(format!("{error}; this task takes {}", listed(parameters)))
}

fn listed(parameters: &[&str]) -> String {
    match parameters {
        [] => "no arguments".to_owned(),
        [one] => format!("1 argument ({one})"),
        more => format!("{} arguments ({})", more.len(), more.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &'static str) -> Payload {
        Payload::new(Content::JSON, text)
    }

    fn pair(payload: &Payload) -> Result<(i64, String), ValueError> {
        decode_arguments(payload, &["x", "y"]).map(|(arguments, _)| arguments)
    }

    #[test]
    fn results_come_back_as_they_went() {
        for codec in [Codec::Json, Codec::Bincode] {
            let value = (7u8, "x".to_owned(), vec![Some(1.5), None]);
            let payload = encode_result(codec, value.clone()).unwrap();
            assert_eq!(decode_result(payload), Ok(value));
            let payload = encode_result(codec, ()).unwrap();
            assert_eq!(decode_result(payload), Ok(()));
        }
    }

    #[test]
    fn bytes_travel_as_they_are() {
        let bytes = vec![0u8, 255, 7];
        let payload = encode_result(Codec::Json, bytes.clone()).unwrap();
        assert_eq!(
            (payload.content(), &payload[..]),
            (Content::BYTES, &bytes[..])
        );
        assert_eq!(decode_result(payload.clone()), Ok(bytes.clone()));
        assert_eq!(
            decode_result(payload.clone()),
            Ok(Bytes::from(bytes.clone()))
        );
        assert!(
            decode_result::<Vec<i64>>(payload.clone())
                .unwrap_err()
                .to_string()
                .contains("Vec<u8>")
        );
        assert!(decode_result::<String>(payload.clone()).is_err());
        let (one, _) = decode_arguments::<(Vec<u8>,)>(&payload, &["data"]).unwrap();
        assert_eq!(one.0, bytes);
        assert!(
            pair(&payload)
                .unwrap_err()
                .to_string()
                .contains("2 arguments (x, y)")
        );
        assert_eq!(decode_result(Payload::empty()), Ok(()));
        assert!(decode_arguments::<[(); 0]>(&Payload::empty(), &[]).is_ok());
    }

    #[test]
    fn arguments_may_be_named() {
        let expected = Ok((3, "a".to_owned()));
        for text in [
            r#"[3, "a"]"#,
            r#" {"args": [3, "a"]}"#,
            r#"{"args": [3], "kwargs": {"y": "a"}}"#,
            r#"{"kwargs": {"y": "a", "x": 3}}"#,
        ] {
            assert_eq!(pair(&json(text)), expected, "{text}");
        }
    }

    #[test]
    fn what_does_not_fit_says_what_would() {
        for (text, reason) in [
            ("[3]", "1 came, and this task takes 2 arguments (x, y)"),
            ("[3, \"a\", 1]", "3 came"),
            ("[\"a\", 3]", "expected i64"),
            ("7", "2 arguments"),
            ("{\"args\": [1, 2, 3]}", "3 came"),
            ("{\"args\": [1]}", "no argument y"),
            ("{\"args\": [1, \"a\"], \"kwargs\": {\"x\": 1}}", "twice"),
            (
                "{\"args\": [1, \"a\"], \"kwargs\": {\"z\": 1}}",
                "no argument z",
            ),
            ("{\"x\": 1}", "\"kwargs\""),
        ] {
            let text = pair(&json(text)).unwrap_err().to_string();
            assert!(text.contains(reason), "{text}");
        }
        let pickle = Payload::new(Content::PICKLE, "x");
        assert!(pair(&pickle).unwrap_err().to_string().contains("a pickle"));
        assert!(
            decode_result::<i64>(pickle)
                .unwrap_err()
                .to_string()
                .contains("a pickle")
        );
    }

    #[test]
    fn bincode_of_other_types_is_refused() {
        let payload = encode(Codec::Bincode, &(1i64, 2i64, 3u8)).unwrap();
        let text = decode_result::<(i64, i64)>(payload.clone())
            .unwrap_err()
            .to_string();
        assert!(text.contains("1 bytes are left over"), "{text}");
        assert!(decode_result::<(i64, i64, i64)>(payload).is_err());
        // A length that no payload has.
        let payload = Payload::new(Content::BINCODE, vec![255; 16]);
        assert!(decode_result::<Vec<u64>>(payload).is_err());
    }

    #[test]
    fn calls_by_name_take_lists() {
        assert_eq!(&encode_list(&()).unwrap()[..], b"[]");
        assert_eq!(&encode_list(&(1, "a")).unwrap()[..], b"[1,\"a\"]");
        assert!(encode_list(&5).unwrap_err().to_string().contains("(x,)"));
    }
}
