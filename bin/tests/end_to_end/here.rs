//! Commands without a manager: everything in one process.

use std::fs;
use std::io::Read;
use std::process::Stdio;

use crate::common::{argon, finish, lines, output, output_of, sha256sum, sources, text, wait};

#[test]
fn map_gives_what_the_command_alone_gives_in_order() {
    let files = sources();
    let mapped = output_of(argon(&["map", "sha256sum", "{}"]), lines(&files));
    assert_eq!(text(&mapped.stderr), "");
    assert_eq!(text(&mapped.stdout), sha256sum(&files));
    assert_eq!(mapped.status.code(), Some(0));
}

#[test]
fn map_takes_items_from_arguments_and_nul_separated_input() {
    let mapped = output(argon(&["map", "echo", "{#}:{}", ":::", "a b", "-c"]));
    assert_eq!(text(&mapped.stdout), "1:a b\n2:-c\n");
    let mapped = output_of(argon(&["map", "-0", "printf", "%s|"]), "a\nb\0c");
    assert_eq!(text(&mapped.stdout), "a\nb|c|");
    let mapped = output(argon(&["map", "echo", ":::"]));
    assert_eq!((mapped.status.code(), mapped.stdout.len()), (Some(0), 0));
}

#[test]
fn unordered_output_has_the_same_lines() {
    let script = "sleep 0.0$1; echo $1";
    let args = ["map", "--unordered", "sh", "-c", script, "sh", "{}", ":::"];
    let mapped = output(argon(&[&args[..], &["9", "5", "1", "3"]].concat()));
    let mut found: Vec<String> = text(&mapped.stdout).lines().map(str::to_owned).collect();
    found.sort();
    assert_eq!(found, ["1", "3", "5", "9"]);
}

#[test]
fn failures_are_named_and_counted() {
    let script = "echo out$1; test $1 != b || exit 3; test $1 != d || kill -9 $$";
    let mapped = output(argon(&[
        "map", "--tag", "sh", "-c", script, "sh", "{}", ":::", "a", "b", "c", "d",
    ]));
    assert_eq!(mapped.status.code(), Some(2));
    assert_eq!(text(&mapped.stdout), "a\touta\nb\toutb\nc\toutc\nd\toutd\n");
    let errors = text(&mapped.stderr);
    assert!(
        errors.contains("argon: item 2 (b): exit code 3\n"),
        "{errors}"
    );
    assert!(
        errors.contains("argon: item 4 (d): killed by signal 9 (SIGKILL)\n"),
        "{errors}"
    );
}

#[test]
fn a_time_limit_is_said_as_such() {
    let mapped = output(argon(&[
        "map",
        "--time-limit",
        "100ms",
        "sleep",
        ":::",
        "100",
    ]));
    assert_eq!(mapped.status.code(), Some(1));
    assert!(text(&mapped.stderr).contains("item 1 (100): killed at its time limit"));
}

#[test]
fn halting_leaves_the_rest_alone() {
    let args = [
        "map",
        "--jobs",
        "1",
        "--halt",
        "soon",
        "sh",
        "-c",
        "echo $1; exit $1",
        "sh",
    ];
    let mapped = output(argon(&[&args[..], &[":::", "0", "1", "0", "0"]].concat()));
    assert_eq!(mapped.status.code(), Some(1));
    assert_eq!(text(&mapped.stdout), "0\n1\n");
    let args = [
        "map",
        "--halt",
        "now",
        "sh",
        "-c",
        "test $1 = 9 || exit 5; sleep 1000",
        "sh",
    ];
    let mapped = output(argon(&[&args[..], &[":::", "9", "1"]].concat()));
    assert_eq!(mapped.status.code(), Some(1));
    assert!(text(&mapped.stderr).contains("halted: 1 item ended, 1 of them failed, 1 cancelled"));
}

#[test]
fn a_log_is_resumed_where_it_was_torn() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let flag = directory.path().join("flag");
    let script = format!("echo $1; test $1 != b || test -e {}", flag.display());
    let args = [
        "map",
        "--joblog",
        log.to_str().unwrap(),
        "--resume",
        "sh",
        "-c",
        &script,
        "sh",
    ];
    let run = || output(argon(&[&args[..], &[":::", "a", "b", "c"]].concat()));
    let first = run();
    assert_eq!(
        (first.status.code(), text(&first.stdout)),
        (Some(1), "a\nb\nc\n".into())
    );
    let logged = fs::read_to_string(&log).unwrap();
    let outcomes: Vec<&str> = logged
        .lines()
        .skip(1)
        .map(|line| line.rsplit('\t').next().unwrap())
        .collect();
    assert_eq!(outcomes, ["completed", "failed", "completed"]);
    // As if the power had gone in the middle of the last line: c is done again, and b.
    fs::write(&log, &logged[..logged.len() - 5]).unwrap();
    fs::write(&flag, "").unwrap();
    let second = run();
    assert_eq!(text(&second.stdout), "b\nc\n");
    assert_eq!(second.status.code(), Some(0));
    assert_eq!(text(&run().stdout), "");
    let args = ["map", "--joblog", log.to_str().unwrap(), "true", ":::", "a"];
    let refused = output(argon(&args));
    assert_eq!(refused.status.code(), Some(255));
    assert!(text(&refused.stderr).contains("give --resume"));
}

#[test]
fn a_dry_run_prints_commands_for_a_shell() {
    let mapped = output(argon(&[
        "map",
        "--dry-run",
        "gzip",
        "-9",
        "{.}.x",
        ":::",
        "a b.c",
        "d",
    ]));
    assert_eq!(text(&mapped.stdout), "gzip -9 'a b.x'\ngzip -9 d.x\n");
}

#[test]
fn map_stops_quietly_when_nobody_reads() {
    let mut child = argon(&[
        "map",
        "--jobs",
        "2",
        "sh",
        "-c",
        "echo $1; sleep 0.05",
        "sh",
        "{}",
    ]);
    let mut child = child.stdin(Stdio::piped()).spawn().unwrap();
    // Never closed: only the broken pipe can end it.
    let mut stdin = child.stdin.take().unwrap();
    let items = (0..1_000).map(|n| format!("{n}\n")).collect::<String>();
    std::io::Write::write_all(&mut stdin, items.as_bytes()).unwrap();
    let mut first = [0; 2];
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut first)
        .unwrap();
    drop(child.stdout.take());
    let status = wait(&mut child);
    let mut errors = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut errors)
        .unwrap();
    assert_eq!((status.code(), errors.as_str()), (Some(141), ""));
}

#[test]
fn an_interrupt_ends_map_with_130() {
    let mut child = argon(&[
        "map",
        "sh",
        "-c",
        "echo started; sleep $1",
        "sh",
        "{}",
        ":::",
        "0",
        "1000",
    ])
    .spawn()
    .unwrap();
    let mut first = [0; 8];
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut first)
        .unwrap();
    let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    let ended = finish(child);
    assert_eq!(ended.status.code(), Some(130));
    assert!(
        text(&ended.stderr).contains("interrupted: 1 item ended"),
        "{}",
        text(&ended.stderr)
    );
}

#[test]
fn run_passes_input_outputs_and_exit_code_through() {
    let script = "cat; echo $GREETING $PWD >&2; exit 7";
    let args = [
        "run",
        "--env",
        "GREETING=hello",
        "--cwd",
        "/",
        "--",
        "sh",
        "-c",
        script,
    ];
    let ran = output_of(argon(&args), &b"bytes\xff"[..]);
    assert_eq!(ran.stdout, b"bytes\xff");
    assert_eq!(text(&ran.stderr), "hello /\n");
    assert_eq!(ran.status.code(), Some(7));
    let ran = output(argon(&["run", "--", "sh", "-c", "kill -15 $$"]));
    assert_eq!(ran.status.code(), Some(143));
    let ran = output(argon(&["run", "--", "no-such-program"]));
    assert_eq!(ran.status.code(), Some(127));
    assert!(text(&ran.stderr).contains("no-such-program"));
    let ran = output(argon(&["run", "--time-limit", "100ms", "sleep", "1000"]));
    assert_eq!(ran.status.code(), Some(124));
}

#[test]
fn run_refuses_more_input_than_a_payload_may_have() {
    let args = ["run", "--max-payload", "1k", "--", "cat"];
    let ran = output_of(argon(&args), vec![b'x'; 2_000]);
    assert_eq!(ran.status.code(), Some(255));
    assert!(
        text(&ran.stderr).contains("--max-payload"),
        "{}",
        text(&ran.stderr)
    );
}

#[test]
fn call_prints_the_result_as_it_is() {
    let called = output(argon(&["call", "echo", "hello"]));
    assert_eq!(
        (called.status.code(), &called.stdout[..]),
        (Some(0), &b"hello"[..])
    );
    let called = output_of(argon(&["call", "echo", "--stdin"]), &b"\0\xff"[..]);
    assert_eq!(called.stdout, b"\0\xff");
    let called = output(argon(&["call", "dance"]));
    assert_eq!(called.status.code(), Some(255));
    assert!(text(&called.stderr).contains("dance: rejected: no worker"));
    let called = output(argon(&["call", "ecko"]));
    assert!(text(&called.stderr).contains("one runs \"echo\""));
}

#[test]
fn errors_say_what_would_be_right() {
    for (args, hint) in [
        (&["map", "--time-limit", "soon", "true"][..], "250ms"),
        (&["map", "--priority", "9", "true"], "high, normal, low"),
        (&["map", "--halt", "perhaps", "true"], "now,fail=10%"),
        (&["map", ":::", "a"], "no command before"),
        (&["map", "--resume", "true"], "--joblog"),
        (
            &["run", "--manager", "nowhere", "--", "true"],
            "127.0.0.1:8000",
        ),
        (
            &["run", "--env", "NO_SUCH_VARIABLE_1", "--", "true"],
            "NAME=VALUE",
        ),
        (&["run", "--env", "=x", "--", "true"], "NAME=VALUE"),
        (&["worker", "--manager", "h:1", "--port", "2"], "--manager"),
        (&["manager", "--host", "0.0.0.0"], "--insecure"),
        (&["manager", "--lease", "1ms"], "lease"),
        (&["status"], "--manager"),
    ] {
        let ended = output(argon(args));
        assert_eq!(ended.status.code(), Some(255), "{args:?}");
        let errors = text(&ended.stderr).replace("NO_SUCH_VARIABLE_1=VALUE", "NAME=VALUE");
        assert!(errors.contains(hint), "{args:?}: {errors}");
    }
}

#[test]
fn help_has_an_example_on_every_command() {
    for command in ["map", "run", "call", "manager", "worker", "status"] {
        let help = output(argon(&[command, "--help"]));
        assert!(help.status.success());
        let help = text(&help.stdout);
        assert!(
            help.contains("Examples:") && help.contains(&format!("argon {command}")),
            "{help}"
        );
        assert!(!help.contains("pool-guard"));
    }
    assert!(text(&output(argon(&["--version"])).stdout).starts_with("argon 0"));
}

#[test]
fn a_cluster_can_be_tried_before_it_is_bought() {
    let study = ["sim", "--workers", "2x4", "--arrivals", "3000/s"];
    let options = ["--duration", "2s", "--queue-size", "50", "--retries", "0"];
    let tried = output(argon(&[&study[..], &options[..], &["--json"]].concat()));
    assert_eq!(
        (text(&tried.stderr).as_ref(), tried.status.code()),
        ("", Some(0))
    );
    let findings: serde_json::Value = serde_json::from_str(&text(&tried.stdout)).unwrap();
    let tasks = |what: &str| findings["counts"][what].as_u64().unwrap();
    assert!(tasks("completed") > 0 && tasks("gave_up") > 0);
    assert_eq!(tasks("completed") + tasks("gave_up"), tasks("offered"));

    let wrong = output(argon(&["sim", "--workers", "2y4"]));
    assert!(text(&wrong.stderr).contains("write 20x8 for"));
    assert_ne!(wrong.status.code(), Some(0));
}
