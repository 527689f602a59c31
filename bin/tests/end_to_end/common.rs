//! Starts the real binary, and never waits without a deadline.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Far more than anything here takes, even on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(20);

/// The command with these arguments, away from the environment of whoever runs the tests.
pub(crate) fn argon(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_argon"));
    command
        .args(args)
        .env_remove("ARGON_MANAGER")
        .env_remove("ARGON_KEY")
        .env_remove("ARGON_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs it to its end.
pub(crate) fn output(mut command: Command) -> Output {
    finish(command.spawn().unwrap())
}

/// Runs it to its end with this on standard input.
pub(crate) fn output_of(mut command: Command, input: impl Into<Vec<u8>>) -> Output {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.into();
    // It may end without reading all.
    thread::spawn(move || {
        let _ = stdin.write_all(&input);
    });
    finish(child)
}

/// Waits for the end of a process whose outputs are pipes.
pub(crate) fn finish(mut child: Child) -> Output {
    let stdout = child.stdout.take().map(read_all);
    let stderr = child.stderr.take().map(read_all);
    let status = wait(&mut child);
    let text = |pipe: Option<mpsc::Receiver<Vec<u8>>>| {
        pipe.map(|pipe| {
            pipe.recv_timeout(DEADLINE)
                .expect("a pipe outlives its process")
        })
        .unwrap_or_default()
    };
    Output {
        status,
        stdout: text(stdout),
        stderr: text(stderr),
    }
}

/// Waits for its end.
pub(crate) fn wait(child: &mut Child) -> std::process::ExitStatus {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > end {
            let _ = child.kill();
            panic!("it did not end within {DEADLINE:?}");
        }
        thread::sleep(LOOK);
    }
}

fn read_all(mut pipe: impl Read + Send + 'static) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).unwrap();
        let _ = sender.send(bytes);
    });
    receiver
}

/// Asks again until it is so.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < end, "{what} did not come about");
        thread::sleep(LOOK);
    }
}

/// Lines of an output as they come.
pub(crate) struct Lines(mpsc::Receiver<String>);

impl Lines {
    pub(crate) fn of(pipe: impl Read + Send + 'static) -> Self {
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self(receiver)
    }

    /// The next line; `None` at the end.
    pub(crate) fn next(&self) -> Option<String> {
        match self.0.recv_timeout(DEADLINE) {
            Ok(line) => Some(line),
            Err(mpsc::RecvTimeoutError::Disconnected) => None,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("no line came within {DEADLINE:?}"),
        }
    }

    /// Reads until a line has this in it.
    pub(crate) fn wait_for(&self, text: &str) -> String {
        loop {
            let line = self.next().unwrap_or_else(|| panic!("{text:?} never came"));
            if line.contains(text) {
                return line;
            }
        }
    }
}

/// A manager or worker; killed at the end.
pub(crate) struct Server {
    pub(crate) child: Child,
    /// Where it listens, if it does.
    pub(crate) address: String,
    _stdout: Option<Lines>,
}

impl Server {
    /// Starts one that says where it listens.
    pub(crate) fn listening(args: &[&str]) -> Self {
        Self::of(argon(args).stderr(Stdio::inherit()).spawn().unwrap())
    }

    /// The same, and what it logs.
    pub(crate) fn listening_and_logging(args: &[&str]) -> (Self, Lines) {
        let mut child = argon(args).spawn().unwrap();
        let log = Lines::of(child.stderr.take().unwrap());
        (Self::of(child), log)
    }

    /// One that was started, and says on its standard output where it listens.
    pub(crate) fn of(mut child: Child) -> Self {
        let stdout: ChildStdout = child.stdout.take().unwrap();
        let lines = Lines::of(stdout);
        let line = lines.wait_for(" listening on ");
        let address = line.rsplit(' ').next().unwrap().to_owned();
        Self {
            child,
            address,
            _stdout: Some(lines),
        }
    }

    /// Starts a worker of two processes for that manager.
    pub(crate) fn worker(manager: &str, name: &str) -> Self {
        Self::worker_with(manager, name, &[])
    }

    /// The same with more arguments.
    pub(crate) fn worker_with(manager: &str, name: &str, more: &[&str]) -> Self {
        let mut args = vec!["worker", "--manager", manager, "--workers", "2"];
        args.extend(["--name", name]);
        args.extend(more);
        Self::silent(argon(&args).stderr(Stdio::inherit()).spawn().unwrap())
    }

    /// One that listens to nobody.
    pub(crate) fn silent(child: Child) -> Self {
        Self {
            child,
            address: String::new(),
            _stdout: None,
        }
    }

    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(self.child.id().cast_signed());
        nix::sys::signal::kill(pid, signal).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a manager says about itself.
pub(crate) fn status(manager: &str) -> Value {
    let output = output(argon(&["status", "--manager", manager, "--json"]));
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Waits until the manager has workers for so many tasks at once.
pub(crate) fn until_capacity(manager: &str, capacity: u64) {
    until("the capacity", || {
        status(manager)["manager"]["capacity"] == capacity
    });
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The source files of this repository.
pub(crate) fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut open: Vec<PathBuf> = ["core", "net", "bin"].map(|part| root.join(part)).into();
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    assert!(found.len() > 20);
    found
}

/// One path a line.
pub(crate) fn lines(paths: &[PathBuf]) -> String {
    let mut text = String::new();
    for path in paths {
        text.push_str(path.to_str().unwrap());
        text.push('\n');
    }
    text
}

/// What `sha256sum` says of the files, itself.
pub(crate) fn sha256sum(paths: &[PathBuf]) -> String {
    let output = Command::new("sha256sum").args(paths).output().unwrap();
    assert!(output.status.success());
    text(&output.stdout)
}
