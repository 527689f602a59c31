//! Commands as tasks: what [`runtime::builtin`](crate::runtime::builtin) runs under the name
//! [`RUN`], and what it answers.
//!
//! The layout is that of bincode with fixed-size integers, after a byte of version: numbers are
//! little-endian, a list is its length (64 bits) and its items, an option is a byte 0 or 1 and the
//! value. It is written out here because lengths must be checked against the bytes that are there
//! before anything is allocated.

use std::fmt;

use argon_core::payload::{Content, Payload};
use bytes::Bytes;

/// The name of the task that runs a command.
pub const RUN: &str = "run";
/// The layout that this code writes, and the only one that it reads.
const VERSION: u8 = 1;

/// A command to be run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandSpec {
    /// The program, looked for in `PATH` unless it has a slash, and its arguments.
    pub argv: Vec<Vec<u8>>,
    /// Variables added to the environment.
    pub env: Vec<(Vec<u8>, Vec<u8>)>,
    /// Start from an empty environment instead of the worker's.
    pub clear_env: bool,
    /// The directory to run in; the worker's if not given.
    pub cwd: Option<Vec<u8>>,
    /// What it reads from its standard input.
    pub stdin: Vec<u8>,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandStatus {
    /// By itself, with this code.
    Exit(i32),
    /// By this signal.
    Signal(i32),
}

/// What a command left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandOutput {
    /// How it ended.
    pub status: CommandStatus,
    /// What it wrote to its standard output.
    pub stdout: Bytes,
    /// What it wrote to its standard error.
    pub stderr: Bytes,
}

/// Why bytes are not a command or its output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandError {
    /// They say that they are something else.
    Content(Content),
    /// They are of another version of the layout.
    Version(u8),
    /// They end too early, go on too long, or make no sense.
    Malformed,
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Content(content) => write!(f, "it is {content}, not {}", Content::COMMAND),
            Self::Version(version) => {
                write!(
                    f,
                    "version {version} of the layout, where only {VERSION} is known"
                )
            }
            Self::Malformed => write!(f, "the bytes make no sense"),
        }
    }
}

impl std::error::Error for CommandError {}

impl CommandSpec {
    /// A command with the worker's environment and directory and no input.
    pub fn new<A: Into<Vec<u8>>>(argv: impl IntoIterator<Item = A>) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }

    /// As the payload of a task.
    #[must_use]
    pub fn encode(&self) -> Payload {
        let mut out = vec![VERSION];
        put_len(&mut out, self.argv.len());
        for arg in &self.argv {
            put_bytes(&mut out, arg);
        }
        put_len(&mut out, self.env.len());
        for (name, value) in &self.env {
            put_bytes(&mut out, name);
            put_bytes(&mut out, value);
        }
        out.push(u8::from(self.clear_env));
        out.push(u8::from(self.cwd.is_some()));
        if let Some(cwd) = &self.cwd {
            put_bytes(&mut out, cwd);
        }
        put_bytes(&mut out, &self.stdin);
        Payload::new(Content::COMMAND, out)
    }

    /// From the payload of a task.
    ///
    /// # Errors
    /// If the bytes are no command.
    pub fn decode(payload: &Payload) -> Result<Self, CommandError> {
        let mut reader = Reader::new(payload.content(), payload)?;
        let mut spec = Self::default();
        for _ in 0..reader.len()? {
            spec.argv.push(reader.bytes()?.to_vec());
        }
        for _ in 0..reader.len()? {
            spec.env
                .push((reader.bytes()?.to_vec(), reader.bytes()?.to_vec()));
        }
        spec.clear_env = reader.flag()?;
        if reader.flag()? {
            spec.cwd = Some(reader.bytes()?.to_vec());
        }
        spec.stdin = reader.bytes()?.to_vec();
        reader.end(spec)
    }
}

impl CommandOutput {
    /// Bytes of an encoded output beside what the command wrote.
    pub(crate) const OVERHEAD: usize = 1 + 4 + 4 + 8 + 8;

    /// As the payload of an outcome.
    #[must_use]
    pub fn encode(&self) -> Payload {
        let mut out = Vec::with_capacity(Self::OVERHEAD + self.stdout.len() + self.stderr.len());
        out.push(VERSION);
        let (kind, number) = match self.status {
            CommandStatus::Exit(code) => (0u32, code),
            CommandStatus::Signal(signal) => (1, signal),
        };
        out.extend_from_slice(&kind.to_le_bytes());
        out.extend_from_slice(&number.to_le_bytes());
        put_bytes(&mut out, &self.stdout);
        put_bytes(&mut out, &self.stderr);
        Payload::new(Content::COMMAND, out)
    }

    /// From the payload of an outcome; the texts share its memory.
    ///
    /// # Errors
    /// If the bytes are no output.
    pub fn decode(payload: &Payload) -> Result<Self, CommandError> {
        let shared = payload.to_bytes();
        let mut reader = Reader::new(payload.content(), &shared)?;
        let kind = u32::from_le_bytes(reader.array()?);
        let number = i32::from_le_bytes(reader.array()?);
        let status = match kind {
            0 => CommandStatus::Exit(number),
            1 => CommandStatus::Signal(number),
            _ => return Err(CommandError::Malformed),
        };
        let stdout = shared.slice_ref(reader.bytes()?);
        let stderr = shared.slice_ref(reader.bytes()?);
        reader.end(Self {
            status,
            stdout,
            stderr,
        })
    }
}

fn put_len(out: &mut Vec<u8>, len: usize) {
    out.extend_from_slice(&(len as u64).to_le_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_len(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// Takes values off the front of bytes.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn new(content: Content, bytes: &'a [u8]) -> Result<Self, CommandError> {
        if content != Content::COMMAND {
            return Err(CommandError::Content(content));
        }
        match bytes {
            [VERSION, rest @ ..] => Ok(Self { rest }),
            [version, ..] => Err(CommandError::Version(*version)),
            [] => Err(CommandError::Malformed),
        }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], CommandError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or(CommandError::Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], CommandError> {
        let (taken, rest) = self
            .rest
            .split_first_chunk()
            .ok_or(CommandError::Malformed)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// A length. Items are read one by one, each at least 8 bytes, so a lie ends early.
    fn len(&mut self) -> Result<usize, CommandError> {
        usize::try_from(u64::from_le_bytes(self.array()?)).map_err(|_| CommandError::Malformed)
    }

    fn bytes(&mut self) -> Result<&'a [u8], CommandError> {
        let len = self.len()?;
        self.take(len)
    }

    fn flag(&mut self) -> Result<bool, CommandError> {
        match self.array()? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(CommandError::Malformed),
        }
    }

    fn end<T>(self, value: T) -> Result<T, CommandError> {
        if self.rest.is_empty() {
            Ok(value)
        } else {
            Err(CommandError::Malformed)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(bytes: Vec<u8>) -> Payload {
        Payload::new(Content::COMMAND, bytes)
    }

    fn part(whole: &Payload, end: usize) -> Payload {
        Payload::copy_from_slice(whole.content(), &whole[..end])
    }

    fn spec() -> CommandSpec {
        CommandSpec {
            argv: vec![b"printf".to_vec(), b"\xff".to_vec()],
            env: vec![(b"A".to_vec(), b"b".to_vec())],
            clear_env: true,
            cwd: Some(b"/tmp".to_vec()),
            stdin: b"hello".to_vec(),
        }
    }

    fn output() -> CommandOutput {
        let status = CommandStatus::Signal(9);
        CommandOutput {
            status,
            stdout: "out".into(),
            stderr: "err".into(),
        }
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        assert_eq!(CommandSpec::decode(&spec().encode()), Ok(spec()));
        let plain = CommandSpec::new(["true"]);
        assert_eq!(CommandSpec::decode(&plain.encode()).as_ref(), Ok(&plain));
        assert_eq!(CommandOutput::decode(&output().encode()), Ok(output()));
        assert_eq!(output().encode().len(), CommandOutput::OVERHEAD + 6);
        let json = Payload::new(Content::JSON, plain.encode().into_bytes());
        let error = CommandError::Content(Content::JSON);
        assert_eq!(CommandSpec::decode(&json), Err(error));
    }

    #[test]
    fn the_layout_is_that_of_bincode() {
        let spec = spec();
        let config = bincode::config::standard().with_fixed_int_encoding();
        let fields = (
            &spec.argv,
            &spec.env,
            spec.clear_env,
            &spec.cwd,
            &spec.stdin,
        );
        let encoded = bincode::encode_to_vec((VERSION, fields), config).unwrap();
        assert_eq!(spec.encode(), command(encoded));
    }

    #[test]
    fn damaged_bytes_are_refused() {
        let encoded = spec().encode();
        for end in 0..encoded.len() {
            assert!(CommandSpec::decode(&part(&encoded, end)).is_err(), "{end}");
        }
        let mut longer = encoded.to_vec();
        longer.push(0);
        assert_eq!(
            CommandSpec::decode(&command(longer)),
            Err(CommandError::Malformed)
        );
        let mut newer = encoded.to_vec();
        newer[0] = 2;
        assert_eq!(
            CommandSpec::decode(&command(newer)),
            Err(CommandError::Version(2))
        );
        let mut huge = vec![VERSION];
        huge.extend([0xff; 8]);
        assert_eq!(
            CommandSpec::decode(&command(huge)),
            Err(CommandError::Malformed)
        );
        let encoded = output().encode();
        for end in 0..encoded.len() {
            assert!(
                CommandOutput::decode(&part(&encoded, end)).is_err(),
                "{end}"
            );
        }
    }
}
