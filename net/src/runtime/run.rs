//! Running commands: as few system calls as will do, no thread, no process in between.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use argon_core::payload::Payload;
use argon_core::task::{ErrorKind, TaskError};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use signal_hook::consts::SIGKILL;

use super::TaskFailure;
use crate::command::{CommandOutput, CommandSpec, CommandStatus};
use crate::guard::kill_descendants;
use crate::text::end_of;

/// Bytes of one read.
const READ: usize = 64 * 1024;

/// How long a task waits for a machine that is short of what a process needs, until it goes
/// elsewhere.
const SHORTAGE_PATIENCE: Duration = Duration::from_millis(100);
/// The pause between two tries.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(20);

/// As shells have it.
const NOT_FOUND: i32 = 127;
const NOT_RUN: i32 = 126;

/// Runs commands, one after the other, in a process that is a subreaper and has no other children.
pub(super) struct Runner {
    /// Most bytes of an encoded output.
    limit: usize,
    scratch: Box<[u8]>,
}

impl Runner {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            scratch: vec![0; READ].into(),
        }
    }

    /// Runs a command to its end and kills what it leaves behind.
    pub(super) fn run(&mut self, spec: &CommandSpec) -> Result<Payload, TaskFailure> {
        let mut child = start(spec)?;
        let mut talk = Talk::new(&mut child, spec, self.limit);
        let talked = talk.until_end(&child, &mut self.scratch);
        if talked.is_err() || talk.too_large {
            let _ = child.kill();
        }
        let status = child.wait();
        kill_descendants(children_left);
        let status = talked.and(status).and_then(|status| {
            talk.drain(&mut self.scratch)?;
            Ok(status)
        });
        let name = String::from_utf8_lossy(&spec.argv[0]);
        match status {
            Ok(_) if talk.too_large => {
                let text = format!("{name} wrote more than {} bytes and was killed", self.limit);
                let error = TaskError::new(ErrorKind::ResultTooLarge, text);
                Err(talk.failure(CommandStatus::Signal(SIGKILL), error))
            }
            Ok(status) => conclude(&name, status, talk),
            Err(error) => {
                let text = format!("cannot talk with {name}: {error}");
                Err(TaskError::new(ErrorKind::Raised("io".to_owned()), text).into())
            }
        }
    }
}

/// Whether a child is left, having taken in the dead.
fn children_left() -> bool {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => return true,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return false,
        }
    }
}

/// Starts the command. Its standard input is a pipe only if there is something to read: ours,
/// which it has otherwise, is empty.
fn start(spec: &CommandSpec) -> Result<Child, TaskError> {
    let Some((program, args)) = spec.argv.split_first() else {
        return Err(TaskError::new(
            ErrorKind::BadPayload,
            "a command needs a program",
        ));
    };
    let text = OsStr::from_bytes;
    let mut command = Command::new(text(program));
    command.args(args.iter().map(|arg| text(arg)));
    if spec.clear_env {
        command.env_clear();
    }
    command.envs(
        spec.env
            .iter()
            .map(|(name, value)| (text(name), text(value))),
    );
    if let Some(cwd) = &spec.cwd {
        command.current_dir(text(cwd));
    }
    let stdin = if spec.stdin.is_empty() {
        Stdio::inherit()
    } else {
        Stdio::piped()
    };
    command
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    spawn(&mut command).map_err(|error| not_started(spec, &error))
}

/// Starts a process. What the machine is short of at the moment (processes, memory, descriptors) is
/// no fault of the task, which waits a little for it.
fn spawn(command: &mut Command) -> io::Result<Child> {
    let began = Instant::now();
    loop {
        match command.spawn() {
            Err(error) if is_shortage(&error) && began.elapsed() < SHORTAGE_PATIENCE => {
                thread::sleep(SHORTAGE_PAUSE);
            }
            result => return result,
        }
    }
}

fn is_shortage(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw);
    matches!(
        code,
        Some(Errno::EAGAIN | Errno::ENOMEM | Errno::EMFILE | Errno::ENFILE)
    )
}

fn not_started(spec: &CommandSpec, error: &io::Error) -> TaskError {
    let reason = match error.raw_os_error() {
        Some(code) => Errno::from_raw(code).desc().to_owned(),
        None => error.to_string(),
    };
    // The error of a directory that is not there looks like that of a program that is not.
    if let Some(cwd) = spec
        .cwd
        .as_ref()
        .filter(|cwd| !Path::new(OsStr::from_bytes(cwd)).is_dir())
    {
        let text = format!(
            "cannot run in {}: there is no such directory on the worker; directories and files \
             must be there",
            String::from_utf8_lossy(cwd)
        );
        return TaskError::new(ErrorKind::Exit(NOT_RUN), text);
    }
    let kind = match error.kind() {
        _ if is_shortage(error) => ErrorKind::Unavailable,
        io::ErrorKind::InvalidInput => ErrorKind::BadPayload,
        io::ErrorKind::NotFound => ErrorKind::Exit(NOT_FOUND),
        _ => ErrorKind::Exit(NOT_RUN),
    };
    TaskError::new(
        kind,
        format!(
            "cannot run {}: {reason}",
            String::from_utf8_lossy(&spec.argv[0])
        ),
    )
}

/// The result of a command that has run.
fn conclude(name: &str, status: ExitStatus, talk: Talk<'_>) -> Result<Payload, TaskFailure> {
    let (status, kind, text) = match (status.signal(), status.code().unwrap_or_default()) {
        (Some(signal), _) => {
            let text = format!("{name} was ended by signal {signal}");
            (
                CommandStatus::Signal(signal),
                Some(ErrorKind::Signal(signal)),
                text,
            )
        }
        (None, 0) => (CommandStatus::Exit(0), None, String::new()),
        (None, code) => {
            let text = format!("{name} ended with exit code {code}");
            (CommandStatus::Exit(code), Some(ErrorKind::Exit(code)), text)
        }
    };
    match kind {
        Some(kind) => Err(talk.failure(status, TaskError::new(kind, text))),
        None => Ok(talk.output(status).encode()),
    }
}

/// The pipes of a command, and what has come through them.
struct Talk<'a> {
    /// With what is still to be written; closed once that is nothing.
    stdin: Option<(ChildStdin, &'a [u8])>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    out: Vec<u8>,
    err: Vec<u8>,
    /// Bytes that it may still write.
    left: usize,
    too_large: bool,
}

impl<'a> Talk<'a> {
    fn new(child: &mut Child, spec: &'a CommandSpec, limit: usize) -> Self {
        Self {
            stdin: child.stdin.take().map(|stdin| (stdin, &spec.stdin[..])),
            stdout: child.stdout.take(),
            stderr: child.stderr.take(),
            out: Vec::new(),
            err: Vec::new(),
            left: limit.saturating_sub(CommandOutput::OVERHEAD),
            too_large: false,
        }
    }

    /// What it wrote.
    fn output(self, status: CommandStatus) -> CommandOutput {
        CommandOutput {
            status,
            stdout: self.out.into(),
            stderr: self.err.into(),
        }
    }

    /// An error, with what it wrote before.
    fn failure(self, status: CommandStatus, mut error: TaskError) -> TaskFailure {
        let output = self.output(status);
        error.stderr = end_of(&output.stderr);
        TaskFailure {
            error: Box::new(error),
            detail: output.encode(),
        }
    }

    /// Talks until the command ends, or has closed all pipes, or has said too much.
    fn until_end(&mut self, child: &Child, scratch: &mut [u8]) -> io::Result<()> {
        if let Some((stdin, _)) = &self.stdin {
            fcntl(stdin, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        // What the command starts and leaves may hold its pipes for ever: its own end counts.
        // Kernels without this wait for the pipes.
        let ended = pidfd_open(Pid::from_child(child), PidfdFlags::empty()).ok();
        while self.is_open() && !self.too_large {
            if self.step(ended.as_ref(), PollTimeout::NONE, scratch)? {
                break;
            }
        }
        Ok(())
    }

    /// Reads what was written before the end and not read yet.
    fn drain(&mut self, scratch: &mut [u8]) -> io::Result<()> {
        self.stdin = None;
        while self.is_open() && !self.too_large {
            let before = self.left;
            self.step(None, PollTimeout::ZERO, scratch)?;
            if self.left == before {
                break;
            }
        }
        Ok(())
    }

    fn is_open(&self) -> bool {
        self.stdin.is_some() || self.stdout.is_some() || self.stderr.is_some()
    }

    /// Waits for something to do and does it; whether the command has ended.
    fn step(
        &mut self,
        ended: Option<&OwnedFd>,
        timeout: PollTimeout,
        scratch: &mut [u8],
    ) -> io::Result<bool> {
        let [mut input, mut output, mut error, mut end] = [false; 4];
        {
            let mut fds = Vec::with_capacity(4);
            let mut add = |fd, flags, which| fds.push((PollFd::new(fd, flags), which));
            if let Some((stdin, _)) = &self.stdin {
                add(stdin.as_fd(), PollFlags::POLLOUT, &mut input);
            }
            if let Some(stdout) = &self.stdout {
                add(stdout.as_fd(), PollFlags::POLLIN, &mut output);
            }
            if let Some(stderr) = &self.stderr {
                add(stderr.as_fd(), PollFlags::POLLIN, &mut error);
            }
            if let Some(ended) = ended {
                add(ended.as_fd(), PollFlags::POLLIN, &mut end);
            }
            let (mut fds, which): (Vec<_>, Vec<_>) = fds.into_iter().unzip();
            match poll(&mut fds, timeout) {
                Ok(_) => {}
                Err(Errno::EINTR) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
            for (fd, which) in fds.iter().zip(which) {
                *which = fd.any().unwrap_or(true);
            }
        }
        if input {
            self.write()?;
        }
        if output && let Some(stdout) = &mut self.stdout {
            match stdout.read(scratch)? {
                0 => self.stdout = None,
                length => take(
                    &mut self.out,
                    &scratch[..length],
                    &mut self.left,
                    &mut self.too_large,
                ),
            }
        }
        if error && let Some(stderr) = &mut self.stderr {
            match stderr.read(scratch)? {
                0 => self.stderr = None,
                length => take(
                    &mut self.err,
                    &scratch[..length],
                    &mut self.left,
                    &mut self.too_large,
                ),
            }
        }
        Ok(end)
    }

    fn write(&mut self) -> io::Result<()> {
        while let Some((stdin, rest)) = &mut self.stdin {
            match stdin.write(rest) {
                Ok(length) => *rest = &rest[length..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // It does not read on, as it may.
                Err(_) => *rest = &[],
            }
            if rest.is_empty() {
                self.stdin = None;
            }
        }
        Ok(())
    }
}

fn take(to: &mut Vec<u8>, bytes: &[u8], left: &mut usize, too_large: &mut bool) {
    match left.checked_sub(bytes.len()) {
        Some(rest) => {
            *left = rest;
            to.extend_from_slice(bytes);
        }
        None => {
            to.extend_from_slice(&bytes[..*left]);
            *left = 0;
            *too_large = true;
        }
    }
}
