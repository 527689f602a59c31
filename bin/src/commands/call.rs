//! `argon call`: one task by name.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::ffi::OsStringExt;

use argon::runtime::builtin;
use argon::{Content, Name, Outcome, Payload, TaskSpec};
use argon_core::limits::PAYLOAD_MAX_DEFAULT;
use clap::Args;
use serde_json::Value;

use crate::cluster::{Cluster, Ended, Watch, end_of_one};
use crate::commands::run::read_stdin;
use crate::map::progress::Progress;
use crate::options::{ClusterArgs, TaskArgs};
use crate::outcome;
use crate::problem::{EXIT_BROKEN_PIPE, EXIT_PROBLEM, Problem};
use crate::stop::StopSignals;
use crate::streams::{clean, say, stderr, stdout};

/// The task ran and failed.
const EXIT_FAILED: u8 = 1;

const HELP: &str = "\
Each ARG is JSON if it can be, else a string: `argon call add 2 3`, `argon call greet '\"7\"'`.
The result goes to standard output: JSON as a line, bytes as they are. Workers without a program of
their own know the tasks echo (text), sleep (seconds), noop, and the one behind `argon run`; these
take one ARG, as it is.
Exit code: 0 if it completed, 1 if it failed, 130 after Ctrl-C, 255 if it never ran, was lost, or
argon itself failed.

Examples:
  argon call echo hello
  argon call --manager 10.0.0.1:8000 python:math:gcd 12 18
  argon call --manager 10.0.0.1:8000 --stdin resize < photo.jpg > small.jpg";

/// Run one task by its name; its result goes to standard output
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct CallArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    #[command(flatten)]
    task: TaskArgs,
    /// Take the only argument from standard input, as bytes
    #[arg(help_heading = "Tasks", long, conflicts_with = "arguments")]
    stdin: bool,
    /// How often it is submitted again if a full manager rejects it
    #[arg(help_heading = "Tasks", long, value_name = "N", default_value = "10")]
    retries: u32,
    /// The task
    #[arg(value_parser = Name::new)]
    name: Name,
    /// Its arguments, each JSON or a string
    #[arg(allow_hyphen_values = true, value_name = "ARG")]
    arguments: Vec<OsString>,
}

/// The arguments as the task takes them: the built-in ones bytes, all others a JSON list.
pub(crate) fn payload(name: &Name, arguments: Vec<OsString>) -> Result<Payload, Problem> {
    if builtin::capabilities(true).covers(name) {
        let mut arguments = arguments.into_iter();
        let first = arguments.next().map(OsString::into_vec).unwrap_or_default();
        return match arguments.next() {
            None => Ok(Payload::from(first)),
            Some(_) => Err(Problem::new(format!(
                "the built-in task {name} takes one argument; put quotes around it, and options before the \
                 name"
            ))),
        };
    }
    let values = arguments
        .into_iter()
        .map(|argument| match argument.into_string() {
            Ok(text) => value(text),
            Err(argument) => Err(Problem::new(format!(
                "{} is not UTF-8; hand bytes over with --stdin",
                argument.display()
            ))),
        });
    let values = values.collect::<Result<Vec<String>, Problem>>()?;
    let list = format!("[{}]", values.join(","));
    Ok(Payload::new(Content::JSON, list))
}

/// An argument as JSON.
fn value(text: String) -> Result<String, Problem> {
    match serde_json::from_str::<Value>(&text) {
        // As it was written: numbers of any length stay what they are.
        Ok(_) => Ok(text),
        Err(error) if starts_like_json(&text) => Err(Problem::new(format!(
            "the argument {text} starts like JSON and is none: {error}; \
             a text that starts so is given in quotes of its own: '{}'",
            Value::String(text.clone())
        ))),
        Err(_) => Ok(Value::String(text).to_string()),
    }
}

/// Whether a text is a list, an object, a string or a number that went wrong.
fn starts_like_json(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_number = digits.starts_with(|c: char| c.is_ascii_digit())
        && !digits.starts_with("00")
        && digits.contains(['e', 'E'])
        && digits
            .chars()
            .all(|c| c.is_ascii_digit() || "+-.eE".contains(c));
    text.starts_with(['[', '{', '"']) || is_number
}

/// Runs the command.
pub(crate) async fn run(args: CallArgs) -> Result<u8, Problem> {
    let mut stop = StopSignals::with_hangup()?;
    let payload = if args.stdin {
        let limit = args.cluster.max_payload.unwrap_or(PAYLOAD_MAX_DEFAULT);
        tokio::select! {
            biased;
            code = stop.next() => return Ok(code),
            input = read_stdin(limit) => Payload::from(input?),
        }
    } else {
        payload(&args.name, args.arguments)?
    };
    let mut spec = TaskSpec::new(args.name.clone(), payload);
    args.task.apply(&mut spec);
    spec.retries = Some(args.retries);
    let cluster = Cluster::open(&args.cluster, Some(args.retries)).await?;
    let watch = Watch::new(
        args.name.clone(),
        args.cluster.connect_timeout,
        Progress::new(false).screen(),
    );
    let (outcome, payload) = match end_of_one(cluster, &watch, spec, &mut stop).await? {
        Ended::Outcome(outcome, payload) => (outcome, payload),
        Ended::Stopped(code) => return Ok(code),
    };
    if let Some(problem) = outcome::problem(&outcome) {
        let Outcome::Failed(failure) = outcome else {
            return Err(Problem::new(format!("{}: {problem}", args.name)));
        };
        let mut errors = stderr();
        for text in [&failure.error.stderr, &failure.error.backtrace] {
            let end = if text.is_empty() || text.ends_with('\n') {
                ""
            } else {
                "\n"
            };
            let _ = write!(errors, "{}{end}", clean(text));
        }
        say(format_args!("{}: {problem}", args.name));
        return Ok(EXIT_FAILED);
    }
    let end: &[u8] = if payload.content() == Content::JSON {
        b"\n"
    } else {
        b""
    };
    let mut out = stdout();
    let written = out.write_all(&payload).and_then(|()| out.write_all(end));
    match written {
        Ok(()) => Ok(0),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(EXIT_BROKEN_PIPE),
        Err(error) => {
            say(format_args!("cannot write to standard output: {error}"));
            Ok(EXIT_PROBLEM)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload_of(name: &str, arguments: &[&str]) -> Result<Payload, Problem> {
        let arguments = arguments.iter().map(OsString::from).collect();
        payload(&Name::new(name).unwrap(), arguments)
    }

    #[test]
    fn arguments_are_json_or_else_strings() {
        let given = payload_of("add", &["2", "-3.50", "word", "\"7\"", "[1,null]", ""]).unwrap();
        assert_eq!(given.content(), Content::JSON);
        assert_eq!(&given[..], br#"[2,-3.50,"word","7",[1,null],""]"#);
        assert_eq!(&payload_of("add", &[]).unwrap()[..], b"[]");
        let dates = payload_of("add", &["2026-11-26", "-x", "007"]).unwrap();
        assert_eq!(&dates[..], br#"["2026-11-26","-x","007"]"#);
    }

    #[test]
    fn what_starts_like_json_and_is_none_is_an_error() {
        for argument in ["[1,", "{a:1}", "\"open", "1e999", r#""\ud800""#] {
            let problem = payload_of("add", &[argument]).unwrap_err().to_string();
            assert!(problem.contains("starts like JSON"), "{problem}");
        }
    }

    #[test]
    fn built_in_tasks_take_bytes() {
        assert_eq!(payload_of("echo", &["2"]).unwrap(), Payload::from("2"));
        assert_eq!(payload_of("noop", &[]).unwrap(), Payload::empty());
        assert!(payload_of("echo", &["a", "b"]).is_err());
    }
}
