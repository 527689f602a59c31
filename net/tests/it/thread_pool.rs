//! Attempts on threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use crate::pools::{Pool, life};
use argon::executor::ThreadExecutor;
use argon::runtime::TaskFailure;
use argon::runtime::builtin::simple;
use argon_core::capabilities::Capabilities;
use argon_core::name::Name;
use argon_core::payload::Payload;
use argon_core::task::{ErrorKind, ExitCause};
use argon_core::worker::{PoolInput, PoolOutput, RunEnd};

async fn ready(
    handler: impl Fn(&Name, Payload) -> Result<Payload, TaskFailure> + Send + Sync + 'static,
) -> Pool<ThreadExecutor> {
    let mut pool = Pool::of(ThreadExecutor::new(Capabilities::anything(), handler));
    pool.spawn(0).await;
    pool
}

#[tokio::test]
async fn attempts_are_answered_in_order_with_their_results() {
    let mut pool = ready(simple).await;
    let given: Vec<_> = (0..10_000u32)
        .map(|round| (pool.run(0, "echo", round.to_string()), round.to_string()))
        .collect();
    for (number, result) in given {
        assert_eq!(pool.done(number).await, (RunEnd::Completed, result.into()));
    }
    assert_eq!(pool.failure("run", "").await.0.kind, ErrorKind::UnknownTask);
}

#[tokio::test]
async fn slots_work_side_by_side() {
    let (sender, receiver) = mpsc::channel();
    let receiver = std::sync::Mutex::new(receiver);
    let mut pool = ready(move |name, _| {
        match name.as_str() {
            "wait" => receiver.lock().unwrap().recv().unwrap(),
            _ => sender.send(()).unwrap(),
        }
        Ok(Payload::empty())
    })
    .await;
    pool.spawn(1).await;
    // Ends only if the other runs meanwhile.
    let wait = pool.run(0, "wait", "");
    let tell = pool.run(1, "tell", "");
    let mut ended = Vec::new();
    for _ in 0..2 {
        match pool.next().await {
            PoolInput::Done { attempt, .. } => ended.push(attempt.number),
            event => panic!("{event:?}"),
        }
    }
    ended.sort_unstable();
    assert_eq!(ended, [wait, tell]);
}

#[tokio::test]
async fn a_panic_fails_its_attempt_only() {
    let mut pool = ready(|name, payload| match name.as_str() {
        "panic" => panic!("for a reason"),
        _ => Ok(payload),
    })
    .await;
    let (error, _) = pool.failure("panic", "").await;
    assert_eq!(error.kind, ErrorKind::Raised("panic".to_owned()));
    assert_eq!(error.message, "for a reason");
    assert_eq!(pool.call("echo", "still here").await.0, RunEnd::Completed);
}

/// A pool whose `gate` waits for a word; how many have come there; and how to say the word.
async fn gated() -> (Pool<ThreadExecutor>, Arc<AtomicUsize>, mpsc::Sender<()>) {
    let come = Arc::new(AtomicUsize::new(0));
    let (release, gate) = mpsc::channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    let pool = {
        let come = Arc::clone(&come);
        ready(move |name, payload| {
            if name.as_str() == "gate" {
                come.fetch_add(1, Ordering::SeqCst);
                let gate = gate.lock().expect("nobody panics under it");
                gate.recv().expect("the test says the word");
            }
            Ok(payload)
        })
        .await
    };
    (pool, come, release)
}

#[tokio::test]
async fn a_kill_leaves_a_thread_to_itself_and_drops_its_result() {
    let (mut pool, come, release) = gated().await;
    pool.run(0, "gate", "");
    pool.until(|| come.load(Ordering::SeqCst) == 1).await;
    pool.run(0, "echo", "");
    pool.execute(PoolOutput::Kill { slot: life(0) });
    assert_eq!(pool.exited().await.0, ExitCause::Signal(9));
    pool.spawn(0).await;
    assert_eq!(pool.call("echo", "next").await.0, RunEnd::Completed);
    release.send(()).unwrap();
    assert_eq!(pool.call("echo", "and next").await.0, RunEnd::Completed);
}

#[tokio::test]
async fn so_many_threads_are_left_to_themselves_and_no_more() {
    let (mut pool, come, release) = gated().await;
    for number in 1..=64 {
        pool.run(0, "gate", "");
        pool.until(|| come.load(Ordering::SeqCst) == number).await;
        pool.execute(PoolOutput::Kill { slot: life(0) });
        assert_eq!(pool.exited().await.0, ExitCause::Signal(9));
        pool.spawn(0).await;
    }
    let last = pool.run(0, "gate", "");
    pool.until(|| come.load(Ordering::SeqCst) == 65).await;
    pool.execute(PoolOutput::Kill { slot: life(0) });
    // Handed over before the gate opens.
    let mut polls = 0;
    pool.until(|| {
        polls += 1;
        polls > 2
    })
    .await;
    for _ in 0..65 {
        release.send(()).unwrap();
    }
    assert_eq!(pool.done(last).await.0, RunEnd::Completed);
    assert_eq!(pool.exited().await.0, ExitCause::Signal(9));
}

#[tokio::test]
async fn no_result_waits_for_a_later_attempt() {
    let (release, gate) = mpsc::channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    let mut pool = ready(move |name, payload| {
        if name.as_str() == "gate" {
            gate.lock().unwrap().recv().unwrap();
        }
        Ok(payload)
    })
    .await;
    // Often, since it depends on the moment who collects what.
    for _ in 0..100 {
        let quick: Vec<_> = (0..5).map(|_| pool.run(0, "noop", "")).collect();
        let slow = pool.run(0, "gate", "");
        for number in quick {
            assert_eq!(pool.done(number).await.0, RunEnd::Completed);
        }
        release.send(()).unwrap();
        assert_eq!(pool.done(slow).await.0, RunEnd::Completed);
    }
}

#[tokio::test]
async fn a_retired_slot_ends_cleanly() {
    let mut pool = ready(simple).await;
    pool.execute(PoolOutput::Retire { slot: life(0) });
    assert_eq!(pool.exited().await.0, ExitCause::Exit(0));
}

#[tokio::test]
async fn what_is_given_in_one_go_is_answered_one_by_one() {
    let (mut pool, _, release) = gated().await;
    let names: Vec<&str> = (0..1_000).map(|_| "echo").collect();
    let first = pool.run_many(0, &names);
    for number in first..first + 1_000 {
        assert_eq!(pool.done(number).await, (RunEnd::Completed, "echo".into()));
    }
    // Ends of before what takes long are not kept back.
    let first = pool.run_many(0, &["echo", "echo", "gate", "echo"]);
    for number in [first, first + 1] {
        assert_eq!(pool.done(number).await.0, RunEnd::Completed);
    }
    release.send(()).unwrap();
    for number in [first + 2, first + 3] {
        assert_eq!(pool.done(number).await.0, RunEnd::Completed);
    }
}

#[tokio::test]
async fn an_end_overtakes_the_rest_of_what_was_given_in_one_go() {
    let (mut pool, come, release) = gated().await;
    let first = pool.run_many(0, &["gate", "gate", "gate"]);
    pool.until(|| come.load(Ordering::SeqCst) == 1).await;
    pool.execute(PoolOutput::Terminate { slot: life(0) });
    // Handed over before the gate opens.
    let mut polls = 0;
    pool.until(|| {
        polls += 1;
        polls > 2
    })
    .await;
    release.send(()).unwrap();
    assert_eq!(pool.done(first).await.0, RunEnd::Completed);
    assert_eq!(pool.exited().await.0, ExitCause::Signal(15));
    assert_eq!(come.load(Ordering::SeqCst), 1, "the others never began");
}
