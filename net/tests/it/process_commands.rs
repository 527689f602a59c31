//! The built-in runtime runs commands.

use crate::pools::{Pool, find, gone, mark, options, shell};
use argon::command::{CommandOutput, CommandSpec, CommandStatus};
use argon_core::task::ErrorKind;

#[tokio::test]
async fn a_command_gets_what_was_asked_and_its_output_comes_back() {
    let mut pool = Pool::ready(options(&["pool"])).await;
    let mut spec = shell("cat; pwd; echo $A; echo oops >&2");
    spec.stdin = b"in\n".to_vec();
    spec.cwd = Some(b"/usr".to_vec());
    spec.env = vec![(b"A".to_vec(), b"b c".to_vec())];
    let output = pool.command(&spec).await;
    assert_eq!(output.status, CommandStatus::Exit(0));
    assert_eq!(output.stdout, "in\n/usr\nb c\n");
    assert_eq!(output.stderr, "oops\n");

    let mut spec = CommandSpec::new(["/usr/bin/env"]);
    spec.clear_env = true;
    spec.env = vec![(b"A".to_vec(), b"\xff".to_vec())];
    assert_eq!(&pool.command(&spec).await.stdout[..], b"A=\xff\n");

    // Nobody else's input, nor the pool protocol.
    assert_eq!(pool.command(&CommandSpec::new(["cat"])).await.stdout, "");
}

#[tokio::test]
async fn a_command_starts_with_nothing_blocked_or_ignored_by_us() {
    // What whoever started us has ignored stays so, as with `nohup` and a shell's `&`. Rust ignores
    // SIGPIPE, which commands must not find.
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status
        .lines()
        .find(|line| line.starts_with("SigIgn"))
        .unwrap();
    let inherited = mask(ignored) & !(1 << (nix::libc::SIGPIPE - 1));
    let mut pool = Pool::ready(options(&["pool"])).await;
    let spec = CommandSpec::new(["grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"]);
    let output = pool.command(&spec).await;
    for line in std::str::from_utf8(&output.stdout).unwrap().lines() {
        // The two above belong to the C library.
        assert_eq!(mask(line) & !inherited & 0x7fff_ffff, 0, "{line}");
    }
}

/// The signals of a line of `/proc/PID/status`.
fn mask(line: &str) -> u64 {
    let (_, digits) = line.split_once('\t').expect("a name and a value");
    u64::from_str_radix(digits, 16).expect("hexadecimal")
}

#[tokio::test]
async fn a_failing_command_says_how_and_keeps_its_output() {
    let mut pool = Pool::ready(options(&["pool"])).await;
    let (error, detail) = pool
        .failure("run", shell("echo out; echo err >&2; exit 3").encode())
        .await;
    assert_eq!(error.kind, ErrorKind::Exit(3));
    assert_eq!(
        (&*error.message, &*error.stderr),
        ("sh ended with exit code 3", "err\n")
    );
    let output = CommandOutput::decode(&detail).unwrap();
    assert_eq!(output.status, CommandStatus::Exit(3));
    assert_eq!(
        (output.stdout, output.stderr),
        ("out\n".into(), "err\n".into())
    );

    let (error, detail) = pool.failure("run", shell("kill -9 $$").encode()).await;
    assert_eq!(error.kind, ErrorKind::Signal(9));
    assert_eq!(
        CommandOutput::decode(&detail).unwrap().status,
        CommandStatus::Signal(9)
    );
}

#[tokio::test]
async fn a_command_that_cannot_run_fails_as_in_a_shell() {
    let mut pool = Pool::ready(options(&["pool"])).await;
    for (program, kind, message) in [
        (
            "no-such-cmd",
            ErrorKind::Exit(127),
            "cannot run no-such-cmd: No such file or directory",
        ),
        (
            "/etc/passwd",
            ErrorKind::Exit(126),
            "cannot run /etc/passwd: Permission denied",
        ),
    ] {
        let (error, _) = pool
            .failure("run", CommandSpec::new([program]).encode())
            .await;
        assert_eq!((error.kind, &*error.message), (kind, message));
    }
    let mut spec = shell("true");
    spec.cwd = Some(b"/no/such/place".to_vec());
    let (error, _) = pool.failure("run", spec.encode()).await;
    assert_eq!(error.kind, ErrorKind::Exit(126));
    assert_eq!(
        error.message,
        "cannot run in /no/such/place: there is no such directory on the worker; directories and files \
         must be there"
    );
    let (error, _) = pool.failure("run", CommandSpec::default().encode()).await;
    assert_eq!(error.kind, ErrorKind::BadPayload);
    let (error, _) = pool
        .failure("run", CommandSpec::new(["a\0b"]).encode())
        .await;
    assert_eq!(error.kind, ErrorKind::BadPayload);
}

#[tokio::test]
async fn much_input_and_output_at_once_does_not_block() {
    let mut pool = Pool::ready(options(&["pool"])).await;
    let mut spec = shell("tee /dev/stderr");
    spec.stdin = (0..10_000_000u32).map(|n| n.to_le_bytes()[1]).collect();
    let output = pool.command(&spec).await;
    assert!(output.stdout == spec.stdin);
    assert!(output.stderr == spec.stdin);
    // Nobody reads it, which is the command's affair.
    let mut spec = shell("exec 0<&-; echo done");
    spec.stdin = vec![0; 10_000_000];
    assert_eq!(pool.command(&spec).await.stdout, "done\n");
    let mut spec = shell("exec 1>&- 2>&-; test $(wc -c) = 10000000");
    spec.stdin = vec![0; 10_000_000];
    assert_eq!(pool.command(&spec).await.stdout, "");
}

#[tokio::test]
async fn too_much_output_ends_the_command() {
    let mut options = options(&["pool"]);
    options.payload_max = 1_000_000;
    let mut pool = Pool::ready(options).await;
    let (error, _) = pool
        .failure("run", CommandSpec::new(["yes"]).encode())
        .await;
    assert_eq!(error.kind, ErrorKind::ResultTooLarge);
    let spec = shell("head -c 500000 /dev/zero; head -c 499975 /dev/zero >&2");
    assert_eq!(pool.command(&spec).await.encode().len(), 1_000_000);
    let spec = shell("head -c 500000 /dev/zero; head -c 499976 /dev/zero >&2");
    assert_eq!(
        pool.failure("run", spec.encode()).await.0.kind,
        ErrorKind::ResultTooLarge
    );
}

#[tokio::test]
async fn what_a_command_leaves_behind_delays_nothing_and_is_killed() {
    let mut pool = Pool::ready(options(&["pool"])).await;
    let mark = mark();
    let spec = shell(&format!(
        "sleep {mark} & setsid sleep {mark} & (setsid sh -c 'trap : TERM; sleep {mark}; :' &); \
         while [ $(pgrep -fc '^sleep {mark}') -lt 3 ]; do :; done; echo done"
    ));
    assert_eq!(pool.command(&spec).await.stdout, "done\n");
    assert!(gone(&mark), "{:?}", find(&mark, &[]));
    assert_eq!(pool.command(&shell("echo next")).await.stdout, "next\n");
}
