//! `argon bench`: what it counts adds up, and nothing stays in the cluster. Not: how fast it is.

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::common::{Server, argon, finish, output, status, text, until, until_capacity};

fn cluster() -> (Server, Server) {
    let manager = Server::listening(&["manager", "--port", "0"]);
    let worker = Server::worker(&manager.address, "one");
    until_capacity(&manager.address, 2);
    (manager, worker)
}

fn bench(args: &[&str]) -> Value {
    let output = output(argon(&[&["bench", "--json"], args].concat()));
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn count(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap()
}

/// Every task has exactly one end.
fn adds_up(tally: &Value) {
    let ends = ["completed", "rejected", "failed", "cancelled"];
    let sum: u64 = ends.iter().map(|end| count(tally, end)).sum();
    assert_eq!(count(tally, "submitted"), sum, "{tally}");
}

fn nothing_left(manager: &str) {
    until("an empty manager", || {
        let manager = &status(manager)["manager"];
        manager["queued"] == 0 && manager["assigned"] == 0
    });
}

#[test]
fn throughput_and_latency_of_a_cluster_add_up() {
    let (manager, _worker) = cluster();
    let at = ["--manager", &manager.address[..], "--seconds", "200ms"];
    let found = bench(&[&["throughput", "--in-flight", "1,50"], &at[..]].concat());
    let steps = found["throughput"]["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 2);
    for step in steps {
        adds_up(step);
        assert!(count(step, "completed") > 0);
    }
    let found = bench(&[&["latency", "--samples", "7", "--seconds", "1m"], &at[..2]].concat());
    let step = &found["latency"]["steps"][0];
    adds_up(step);
    assert_eq!(count(step, "completed"), 7);
    assert!(count(&step["latency_ns"], "p50") <= count(&step["latency_ns"], "max"));
    nothing_left(&manager.address);
}

#[test]
fn what_is_offered_in_an_overload_is_accounted_for() {
    let manager = Server::listening(&["manager", "--port", "0", "--queue-size", "5"]);
    let _worker = Server::worker(&manager.address, "one");
    until_capacity(&manager.address, 2);
    let found = bench(&[
        "overload",
        "--manager",
        &manager.address,
        "--seconds",
        "300ms",
        "--open",
        "50",
        "--retries",
        "1",
    ]);
    let steps = found["overload"]["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 6);
    for step in steps {
        let ends = [
            "not_offered",
            "completed",
            "rejected",
            "failed",
            "cancelled",
        ];
        let sum: u64 = ends.iter().map(|end| count(step, end)).sum();
        assert_eq!(count(step, "offered"), sum, "{step}");
        adds_up(&step["normal"]);
        adds_up(&step["high"]);
    }
    nothing_left(&manager.address);
}

#[test]
fn all_parts_run_without_a_manager() {
    let found = bench(&["--workers", "2", "--seconds", "50ms", "--in-flight", "4"]);
    for part in ["throughput", "latency", "overload"] {
        assert!(!found[part]["steps"].as_array().unwrap().is_empty());
    }
    assert_eq!(found["interrupted"], false);
}

#[test]
fn a_task_that_nobody_runs_is_an_error_that_names_the_option() {
    let output = output(argon(&["bench", "latency", "--task", "slep"]));
    assert_eq!(output.status.code(), Some(255));
    let errors = text(&output.stderr);
    assert!(
        errors.contains("slep") && errors.contains("--task"),
        "{errors}"
    );
}

#[test]
fn an_interrupt_ends_it_with_what_was_measured() {
    let (manager, _worker) = cluster();
    let args = ["bench", "throughput", "--json", "--seconds", "1h"];
    let child = argon(&[&args[..], &["--manager", &manager.address]].concat())
        .spawn()
        .unwrap();
    until("tasks", || {
        count(&status(&manager.address)["manager"], "completed") > 10
    });
    let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
    nix::sys::signal::kill(pid, Signal::SIGINT).unwrap();
    let output = finish(child);
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["interrupted"], true);
    adds_up(&found["throughput"]["steps"][0]);
    nothing_left(&manager.address);
}
