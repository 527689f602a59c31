//! Functions as tasks, with real processes. This program is the clients, and what workers run in
//! their pools too: a worker that starts it gets its tasks, and not these tests.

#[path = "end_to_end/common.rs"]
#[allow(dead_code, clippy::unwrap_used)]
mod common;

use std::process::ExitCode;
use std::time::Duration;
use std::{env, fs, process};

use argon::blocking::Client;
use argon::{Error, ErrorKind, ExitCause};
use nix::sys::signal::Signal;

use crate::common::{Server, argon, output, text, until_capacity};

/// Long enough that 100,000 of them do not fit in the memory that is allowed below.
const PADDING: usize = 2_000;
const CALLS: u64 = 100_000;
/// Far below 100,000 arguments or results.
const MEMORY_MAX: u64 = 64 << 20;

#[argon::task]
fn padded(number: u64, padding: &str) -> String {
    format!("{number} {padding}")
}

#[argon::task(codec = "bincode")]
async fn add(x: i64, y: i64) -> Result<i64, String> {
    x.checked_add(y).ok_or_else(|| "too large".to_owned())
}

#[argon::task]
fn reversed(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.reverse();
    bytes
}

#[argon::task]
fn panics(what: &str) {
    panic!("{what}");
}

#[argon::task]
fn ends_its_process(last_words: &str) {
    eprintln!("{last_words}");
    process::exit(3);
}

/// Prints, which must not reach the protocol.
#[argon::task]
fn variable(name: &str) -> Option<String> {
    println!("{name}?");
    env::var(name).ok()
}

/// What another process of this program, started by a task, thinks that it is.
#[argon::task]
fn child_is_pool() -> std::io::Result<String> {
    let program = env::current_exe()?;
    let output = process::Command::new(program).arg("--pool?").output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn main() -> ExitCode {
    argon::serve_if_pool();
    let args: Vec<String> = env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == "--pool?") {
        print!("{}", argon::is_pool());
        return ExitCode::SUCCESS;
    }
    let tests: [(&str, fn()); 6] = [
        ("a_worker_killed_amid_a_map", a_worker_killed_amid_a_map),
        ("ends_are_told_apart", ends_are_told_apart),
        ("tasks_go_where_they_can_run", tasks_go_where_they_can_run),
        ("only_pools_are_pools", only_pools_are_pools),
        (
            "the_command_line_calls_functions",
            the_command_line_calls_functions,
        ),
        ("clients_fail_over", clients_fail_over),
    ];
    // As the usual harness: words select tests by their names.
    let words: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    for (name, test) in tests {
        if words.is_empty() || words.iter().any(|word| name.contains(*word)) {
            test();
            println!("test {name} ... ok");
        }
    }
    ExitCode::SUCCESS
}

fn manager() -> Server {
    Server::listening(&["manager", "--host", "127.0.0.1"])
}

/// A worker of this program.
fn worker(manager: &Server, name: &str, more: &[&str]) -> Server {
    let program = env::current_exe().expect("a path");
    let mut args = more.to_vec();
    args.extend(["--", program.to_str().expect("UTF-8")]);
    Server::worker_with(&manager.address, name, &args)
}

/// The most memory that this process has held.
fn memory_peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("readable");
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    let words: Vec<&str> = line.expect("it is there").split_whitespace().collect();
    words[1].parse::<u64>().expect("a number") << 10
}

fn a_worker_killed_amid_a_map() {
    let manager = manager();
    let mut first = Some(worker(&manager, "first", &[]));
    let _second = worker(&manager, "second", &[]);
    until_capacity(&manager.address, 4);
    let client = Client::connect(&manager.address).expect("a manager");
    let padding = "x".repeat(PADDING);
    let before = memory_peak();
    let calls = (0..CALLS).map(|number| padded(number, &padding));
    let mut seen = 0;
    for (number, result) in client.map(calls).enumerate() {
        let result = result.expect("a result");
        let words = result.split_once(' ').expect("two words");
        assert_eq!(words.0, number.to_string());
        assert_eq!(words.1.len(), PADDING);
        seen += 1;
        if seen == CALLS / 2 {
            // Its connection breaks while hundreds of calls are there.
            if let Some(first) = first.take() {
                first.signal(Signal::SIGKILL);
            }
        }
    }
    assert_eq!(seen, CALLS);
    let held = memory_peak() - before;
    assert!(held < MEMORY_MAX, "{held} bytes were held");
}

fn ends_are_told_apart() {
    let manager = manager();
    let _worker = worker(&manager, "w", &[]);
    let client = Client::connect(&manager.address).expect("a manager");
    assert_eq!(client.process(add(2, 3)).expect("a sum"), 5);
    assert_eq!(
        client.process(reversed(vec![1, 255])).expect("bytes"),
        [255, 1]
    );

    let error = client.process(add(i64::MAX, 1)).expect_err("too large");
    let failed = error.failed().expect("failed");
    assert_eq!(failed.message, "too large");

    let error = client.process(panics("oh")).expect_err("a panic");
    let failed = error.failed().expect("failed");
    assert_eq!(failed.kind, ErrorKind::Raised("panic".to_owned()));
    assert!(failed.backtrace.contains("functions.rs"), "{failed:?}");
    assert!(failed.stderr.contains("oh"), "{failed:?}");

    let error = client
        .process(ends_its_process("farewell").max_attempts(2))
        .expect_err("a crash");
    let failed = error.failed().expect("failed");
    assert_eq!(failed.kind, ErrorKind::Crashed(ExitCause::Exit(3)));
    assert_eq!(failed.history.len(), 2, "{failed:?}");
    assert!(error.to_string().contains("farewell"), "{error}");
    // The pool is whole again.
    assert_eq!(client.process(add(1, 1)).expect("a sum"), 2);

    let call = argon::call::<()>("ends_its_process", (1, 2, 3));
    let error = client.process(call).expect_err("too many arguments");
    assert!(
        error.to_string().contains("1 argument (last_words)"),
        "{error}"
    );
}

fn tasks_go_where_they_can_run() {
    let manager = manager();
    let _commands = Server::worker(&manager.address, "commands");
    let _functions = worker(&manager, "functions", &[]);
    until_capacity(&manager.address, 4);
    let client = Client::connect(&manager.address).expect("a manager");
    for round in 0..200 {
        assert_eq!(client.process(add(round, 1)).expect("a sum"), round + 1);
        let echo = argon::Call::raw("echo", format!("{round}"));
        let echoed = client.process(echo).expect("an echo");
        assert_eq!(&echoed[..], round.to_string().as_bytes());
    }
}

fn only_pools_are_pools() {
    let manager = manager();
    let closed = worker(&manager, "closed", &[]);
    until_capacity(&manager.address, 2);
    let client = Client::connect(&manager.address).expect("a manager");
    assert_eq!(client.process(child_is_pool()).expect("an answer"), "false");
    let allowed = || {
        client
            .process(variable("ARGON_ALLOW_EVAL"))
            .expect("an answer")
    };
    assert_eq!(allowed(), None);
    drop(closed);
    let _open = worker(&manager, "open", &["--allow-eval"]);
    assert_eq!(allowed().as_deref(), Some("1"));
    assert!(!argon::is_pool());
}

fn the_command_line_calls_functions() {
    let manager = manager();
    let _worker = worker(&manager, "w", &[]);
    until_capacity(&manager.address, 2);
    let call = |args: &[&str]| {
        let mut all = vec!["call", "--manager", &manager.address];
        all.extend(args);
        output(argon(&all))
    };
    assert_eq!(text(&call(&["add", "2", "-3"]).stdout), "-1\n");
    assert_eq!(text(&call(&["padded", "1", "a b"]).stdout), "\"1 a b\"\n");
    assert_eq!(text(&call(&["panics"]).stdout), "");
    let wrong = call(&["add", "2", "x"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(
        text(&wrong.stderr).contains("expected i64"),
        "{}",
        text(&wrong.stderr)
    );
}

fn clients_fail_over() {
    let first = manager();
    let second = manager();
    let _one = worker(&first, "one", &[]);
    let _two = worker(&second, "two", &[]);
    let managers = [&first.address, &second.address];
    let client = Client::connect(managers.map(String::as_str)).expect("a manager");
    assert_eq!(client.process(add(1, 1)).expect("a sum"), 2);
    drop(first);
    let call = add(2, 2).deadline(Duration::from_secs(50));
    assert_eq!(client.process(call).expect("a sum"), 4);
    drop(second);
    let call = add(2, 2).deadline(Duration::from_millis(1));
    let error = client.process(call).expect_err("nobody is there");
    assert!(matches!(error, Error::Expired { .. }), "{error}");
}
