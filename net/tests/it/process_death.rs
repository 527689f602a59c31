//! However it comes to an end, nothing of a pool process is left.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::pools::{
    FAMILY, FIXTURE, PATIENCE, Pool, family, find, gone, kill_9, launcher, life, mark, options,
    shell,
};
use argon::command::CommandOutput;
use argon::executor::ProcessOptions;
use argon_core::task::ExitCause;
use argon_core::worker::{PoolOutput, RunEnd};
use nix::unistd::Pid;

/// A pool whose one process runs a family of sleeping commands.
async fn busy(mark: &str) -> Pool {
    let mut pool = Pool::ready(options(&["pool", mark])).await;
    pool.run(0, "run", family(mark).encode());
    pool.until(|| find(mark, &["sleep"]).len() == FAMILY).await;
    pool
}

fn guard(mark: &str) -> Pid {
    find(mark, &[FIXTURE, "guard", "watch"])[0]
}

#[tokio::test]
async fn a_killed_program_takes_everything_with_it() {
    let mark = mark();
    let mut pool = busy(&mark).await;
    kill_9(find(&mark, &[FIXTURE, "pool"])[0]);
    assert_eq!(pool.exited().await.0, ExitCause::Signal(9));
    assert!(gone(&mark), "{:?}", find(&mark, &[]));
    pool.spawn(0).await;
}

#[tokio::test]
async fn a_killed_guard_takes_everything_with_it() {
    let mark = mark();
    let mut pool = busy(&mark).await;
    kill_9(guard(&mark));
    assert_eq!(pool.exited().await.0, ExitCause::Signal(9));
    assert!(gone(&mark), "{:?}", find(&mark, &[]));
    pool.spawn(0).await;
}

#[tokio::test]
async fn a_program_that_ends_by_itself_leaves_nothing() {
    let mark = mark();
    let family = format!(
        "sleep {mark} & setsid sleep {mark} & (setsid sleep {mark} &); \
         while [ $(pgrep -fc '^sleep {mark}') -lt 3 ]; do :; done; exit 3"
    );
    let mut options = ProcessOptions::new("sh", launcher());
    options.args = vec!["-c".into(), family.into()];
    let mut pool = Pool::new(options);
    pool.execute(PoolOutput::Spawn { slot: life(0) });
    assert_eq!(pool.exited().await.0, ExitCause::Exit(3));
    assert!(gone(&mark), "{:?}", find(&mark, &[]));
}

#[tokio::test]
async fn a_kill_ends_everything() {
    let mark = mark();
    let mut pool = busy(&mark).await;
    pool.execute(PoolOutput::Kill { slot: life(0) });
    assert_eq!(pool.exited().await.0, ExitCause::Signal(9));
    assert!(gone(&mark), "{:?}", find(&mark, &[]));
}

#[tokio::test]
async fn a_polite_request_reaches_everything_and_what_was_written_is_passed_on() {
    let mark = mark();
    let mut pool = Pool::ready(options(&["pool", &mark])).await;
    // Cleans up, and has the last word.
    let number = pool.run(
        0,
        "run",
        shell(&format!(
            "echo before; trap 'echo clean; exit 3' TERM; sleep {mark} & wait"
        ))
        .encode(),
    );
    pool.until(|| !find(&mark, &["sleep"]).is_empty()).await;
    pool.execute(PoolOutput::Terminate { slot: life(0) });
    let (end, payload) = pool.done(number).await;
    assert!(matches!(end, RunEnd::Failed(_)), "{end:?}");
    let output = CommandOutput::decode(&payload).unwrap();
    assert_eq!(&output.stdout[..], b"before\nclean\n");
    assert_eq!(pool.exited().await.0, ExitCause::Exit(0));
    assert!(gone(&mark), "{:?}", find(&mark, &[]));
}

#[tokio::test]
async fn a_polite_request_ends_what_has_nothing_to_do() {
    let mark = mark();
    let mut pool = Pool::ready(options(&["pool", &mark])).await;
    pool.execute(PoolOutput::Terminate { slot: life(0) });
    assert_eq!(pool.exited().await.0, ExitCause::Exit(0));
    assert!(gone(&mark), "{:?}", find(&mark, &[]));
}

#[tokio::test]
async fn what_ignores_the_polite_request_is_ended_by_the_other() {
    let mark = mark();
    let mut pool = Pool::ready(options(&["pool", &mark])).await;
    pool.run(
        0,
        "run",
        shell(&format!("trap '' TERM; sleep {mark}; :")).encode(),
    );
    pool.until(|| !find(&mark, &["sleep"]).is_empty()).await;
    pool.execute(PoolOutput::Terminate { slot: life(0) });
    pool.turn().await;
    assert!(!gone(&mark));
    pool.execute(PoolOutput::Kill { slot: life(0) });
    assert_eq!(pool.exited().await.0, ExitCause::Signal(9));
    assert!(gone(&mark), "{:?}", find(&mark, &[]));
}

#[tokio::test]
async fn a_stopped_program_and_a_stopped_guard_can_be_killed() {
    let mark = mark();
    let mut pool = busy(&mark).await;
    for pid in find(&mark, &[]) {
        nix::sys::signal::kill(pid, nix::sys::signal::SIGSTOP).unwrap();
    }
    pool.execute(PoolOutput::Kill { slot: life(0) });
    assert_eq!(pool.exited().await.0, ExitCause::Signal(9));
    assert!(gone(&mark), "{:?}", find(&mark, &[]));
}

#[tokio::test]
async fn a_dropped_executor_leaves_nothing() {
    let mark = mark();
    let pool = busy(&mark).await;
    drop(pool);
    wait_until(&mark, || gone(&mark)).await;
}

/// A worker in a process of its own, killed in the worst way.
#[tokio::test]
async fn a_killed_worker_leaves_nothing() {
    let mark = mark();
    let mut worker = Command::new(FIXTURE)
        .args(["worker", &mark])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    worker
        .stdin
        .take()
        .unwrap()
        .write_all(&family(&mark).encode())
        .unwrap();
    wait_until(&mark, || find(&mark, &["sleep"]).len() == FAMILY).await;
    worker.kill().unwrap();
    worker.wait().unwrap();
    wait_until(&mark, || gone(&mark)).await;
}

/// Some shells and supervisors start programs so, and it is inherited.
#[test]
fn a_worker_that_was_started_with_sigchld_ignored_works() {
    let mut worker = Command::new("env")
        .args(["--ignore-signal=CHLD", FIXTURE, "worker"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let spec = shell("true & true; wait; exit 3").encode();
    worker.stdin.take().unwrap().write_all(&spec).unwrap();
    let output = worker.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("kind: Exit(3)"), "{said}");
}

async fn wait_until(mark: &str, mut done: impl FnMut() -> bool) {
    let wait = async {
        while !done() {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    };
    let patience = tokio::time::timeout(PATIENCE, wait).await;
    assert!(patience.is_ok(), "{:?}", find(mark, &[]));
}
