//! What is said reaches somebody: job logs, streams that take nothing, ends in the middle.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::{
    Lines, Server, argon, finish, output, output_of, status, text, until, until_capacity, wait,
};

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
}

/// A log of jobs, a row of fields for each item.
fn rows(log: &Path) -> Vec<Vec<String>> {
    let text = fs::read_to_string(log).unwrap_or_default();
    let fields = |line: &str| line.split('\t').map(str::to_owned).collect();
    text.lines().skip(1).map(fields).collect()
}

#[test]
fn the_job_log_of_a_cluster_has_worker_start_and_runtime_of_every_item() {
    let manager = Server::listening(&["manager"]);
    let _worker = Server::worker(&manager.address, "here");
    until_capacity(&manager.address, 2);
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let mut command = argon(&["map", "--manager", &manager.address, "--joblog"]);
    let script = "sleep 0.1; test $1 != 9 || kill -9 $$; exit $1";
    command
        .arg(&log)
        .args(["sh", "-c", script, "sh", ":::", "0", "3", "9"]);
    let mapped = output(command);
    assert_eq!(mapped.status.code(), Some(2));
    let errors = text(&mapped.stderr);
    assert!(
        errors.contains("item 2 (3): exit code 3 (on worker here)"),
        "{errors}"
    );
    let rows = rows(&log);
    assert_eq!(rows.len(), 3);
    for row in &rows {
        let (start, runtime): (f64, f64) = (row[3].parse().unwrap(), row[4].parse().unwrap());
        assert_eq!(row[2], "here");
        assert!(start > 1.6e9 && (0.1..60.0).contains(&runtime), "{row:?}");
    }
    let ends: Vec<&str> = rows.iter().map(|row| row[8].as_str()).collect();
    assert_eq!(ends, ["completed", "failed", "failed"]);
}

#[test]
fn a_log_that_cannot_be_written_changes_no_exit_code() {
    let full = || OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut manager = argon(&["manager", "-v"]);
    let mut manager = manager.stderr(full()).spawn().unwrap();
    let lines = Lines::of(manager.stdout.take().unwrap());
    let address = lines
        .wait_for(" listening on ")
        .rsplit(' ')
        .next()
        .unwrap()
        .to_owned();
    let worker = argon(&["worker", "--manager", &address, "--workers", "2", "-v"])
        .stderr(full())
        .spawn()
        .unwrap();
    until_capacity(&address, 2);
    for (code, script) in [(0, "echo out; echo err >&2"), (3, "echo out; exit 3")] {
        let mut run = argon(&["run", "--manager", &address, "--", "sh", "-c", script]);
        let ended = output_without_stderr(run.stderr(full()));
        assert_eq!((ended.0, ended.1.as_str()), (Some(code), "out\n"));
    }
    for mut server in [worker, manager] {
        signal(&server, Signal::SIGTERM);
        assert_eq!(wait(&mut server).code(), Some(0));
    }
}

/// The exit code and the standard output.
fn output_without_stderr(command: &mut Command) -> (Option<i32>, String) {
    let ended = finish(command.spawn().unwrap());
    (ended.status.code(), text(&ended.stdout))
}

#[test]
fn output_that_is_lost_is_a_failure() {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    for args in [
        &["run", "--", "echo", "a"][..],
        &["map", "echo", ":::", "a"],
    ] {
        let mut command = argon(args);
        let ended = finish(command.stdout(full.try_clone().unwrap()).spawn().unwrap());
        assert_ne!(ended.status.code(), Some(0), "{args:?}");
        assert!(text(&ended.stderr).contains("standard output"), "{args:?}");
    }
}

/// A pipe that is full, and that nobody reads: its two ends.
fn blocked() -> (File, File) {
    let (reader, writer) = nix::unistd::pipe().unwrap();
    let flags = nix::fcntl::OFlag::O_NONBLOCK;
    nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_SETFL(flags)).unwrap();
    let mut writer = File::from(writer);
    let chunk = [b'.'; 4_096];
    for size in [4_096, 1] {
        while writer.write(&chunk[..size]).is_ok() {}
    }
    let flags = nix::fcntl::OFlag::empty();
    nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_SETFL(flags)).unwrap();
    (File::from(reader), writer)
}

#[test]
fn a_log_that_blocks_holds_up_nobody_and_two_terms_end_it() {
    let (_reader, writer) = blocked();
    let mut manager = argon(&["manager", "-v"]);
    let mut manager = manager.stderr(writer.try_clone().unwrap()).spawn().unwrap();
    let lines = Lines::of(manager.stdout.take().unwrap());
    let address = lines
        .wait_for(" listening on ")
        .rsplit(' ')
        .next()
        .unwrap()
        .to_owned();
    let mut worker = argon(&["worker", "--manager", &address, "--workers", "2", "-v"])
        .stderr(writer)
        .spawn()
        .unwrap();
    until_capacity(&address, 2);
    let mapped = output(argon(&[
        "map",
        "--manager",
        &address,
        "echo",
        ":::",
        "a",
        "b",
    ]));
    assert_eq!(text(&mapped.stdout), "a\nb\n");
    for server in [&mut worker, &mut manager] {
        signal(server, Signal::SIGTERM);
        signal(server, Signal::SIGTERM);
        wait(server);
    }
}

#[test]
fn what_has_ended_is_printed_and_logged_when_an_ordered_map_is_stopped() {
    for (stop, code) in [
        (Signal::SIGINT, 130),
        (Signal::SIGTERM, 143),
        (Signal::SIGHUP, 129),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let (log, ran) = (directory.path().join("log"), directory.path().join("ran"));
        let script = format!(
            "echo $1; echo $1 >>{}; test $1 != 1 || sleep 1000",
            ran.display()
        );
        let mut command = argon(&["map", "--workers", "2", "--joblog"]);
        command
            .arg(&log)
            .args(["sh", "-c", &script, "sh", ":::", "1", "2", "3", "4"]);
        let child = command.spawn().unwrap();
        let ended = || fs::read_to_string(&ran).unwrap_or_default();
        // The last of them has started, so those before have ended.
        until("all items", || ended().lines().count() == 4);
        signal(&child, stop);
        let ended = finish(child);
        assert_eq!(ended.status.code(), Some(code));
        let printed = text(&ended.stdout);
        assert!(printed.contains("2\n3\n"), "{printed:?}");
        let logged: Vec<String> = rows(&log)
            .into_iter()
            .filter(|row| row[8] == "completed")
            .map(|row| row[1].clone())
            .collect();
        assert!(logged.starts_with(&["2".into(), "3".into()]), "{logged:?}");
    }
}

#[test]
fn what_was_written_before_a_time_limit_is_passed_on() {
    let script = "echo before; echo why >&2; sleep 1000";
    let ended = output(argon(&[
        "run",
        "--time-limit",
        "500ms",
        "--",
        "sh",
        "-c",
        script,
    ]));
    assert_eq!(ended.status.code(), Some(124));
    assert_eq!(text(&ended.stdout), "before\n");
    assert!(text(&ended.stderr).starts_with("why\n"));
}

#[test]
fn a_relative_directory_is_the_callers() {
    let manager = Server::listening(&["manager"]);
    let elsewhere = tempfile::tempdir().unwrap();
    let mut worker = argon(&["worker", "--manager", &manager.address, "--workers", "2"]);
    let mut worker = worker
        .current_dir(&elsewhere)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until_capacity(&manager.address, 2);
    let here = tempfile::tempdir().unwrap();
    fs::create_dir(here.path().join("sub")).unwrap();
    let run = |to: &[&str], directory: &str| {
        let args = [&["run"], to, &["--cwd", directory, "--", "pwd"]].concat();
        let mut command = argon(&args);
        let ended = output_without_stderr(command.current_dir(&here));
        assert_eq!(ended.0, Some(0));
        ended.1
    };
    for directory in ["sub", "."] {
        let remote = run(&["--manager", &manager.address], directory);
        assert_eq!(remote, run(&[], directory));
    }
    let mut command = argon(&[
        "run",
        "--manager",
        &manager.address,
        "--cwd",
        "none",
        "--",
        "pwd",
    ]);
    let ended = output({
        command.current_dir(&here);
        command
    });
    assert!(
        text(&ended.stderr).contains("worker"),
        "{}",
        text(&ended.stderr)
    );
    worker.kill().unwrap();
    worker.wait().unwrap();
}

#[test]
fn misspelt_options_are_no_commands() {
    for (args, meant) in [
        (
            &["map", "--unorderd", "echo", "{}", ":::", "a"][..],
            "--unordered",
        ),
        (&["run", "--manger", "h:1", "true"], "--manager"),
    ] {
        let ended = output(argon(args));
        assert_eq!(ended.status.code(), Some(255), "{args:?}");
        assert!(
            text(&ended.stderr).contains(meant),
            "{}",
            text(&ended.stderr)
        );
        assert_eq!(ended.stdout, b"");
    }
}

#[test]
fn an_item_too_long_for_an_argument_fails_alone() {
    let items = format!("a\n{}\nb\n", "x".repeat(200_000));
    let mapped = output_of(argon(&["map", "echo"]), items);
    assert_eq!(mapped.status.code(), Some(1));
    assert_eq!(text(&mapped.stdout), "a\nb\n");
    let errors = text(&mapped.stderr);
    assert!(
        errors.contains("item 2 (xxxx") && errors.contains("longer than 131071 bytes"),
        "{errors}"
    );
    // The same of one that is too large for the cluster.
    let mut map = argon(&["map", "--max-payload", "1K", "echo"]);
    map.stderr(Stdio::piped());
    let mapped = output_of(map, format!("a\n{}\nb\n", "x".repeat(2_000)));
    assert_eq!(text(&mapped.stdout), "a\nb\n");
    let errors = text(&mapped.stderr);
    assert!(
        errors.contains("item 2 (xxxx") && errors.contains("--max-payload"),
        "{errors}"
    );
}

#[test]
fn a_pool_that_cannot_open_its_pipes_says_so() {
    let argon = env!("CARGO_BIN_EXE_argon");
    let script = format!("ulimit -n 12; exec {argon} map --workers 4 echo ::: a");
    let mut limited = Command::new("sh");
    limited
        .args(["-c", &script])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let ended = output(limited);
    assert_eq!(ended.status.code(), Some(255));
    assert!(
        text(&ended.stderr).contains("ulimit -n"),
        "{}",
        text(&ended.stderr)
    );
}

#[test]
fn what_listens_and_is_no_manager_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut peer in listener.incoming().map_while(Result::ok) {
            let _ = peer.read(&mut [0; 64]);
            let _ = peer.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    is_named_as_http(&address);
}

#[test]
fn a_server_that_waits_for_a_line_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut peer in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut asked = Vec::new();
                let mut part = [0; 64];
                while !asked.windows(4).any(|part| part == b"\r\n\r\n") {
                    match peer.read(&mut part) {
                        Ok(count) if count > 0 => asked.extend_from_slice(&part[..count]),
                        _ => return,
                    }
                }
                let _ = peer.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
            });
        }
    });
    is_named_as_http(&address);
}

fn is_named_as_http(address: &str) {
    let run = [
        "run",
        "--manager",
        address,
        "--connect-timeout",
        "3s",
        "--",
        "true",
    ];
    for args in [&["status", "--manager", address][..], &run] {
        let ended = output(argon(args));
        assert_eq!(ended.status.code(), Some(255));
        assert!(
            text(&ended.stderr).contains("speaks HTTP"),
            "{}",
            text(&ended.stderr)
        );
    }
}

#[test]
fn clients_show_who_they_are() {
    let manager = Server::listening(&["manager"]);
    let mut map = argon(&["map", "--manager", &manager.address, "true", ":::", "a"])
        .spawn()
        .unwrap();
    let name = format!(":{} argon map", map.id());
    let client = || {
        let report = status(&manager.address);
        let mut clients = report["clients"].as_array().unwrap().iter();
        let named = |client: &&serde_json::Value| client["name"].as_str().unwrap().ends_with(&name);
        clients.find(named).cloned()
    };
    until("the client", || client().is_some());
    let shown = client().unwrap();
    let address = shown["address"].as_str().unwrap();
    assert!(address.starts_with("127.0.0.1:"), "{address}");
    let version = serde_json::json!({"major": 1, "minor": 1});
    assert_eq!(shown["version"], version);
    let table = text(&output(argon(&["status", "--manager", &manager.address])).stdout);
    assert!(table.contains(&format!("{address} v1.1")), "{table}");
    map.kill().unwrap();
    map.wait().unwrap();
    until("its absence", || {
        client().is_none_or(|gone| gone["address"].is_null() && gone["version"].is_null())
    });
}
