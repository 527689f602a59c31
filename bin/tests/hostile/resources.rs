//! What the system has little of: a clear message, no panic, and all is well when there is enough again.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

use crate::common::{Lines, Server, argon, finish, output, status, text, until, until_capacity};
use crate::stage::listening;

/// Its arguments after `sh`, with a limit of the shell's before it.
fn limited(limit: &str, args: &[&str]) -> Command {
    let argon = env!("CARGO_BIN_EXE_argon");
    let mut command = Command::new("sh");
    let script = format!("ulimit {limit}; exec {argon} \"$@\"");
    command
        .args(["-c", &script, "sh"])
        .args(args)
        .env_remove("ARGON_MANAGER")
        .env_remove("ARGON_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn echoes(manager: &str) {
    let ended = output(argon(&["call", "--manager", manager, "echo", "hi"]));
    let printed = (ended.status.code(), text(&ended.stdout));
    assert_eq!(printed, (Some(0), "hi".into()), "{}", text(&ended.stderr));
}

#[test]
fn a_manager_without_descriptors_says_so_and_recovers() {
    let (manager, log) = listening(&mut limited("-n 64", &["manager"]));
    let _worker = Server::worker(&manager.address, "one");
    until_capacity(&manager.address, 2);
    let taken: Vec<TcpStream> = (0..100)
        .map(|_| TcpStream::connect(&manager.address).unwrap())
        .collect();
    log.says("cannot accept connections; see how many files may be open");
    drop(taken);
    echoes(&manager.address);
    assert_eq!(status(&manager.address)["manager"]["capacity"], 2);
    assert!(!log.text().contains("panicked"));
}

#[test]
fn a_worker_that_may_start_no_process_says_so_and_goes_on_trying() {
    let manager = Server::listening(&["manager"]);
    // Room for the worker and a few pipes, not for what each process takes.
    let args = ["worker", "--manager", &manager.address, "--workers", "2"];
    let mut child = limited("-n 13", &args).spawn().unwrap();
    let said = Lines::of(child.stderr.take().unwrap());
    let line = said.wait_for("ulimit -n");
    assert!(line.starts_with("argon: "), "{line}");
    assert_eq!(finish(child).status.code(), Some(255));
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for command in ["manager", "worker"] {
        let ended = output(argon(&[command, "--port", &port]));
        let said = text(&ended.stderr);
        assert_eq!(ended.status.code(), Some(255), "{said}");
        assert!(said.contains(&port) && said.contains("in use"), "{said}");
        assert!(!said.contains("panicked"), "{said}");
    }
}

#[test]
fn a_name_that_does_not_resolve_is_named_and_tried_again() {
    let args = [
        "worker",
        "--manager",
        "nobody.invalid:8000",
        "--workers",
        "1",
    ];
    let mut child = argon(&args).spawn().unwrap();
    let said = Lines::of(child.stderr.take().unwrap());
    let line = said.wait_for("waiting for a manager at nobody.invalid:8000: ");
    assert!(
        line.contains("resolve") || line.contains("lookup") || line.contains("known"),
        "{line}"
    );
    assert!(child.try_wait().unwrap().is_none(), "it goes on trying");
    child.kill().unwrap();
    child.wait().unwrap();
}

/// A listener whose queue is full: it swallows what knocks.
fn swallows() -> (TcpListener, Vec<TcpStream>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let quick = std::time::Duration::from_millis(200);
    let mut queued = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, quick) {
        queued.push(stream);
        assert!(queued.len() < 10_000, "the queue has no end");
    }
    (listener, queued, address.to_string())
}

#[test]
fn a_manager_that_never_accepts_is_not_waited_for() {
    let (_listener, _queued, address) = swallows();
    let ended = output(argon(&[
        "call",
        "--manager",
        &address,
        "--connect-timeout",
        "3s",
        "echo",
        "hi",
    ]));
    let said = text(&ended.stderr);
    assert_eq!(ended.status.code(), Some(255), "{said}");
    assert!(said.contains(&address) && said.contains("time"), "{said}");
    let ended = output(argon(&["status", "--manager", &address]));
    let said = text(&ended.stderr);
    assert_eq!(ended.status.code(), Some(255), "{said}");
    assert!(said.contains(&address), "{said}");
}

#[test]
fn an_address_that_swallows_everything_is_passed_over_for_the_next() {
    let (_listener, _queued, address) = swallows();
    let manager = Server::listening(&["manager"]);
    let both = format!("{address},{}", manager.address);
    let _worker = Server::worker(&both, "patient");
    until_capacity(&manager.address, 2);
    echoes(&both);
}

#[test]
fn closed_and_full_streams_hold_up_nobody() {
    for redirect in [">&- 2>&-", ">/dev/full 2>/dev/full", "2>&-"] {
        let port = free_port();
        let argon = env!("CARGO_BIN_EXE_argon");
        let script = format!("exec {argon} manager -v --port {port} {redirect}");
        let mut manager = Command::new("sh");
        manager.args(["-c", &script]).stdout(Stdio::null());
        let manager = Killed(manager.spawn().unwrap());
        let address = format!("127.0.0.1:{port}");
        let script =
            format!("exec {argon} worker -v --workers 2 --name one --manager {address} {redirect}");
        let mut worker = Command::new("sh");
        worker.args(["-c", &script]).stdout(Stdio::null());
        let _worker = Killed(worker.spawn().unwrap());
        until("the worker", || {
            let asked = output(argon_status(&address));
            text(&asked.stdout).contains("\"capacity\":2")
                || text(&asked.stdout).contains("\"capacity\": 2")
        });
        echoes(&address);
        // Strangers have it log.
        for _ in 0..20 {
            let mut stream = TcpStream::connect(&address).unwrap();
            let _ = stream.write_all(&[0xff; 100]);
        }
        echoes(&address);
        drop(manager);
    }
}

struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn argon_status(address: &str) -> Command {
    argon(&["status", "--manager", address, "--json"])
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
