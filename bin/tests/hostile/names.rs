//! Managers that are given by name, where the name leads nowhere for a while: a clear message, said
//! once, and all is well when the name leads somewhere again. Each program has files of its own for what
//! it is told of names, in a mount namespace; those of the machine are not touched. That takes root.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::{self, Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::common::{Lines, Server, text, until, until_capacity, wait};
use crate::stage::Written;

/// A name that no name server knows.
const NAME: &str = "boss.argon.test";
/// A line for each try that came to nothing, for those who want all detail.
const TRIED: &str = "not connected";
const WAITING: &str = "argon: waiting for a manager at ";
const CONNECTED: &str = "argon: connected to the manager at ";
/// How long the name server waits for a question before it looks at what else there is to do.
const LOOK: Duration = Duration::from_millis(20);

/// What programs are told of names.
struct Names(PathBuf);

impl Names {
    /// Nothing but what a name server at this address says. `None` where there can be no such thing.
    fn new(test: &str, server: &str) -> Option<Self> {
        let directory = std::env::temp_dir().join(format!("argon-{test}-{}", process::id()));
        fs::create_dir_all(&directory).unwrap();
        let names = Self(directory);
        fs::write(names.file("nsswitch.conf"), "hosts: files dns\n").unwrap();
        fs::write(names.file("resolv.conf"), format!("nameserver {server}\n")).unwrap();
        names.none();
        let tried = names.command("true", &[]).output();
        let problem = match tried {
            Ok(ended) if ended.status.success() => return Some(names),
            Ok(ended) => text(&ended.stderr),
            Err(error) => error.to_string(),
        };
        eprintln!(
            "SKIPPED: no files of its own for a program (it takes root, and unshare): {problem}"
        );
        None
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The name leads nowhere from now on.
    fn none(&self) {
        fs::write(self.file("hosts"), "127.0.0.1 localhost\n").unwrap();
    }

    /// The name leads to this address from now on.
    fn are(&self, address: &str) {
        let hosts = format!("127.0.0.1 localhost\n{address} {NAME}\n");
        fs::write(self.file("hosts"), hosts).unwrap();
    }

    /// A program that knows of these names only.
    fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut script = "set -e; ".to_owned();
        for file in ["nsswitch.conf", "resolv.conf", "hosts"] {
            let ours = self.file(file);
            script += &format!("mount --bind {} /etc/{file}; ", ours.display());
        }
        script += "exec \"$0\" \"$@\"";
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-c", &script, program])
            .args(args)
            .env_remove("ARGON_MANAGER")
            .env_remove("ARGON_KEY")
            .env("ARGON_LOG", "argon=debug")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// `argon` as such a program, and all that it says.
    fn argon(&self, args: &[&str]) -> (Child, Written) {
        let mut command = self.command(env!("CARGO_BIN_EXE_argon"), args);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let said = Written::of(child.stderr.take().unwrap());
        (child, said)
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Waits until it has said so often that it waits, then through more tries, which are not said.
fn waits(said: &Written, times: usize, manager: &str) {
    until("the line", || said.count(WAITING) == times);
    let text = said.text();
    let line = text.lines().rfind(|line| line.contains(WAITING)).unwrap();
    assert!(line.contains(manager) && line.contains("lookup"), "{line}");
    let tries = said.count(TRIED);
    until("more tries", || said.count(TRIED) >= tries + 3);
    assert_eq!(said.count(WAITING), times, "{}", said.text());
}

/// Waits until it has said so often that it is connected, as it has said before that it waits.
fn is_connected(said: &Written, times: usize) {
    until("the connection", || said.count(CONNECTED) == times);
    assert_eq!(said.count(WAITING), times, "{}", said.text());
    assert!(!said.text().contains("panicked"), "{}", said.text());
}

#[test]
fn a_name_that_leads_nowhere_at_the_start_or_later_is_waited_for() {
    let Some(names) = Names::new("names", "127.53.53.53") else {
        return;
    };
    let manager = Server::listening(&["manager", "--host", "127.0.0.2"]);
    let address = manager.address.clone();
    let (_, port) = address.rsplit_once(':').unwrap();
    let named = format!("{NAME}:{port}");
    let args = ["worker", "--manager", &named, "--workers", "2"];
    let (worker, worker_said) = names.argon(&args);
    let _worker = Server::silent(worker);
    let (mut map, map_said) = names.argon(&["map", "--manager", &named, "echo"]);
    let outputs = Lines::of(map.stdout.take().unwrap());
    let mut items = map.stdin.take().unwrap();
    items.write_all(b"first\n").unwrap();
    for said in [&worker_said, &map_said] {
        waits(said, 1, &named);
    }
    names.are("127.0.0.2");
    assert_eq!(outputs.next().as_deref(), Some("first"));
    for said in [&worker_said, &map_said] {
        is_connected(said, 1);
    }

    // The manager moves, and for a while nobody says where it is.
    names.none();
    let there = ["manager", "--host", "127.0.0.3", "--port", port];
    drop(manager);
    items.write_all(b"second\n").unwrap();
    let moved = Server::listening(&there);
    for said in [&worker_said, &map_said] {
        waits(said, 2, &named);
    }
    names.are("127.0.0.3");
    until_capacity(&moved.address, 2);
    assert_eq!(outputs.next().as_deref(), Some("second"));
    for said in [&worker_said, &map_said] {
        is_connected(said, 2);
    }
    drop(items);
    assert_eq!(wait(&mut map).code(), Some(0), "{}", map_said.text());
}

/// A name server that takes its time: it answers a question when whoever asks has given up a dial twice
/// since.
struct SlowServer {
    stop: Arc<AtomicBool>,
    serves: Option<JoinHandle<()>>,
}

impl SlowServer {
    fn start(socket: UdpSocket, said: Written) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        socket.set_read_timeout(Some(LOOK)).unwrap();
        let serves = thread::spawn(move || {
            let mut open = Vec::new();
            let mut bytes = [0; 512];
            while !stopped.load(Ordering::Relaxed) {
                if let Ok((length, from)) = socket.recv_from(&mut bytes) {
                    open.push((said.count(TRIED), bytes[..length].to_vec(), from));
                }
                let tries = said.count(TRIED);
                open.retain(|(asked, question, from)| {
                    let is_due = tries >= asked + 2;
                    if is_due {
                        let _ = socket.send_to(&answer(question), from);
                    }
                    !is_due
                });
            }
        });
        Self {
            stop,
            serves: Some(serves),
        }
    }
}

impl Drop for SlowServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.serves.take().unwrap().join();
    }
}

/// To a question of any name (RFC 1035): 127.0.0.1, and no other kind of address.
fn answer(question: &[u8]) -> Vec<u8> {
    let name_end = 12 + question[12..].iter().position(|byte| *byte == 0).unwrap();
    let question = &question[..name_end + 5];
    let is_ipv4 = question[name_end + 1..] == [0, 1, 0, 1];
    let mut answer = question[..2].to_vec();
    // An answer without error; one question, and one record or none.
    answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_ipv4), 0, 0, 0, 0]);
    answer.extend(&question[12..]);
    if is_ipv4 {
        // The name of the question, an address, good for no time, of four bytes.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1]);
    }
    answer
}

#[test]
fn name_servers_that_take_longer_than_a_dial_are_waited_for() {
    let server = format!("127.53.{}.1", process::id() % 250);
    let Ok(socket) = UdpSocket::bind((server.as_str(), 53)) else {
        eprintln!("SKIPPED: no name server can be started at {server}:53 (it takes root)");
        return;
    };
    let Some(names) = Names::new("slow-names", &server) else {
        return;
    };
    let manager = Server::listening(&["manager"]);
    let _worker = Server::worker(&manager.address, "one");
    until_capacity(&manager.address, 2);
    let (_, port) = manager.address.rsplit_once(':').unwrap();
    let named = format!("{NAME}:{port}");
    let (mut call, said) = names.argon(&["call", "--manager", &named, "echo", "hi"]);
    let _server = SlowServer::start(socket, said.clone());
    let code = wait(&mut call).code();
    let mut output = String::new();
    let mut stdout = call.stdout.take().unwrap();
    stdout.read_to_string(&mut output).unwrap();
    assert_eq!((code, output.as_str()), (Some(0), "hi"), "{}", said.text());
    let line = format!("{WAITING}{named}: no name server said in time where it is");
    assert_eq!(said.count(&line), 1, "{}", said.text());
    assert!(!said.text().contains("panicked"), "{}", said.text());
}
