//! Managers, workers and clients as processes of their own.

use std::process::Stdio;

use crate::common::{
    Lines, Server, argon, finish, lines, output, output_of, sha256sum, sources, status, text,
    until, until_capacity, wait,
};
use nix::sys::signal::Signal;

fn cluster() -> (Server, Vec<Server>) {
    let manager = Server::listening(&["manager"]);
    let workers = ["one", "two"]
        .map(|name| Server::worker(&manager.address, name))
        .into();
    until_capacity(&manager.address, 4);
    (manager, workers)
}

#[test]
fn map_on_two_workers_gives_what_the_command_alone_gives() {
    let (manager, _workers) = cluster();
    let files = sources();
    let args = ["map", "--manager", &manager.address, "sha256sum", "{}"];
    let mapped = output_of(argon(&args), lines(&files));
    assert_eq!(text(&mapped.stderr), "");
    assert_eq!(text(&mapped.stdout), sha256sum(&files));
    assert_eq!(mapped.status.code(), Some(0));

    let report = status(&manager.address);
    assert_eq!(report["manager"]["completed"], files.len());
    assert_eq!(report["workers"].as_array().unwrap().len(), 2);
    let table = output(argon(&["status", "--manager", &manager.address]));
    let table = text(&table.stdout);
    assert!(
        table.contains("one") && table.contains("two") && table.contains("WORKER"),
        "{table}"
    );
}

#[test]
fn a_killed_worker_changes_nothing_in_the_output() {
    let (manager, mut workers) = cluster();
    let script = "sleep 0.05; echo $1";
    let args = [
        "map",
        "--manager",
        &manager.address,
        "sh",
        "-c",
        script,
        "sh",
        "{}",
        ":::",
    ];
    let items: Vec<String> = (0..60).map(|n| n.to_string()).collect();
    let mut command = argon(&args);
    let mut child = command.args(&items).spawn().unwrap();
    let out = Lines::of(child.stdout.take().unwrap());
    let mut printed = vec![out.next().unwrap()];
    // In the midst of it.
    workers[0].signal(Signal::SIGKILL);
    wait(&mut workers[0].child);
    printed.extend(std::iter::from_fn(|| out.next()));
    let ended = finish(child);
    assert_eq!(printed, items);
    assert_eq!(
        (ended.status.code(), text(&ended.stderr)),
        (Some(0), String::new())
    );
}

#[test]
fn a_restarted_manager_changes_nothing_in_the_output() {
    let (mut manager, _workers) = cluster();
    let script = "sleep 0.05; echo $1";
    let address = manager.address.clone();
    let args = [
        "map",
        "--manager",
        &address,
        "sh",
        "-c",
        script,
        "sh",
        "{}",
        ":::",
    ];
    let items: Vec<String> = (0..60).map(|n| n.to_string()).collect();
    let mut command = argon(&args);
    let mut child = command.args(&items).spawn().unwrap();
    let out = Lines::of(child.stdout.take().unwrap());
    let mut printed = vec![out.next().unwrap()];
    manager.signal(Signal::SIGKILL);
    wait(&mut manager.child);
    let port = address.rsplit(':').next().unwrap();
    let _manager = Server::listening(&["manager", "--port", port]);
    printed.extend(std::iter::from_fn(|| out.next()));
    let ended = finish(child);
    assert_eq!(printed, items);
    assert_eq!(ended.status.code(), Some(0), "{}", text(&ended.stderr));
}

#[test]
fn a_worker_without_a_manager_serves_clients() {
    let worker = Server::listening(&["worker", "--port", "0", "--workers", "2"]);
    let args = ["run", "--manager", &worker.address, "--", "cat"];
    let ran = output_of(argon(&args), "hello");
    assert_eq!(
        (ran.status.code(), text(&ran.stdout)),
        (Some(0), "hello".into())
    );
    assert_eq!(status(&worker.address)["manager"]["capacity"], 2);
}

#[test]
fn the_environment_can_name_the_manager() {
    let worker = Server::listening(&["worker", "--workers", "1"]);
    let mut command = argon(&["call", "echo", "hi"]);
    let called = output({
        command.env("ARGON_MANAGER", &worker.address);
        command
    });
    assert_eq!(text(&called.stdout), "hi");
    assert_eq!(status(&worker.address)["manager"]["completed"], 1);
    // Set to nothing, it names none.
    let mut command = argon(&["call", "echo", "here"]);
    let called = output({
        command.env("ARGON_MANAGER", "");
        command
    });
    assert_eq!(text(&called.stdout), "here", "{}", text(&called.stderr));
    let mut asking = argon(&["status"]);
    let asked = output({
        asking.env("ARGON_MANAGER", "");
        asking
    });
    let said = text(&asked.stderr);
    assert!(said.contains("--manager <HOST:PORT>"), "{said}");
}

#[test]
fn a_drained_worker_finishes_what_runs() {
    let directory = tempfile::tempdir().unwrap();
    let (started, go) = (
        directory.path().join("started"),
        directory.path().join("go"),
    );
    let mut worker = Server::listening(&["worker", "--workers", "1"]);
    let script = format!(
        "touch {}; while ! test -e {}; do sleep 0.01; done; echo done",
        started.display(),
        go.display()
    );
    let args = [
        "run",
        "--manager",
        &worker.address,
        "--",
        "sh",
        "-c",
        &script,
    ];
    let child = argon(&args).spawn().unwrap();
    until("the start", || started.exists());
    worker.signal(Signal::SIGTERM);
    until("the drain", || {
        status(&worker.address)["manager"]["draining"] == true
    });
    std::fs::write(go, "").unwrap();
    let ended = finish(child);
    assert_eq!(
        (ended.status.code(), text(&ended.stdout)),
        (Some(0), "done\n".into())
    );
    assert_eq!(wait(&mut worker.child).code(), Some(0));
}

#[test]
fn a_worker_leaves_its_manager_when_drained_and_at_once_when_told_twice() {
    let (manager, mut workers) = cluster();
    workers[0].signal(Signal::SIGTERM);
    assert_eq!(wait(&mut workers[0].child).code(), Some(0));
    until_capacity(&manager.address, 2);

    let args = ["run", "--manager", &manager.address, "--", "sleep", "1000"];
    let mut client = argon(&args).spawn().unwrap();
    until("the start", || {
        status(&manager.address)["manager"]["assigned"] == 1
    });
    workers[1].signal(Signal::SIGTERM);
    until("the drain", || {
        let report = status(&manager.address);
        let workers = report["workers"].as_array().unwrap().iter();
        workers
            .filter(|worker| worker["name"] == "two")
            .any(|worker| worker["draining"] == true)
    });
    workers[1].signal(Signal::SIGTERM);
    assert_eq!(wait(&mut workers[1].child).code(), Some(143));
    client.kill().unwrap();
    wait(&mut client);
}

#[test]
fn what_is_waited_for_is_said_with_what_to_do() {
    // A port that was free a moment ago.
    let address = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let mut child = argon(&["call", "--manager", &address, "echo", "hi"])
        .spawn()
        .unwrap();
    let errors = Lines::of(child.stderr.take().unwrap());
    let line = errors.next().unwrap();
    assert!(
        line.contains(&format!("waiting for a manager at {address}: ")),
        "{line}"
    );
    assert!(line.contains("argon manager --port"), "{line}");
    let port = address.rsplit(':').next().unwrap();
    let manager = Server::listening(&["manager", "--port", port]);
    errors.wait_for("connected to the manager");
    errors.wait_for("has no workers; start one with `argon worker --manager");
    let _worker = Server::worker(&manager.address, "late");
    let ended = finish(child);
    assert_eq!(
        (ended.status.code(), text(&ended.stdout)),
        (Some(0), "hi".into())
    );
}

#[test]
fn what_nobody_runs_is_said_while_it_waits() {
    let (manager, _workers) = cluster();
    let mut child = argon(&["call", "--manager", &manager.address, "resize"])
        .spawn()
        .unwrap();
    let errors = Lines::of(child.stderr.take().unwrap());
    let line = errors.next().unwrap();
    assert!(line.contains("no worker runs \"resize\""), "{line}");
    let ended = finish(child);
    assert_eq!(ended.status.code(), Some(255));
}

#[test]
fn tasks_that_all_wait_for_tasks_are_named_and_end_with_their_processes() {
    let manager = Server::listening(&["manager"]);
    let _worker = Server::worker(&manager.address, "one");
    until_capacity(&manager.address, 2);
    let program = env!("CARGO_BIN_EXE_argon");
    let nested = [
        "--",
        program,
        "map",
        "--manager",
        &manager.address,
        "true",
        ":::",
        "a",
    ];
    let parent = || {
        let run = ["run", "--manager", &manager.address];
        argon(&[&run[..], &nested].concat()).spawn().unwrap()
    };
    let (mut first, mut second) = (parent(), parent());
    let table = || text(&output(argon(&["status", "--manager", &manager.address])).stdout);
    until("the deadlock", || {
        table().contains("deadlock   all 2 processes")
    });
    let pid = nix::unistd::Pid::from_raw(first.id().cast_signed());
    nix::sys::signal::kill(pid, Signal::SIGTERM).unwrap();
    first.wait().unwrap();
    // The place of the first is free, and what the second waits for can run.
    assert_eq!(second.wait().unwrap().code(), Some(0));
    until("the end of all", || {
        status(&manager.address)["manager"]["queued"] == 0
    });
}

#[test]
fn a_time_to_connect_can_be_given() {
    let args = [
        "call",
        "--manager",
        "127.0.0.1:9",
        "--connect-timeout",
        "200ms",
        "noop",
    ];
    let ended = output(argon(&args));
    assert_eq!(ended.status.code(), Some(255));
    assert!(text(&ended.stderr).contains("no manager was reached at 127.0.0.1:9"));
    let ended = output(argon(&["status", "--manager", "127.0.0.1:9"]));
    assert_eq!(ended.status.code(), Some(255));
    assert!(text(&ended.stderr).contains("127.0.0.1:9"));
}

#[test]
fn full_queues_lose_nothing() {
    let manager = Server::listening(&["manager", "--queue-size", "5"]);
    let _worker = Server::worker(&manager.address, "only");
    let args = [
        "map",
        "--manager",
        &manager.address,
        "--jobs",
        "200",
        "echo",
    ];
    let items = (0..300).map(|n| format!("{n}\n")).collect::<String>();
    let mapped = output_of(argon(&args), items.clone());
    assert_eq!(mapped.status.code(), Some(0), "{}", text(&mapped.stderr));
    assert_eq!(text(&mapped.stdout), items);
}

#[test]
fn status_is_watched_line_by_line() {
    let manager = Server::listening(&["manager"]);
    let args = [
        "status",
        "--manager",
        &manager.address,
        "--json",
        "--watch",
        "10ms",
    ];
    let mut child = argon(&args).stderr(Stdio::null()).spawn().unwrap();
    let lines = Lines::of(child.stdout.take().unwrap());
    for _ in 0..2 {
        let line = lines.next().unwrap();
        let report: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(report["manager"]["queued"], 0);
    }
    child.kill().unwrap();
    wait(&mut child);
}
