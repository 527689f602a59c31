//! What a pool process does with attempts, and what becomes of programs that misbehave.

use crate::pools::{Pool, gone, launcher, life, mark, options, wait_blindly};
use argon::executor::ProcessOptions;
use argon_core::payload::Payload;
use argon_core::task::{ErrorKind, ExitCause};
use argon_core::worker::{PoolInput, PoolOutput, RunEnd};
use bytes::Bytes;

/// A pool of a shell script.
fn script(text: &str) -> ProcessOptions {
    let mut options = ProcessOptions::new("sh", launcher());
    options.args = vec!["-c".into(), text.into()];
    options
}

#[tokio::test]
async fn attempts_are_answered_in_order_with_their_results() {
    let mut pool = Pool::ready(options(&["pool"])).await;
    let mut given = Vec::new();
    for round in 0..2_000u32 {
        let payload = Bytes::from(round.to_string());
        given.push((pool.run(0, "echo", payload.clone()), payload));
    }
    for (number, payload) in given {
        assert_eq!(pool.done(number).await, (RunEnd::Completed, payload.into()));
    }
    let (end, result) = pool.call("noop", "ignored").await;
    assert_eq!((end, result), (RunEnd::Completed, Payload::empty()));
}

#[tokio::test]
async fn slots_work_side_by_side() {
    let mut pool = Pool::new(options(&["pool"]));
    for slot in 0..4 {
        pool.spawn(slot).await;
    }
    let slow = pool.run(0, "sleep", "0.05");
    let fast = pool.run(3, "noop", "");
    assert_eq!(pool.done(fast).await.0, RunEnd::Completed);
    assert_eq!(pool.done(slow).await.0, RunEnd::Completed);
}

#[tokio::test]
async fn large_payloads_go_through() {
    let mut pool = Pool::ready(options(&["pool"])).await;
    let payload: Bytes = (0..10_000_000u32).map(|n| n.to_le_bytes()[1]).collect();
    let one = pool.run(0, "echo", payload.clone());
    let two = pool.run(0, "echo", "small");
    assert!(pool.done(one).await == (RunEnd::Completed, payload.into()));
    assert_eq!(pool.done(two).await, (RunEnd::Completed, "small".into()));
}

#[tokio::test]
async fn unknown_tasks_and_bad_payloads_fail_and_say_so() {
    let mut pool = Pool::ready(options(&["pool"])).await;
    let (error, _) = pool.failure("ehco", "").await;
    assert_eq!(error.kind, ErrorKind::UnknownTask);
    assert!(
        error.message.contains("ehco") && error.message.contains("echo"),
        "{error:?}"
    );
    let (error, _) = pool.failure("sleep", "long").await;
    assert_eq!(error.kind, ErrorKind::BadPayload);
    let (error, _) = pool.failure("run", "ls").await;
    assert_eq!(error.kind, ErrorKind::BadPayload);
}

#[tokio::test]
async fn a_panic_fails_its_attempt_only() {
    let mut pool = Pool::ready(options(&["tasks"])).await;
    let (error, _) = pool.failure("panic", "for a reason").await;
    assert_eq!(error.kind, ErrorKind::Raised("panic".to_owned()));
    assert_eq!(error.message, "for a reason");
    assert!(error.backtrace.contains("pool_fixture.rs:"), "{error:?}");
    assert!(error.stderr.contains("for a reason"), "{error:?}");
    assert_eq!(pool.call("say", "still here").await.0, RunEnd::Completed);
}

#[tokio::test]
async fn what_a_task_prints_is_kept_for_its_error_and_breaks_nothing() {
    let mut pool = Pool::ready(options(&["tasks"])).await;
    assert_eq!(pool.call("say", "earlier").await.0, RunEnd::Completed);
    let (error, detail) = pool.failure("say-and-fail", "my last words").await;
    assert_eq!(error.kind, ErrorKind::Raised("Sad".to_owned()));
    assert_eq!(detail, "detail".into());
    assert!(error.stderr.contains("my last words\n"), "{error:?}");
    pool.run(0, "say-and-abort", "my very last words");
    let (cause, stderr) = pool.exited().await;
    assert_eq!(cause, ExitCause::Signal(6));
    assert!(stderr.contains("my very last words\n"), "{stderr}");
    assert!(!stderr.contains("my last words"), "{stderr}");
}

#[tokio::test]
async fn a_chatty_program_is_drained_and_its_end_kept() {
    let mut pool = Pool::ready(options(&["tasks"])).await;
    let (error, _) = pool.failure("chatter", "").await;
    assert!(error.stderr.len() > 16_000 && error.stderr.len() <= 16 * 1024);
    assert!(error.stderr.ends_with("line 99999\n"));
}

#[tokio::test]
async fn closing_its_input_ends_an_idle_process() {
    let mut pool = Pool::ready(options(&["pool"])).await;
    pool.execute(PoolOutput::Retire { slot: life(0) });
    assert_eq!(pool.exited().await, (ExitCause::Exit(0), String::new()));
    pool.spawn(0).await;
}

#[tokio::test]
async fn a_program_that_cannot_be_started_is_named_with_the_reason() {
    for (program, reason) in [
        (
            "./no-such-program",
            "cannot run ./no-such-program: No such file or directory",
        ),
        ("/etc/passwd", "cannot run /etc/passwd: Permission denied"),
    ] {
        let mut pool = Pool::new(ProcessOptions::new(program, launcher()));
        pool.execute(PoolOutput::Spawn { slot: life(0) });
        assert_eq!(
            pool.exited().await,
            (ExitCause::NotStarted, reason.to_owned())
        );
    }
    let mut options = options(&["pool"]);
    options.launcher.program = "/no/such/launcher".into();
    let mut pool = Pool::new(options);
    pool.execute(PoolOutput::Spawn { slot: life(0) });
    let (cause, text) = pool.exited().await;
    assert_eq!(cause, ExitCause::NotStarted);
    assert!(text.contains("/no/such/launcher"), "{text}");
}

#[tokio::test]
async fn a_program_that_prints_to_standard_output_is_told_not_to() {
    for text in [
        "echo Hello, world; exec sleep 86400",
        "echo; echo Hello, world; exec sleep 86400",
    ] {
        let mut pool = Pool::new(script(text));
        pool.execute(PoolOutput::Spawn { slot: life(0) });
        let (cause, text) = pool.exited().await;
        assert_eq!(cause, ExitCause::Protocol);
        assert!(text.contains("Hello, world\\n"), "{text}");
        assert!(text.contains("must print to standard error"), "{text}");
    }
}

#[tokio::test]
async fn programs_that_break_the_protocol_are_killed_and_told_why() {
    for (mode, reason) in [
        (
            "future",
            "it speaks version 2.0 of the pool protocol, this worker 1.1",
        ),
        ("hasty", "its first message was not that it is ready"),
    ] {
        let mut pool = Pool::new(options(&["bad", mode]));
        pool.execute(PoolOutput::Spawn { slot: life(0) });
        let (cause, text) = pool.exited().await;
        assert_eq!((cause, text.trim_end()), (ExitCause::Protocol, reason));
    }
    for (mode, reason) in [
        ("twice", "it said twice that it is ready"),
        ("unasked", "it answered run 0, which waits for none"),
    ] {
        let mut pool = Pool::ready(options(&["bad", mode])).await;
        let (cause, text) = pool.exited().await;
        assert_eq!((cause, text.trim_end()), (ExitCause::Protocol, reason));
    }
    for (mode, reason) in [
        ("disorder", "it answered run 1 before run 0"),
        ("many-disorder", "it answered run 1 before run 0"),
        (
            "many-too-new",
            "it sent a run, which its version does not have",
        ),
        ("many-too-few", "it sent a run of answers that is none"),
        (
            "print",
            "it wrote \"oops, I printed this to standard output\\n\"",
        ),
        ("close", "it closed its pipes and did not end"),
    ] {
        let mut pool = Pool::ready(options(&["bad", mode])).await;
        pool.run(0, "noop", "");
        pool.run(0, "noop", "");
        let (cause, text) = pool.exited().await;
        assert_eq!(cause, ExitCause::Protocol, "{mode}");
        assert!(text.starts_with(reason), "{mode}: {text}");
    }
}

/// A run is only an encoding: all before what is wrong counts.
#[tokio::test]
async fn answers_before_one_too_many_count() {
    let mut pool = Pool::ready(options(&["bad", "many-unasked"])).await;
    let two = [pool.run(0, "noop", ""), pool.run(0, "noop", "")];
    for attempt in two {
        assert_eq!(pool.done(attempt).await.0, RunEnd::Completed);
    }
    let (cause, text) = pool.exited().await;
    let reason = "it answered run 2, which waits for none";
    assert_eq!((cause, text.trim_end()), (ExitCause::Protocol, reason));
}

/// Those of version 1.0, which ends at a run, and of 1.1; results of all sizes, some of them too large.
#[tokio::test]
async fn attempts_in_a_row_end_one_by_one() {
    for mode in ["pool", "ignorant"] {
        let mut options = options(&[mode]);
        options.payload_max = 5_000;
        let mut pool = Pool::ready(options).await;
        let sizes: Vec<usize> = (0..3_000_usize)
            .map(|index| index * index % 6_007)
            .collect();
        let attempts: Vec<_> = sizes
            .iter()
            .map(|&size| pool.run(0, "echo", vec![size as u8; size]))
            .collect();
        for (attempt, size) in attempts.into_iter().zip(sizes) {
            match pool.done(attempt).await {
                (RunEnd::Completed, result) => {
                    assert_eq!(result[..], vec![size as u8; size], "{mode}");
                    assert!(size <= 5_000, "{mode}");
                }
                (RunEnd::Failed(error), _) => {
                    assert_eq!(error.kind, ErrorKind::ResultTooLarge, "{mode}");
                    assert!(size > 5_000, "{mode}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_program_that_never_gets_ready_is_killed() {
    let mut options = script("exec sleep 86400");
    options.ready_timeout = std::time::Duration::from_millis(20);
    let mut pool = Pool::new(options);
    pool.execute(PoolOutput::Spawn { slot: life(0) });
    let (cause, text) = pool.exited().await;
    assert_eq!(cause, ExitCause::Protocol);
    assert!(text.contains("ready in time"), "{text}");
}

#[tokio::test]
async fn what_was_answered_before_the_end_counts() {
    let mark = mark();
    let mut pool = Pool::ready(options(&["bad", "last-words", &mark])).await;
    for _ in 0..100 {
        pool.run(0, "noop", "");
    }
    // Written, and not looked at again before everything is over.
    pool.turn().await;
    wait_blindly(|| gone(&mark));
    for number in 1..=99 {
        assert_eq!(
            pool.done(number).await,
            (RunEnd::Completed, vec![1; 500].into())
        );
    }
    assert_eq!(
        pool.exited().await,
        (ExitCause::Exit(3), "farewell\n".to_owned())
    );
}

#[tokio::test]
async fn what_one_attempt_prints_is_not_blamed_on_the_next() {
    let mut pool = Pool::ready(options(&["tasks"])).await;
    let file = std::env::temp_dir().join(format!("argon-{}", mark()));
    let path = file.to_str().unwrap().to_owned();
    let one = pool.run(0, "say", "the first");
    let two = pool.run(0, "fail-when-told", path);
    assert_eq!(pool.done(one).await.0, RunEnd::Completed);
    std::fs::write(&file, "").unwrap();
    let (RunEnd::Failed(error), _) = pool.done(two).await else {
        panic!("it did not fail");
    };
    std::fs::remove_file(&file).unwrap();
    assert_eq!(error.stderr, "told\n");
}

#[tokio::test]
async fn a_result_that_is_too_large_fails_its_attempt_only() {
    for mode in ["pool", "ignorant"] {
        let mut options = options(&[mode]);
        options.payload_max = 100_000;
        let mut pool = Pool::ready(options).await;
        // Some larger than a frame may be, some only larger than a payload may be.
        for size in [100_000, 100_001, 300_000, 1_000_000, 5_000_000, 1] {
            let (end, result) = pool.call("echo", vec![1; size]).await;
            if size <= 100_000 {
                assert_eq!((end, result.len()), (RunEnd::Completed, size), "{mode}");
            } else {
                let RunEnd::Failed(error) = end else {
                    panic!("{mode}: {size} went through")
                };
                assert_eq!(error.kind, ErrorKind::ResultTooLarge, "{mode}");
                assert!(
                    error.message.contains(&size.to_string()),
                    "{mode}: {error:?}"
                );
            }
        }
    }
}

#[tokio::test]
async fn memory_is_measured_and_named_as_the_cause() {
    let mut options = options(&["tasks"]);
    options.memory_limit = Some(64 << 20);
    options.memory_interval = std::time::Duration::from_millis(5);
    let mut pool = Pool::ready(options).await;
    pool.run(0, "eat", (100u64 << 20).to_string());
    loop {
        match pool.next().await {
            PoolInput::Memory { slot, bytes } if bytes > 64 << 20 => {
                pool.execute(PoolOutput::Kill { slot });
                break;
            }
            PoolInput::Memory { bytes, .. } => assert!(bytes < 200 << 20),
            event => panic!("{event:?}"),
        }
    }
    loop {
        match pool.next().await {
            PoolInput::Memory { .. } => {}
            PoolInput::Exited { cause, .. } => break assert_eq!(cause, ExitCause::Memory),
            event => panic!("{event:?}"),
        }
    }
}

#[tokio::test]
async fn what_is_said_to_an_earlier_life_is_not_heard() {
    let mut pool = Pool::ready(options(&["pool"])).await;
    let mut old = life(0);
    old.life -= 1;
    pool.execute(PoolOutput::Kill { slot: old });
    pool.execute(PoolOutput::Retire { slot: old });
    assert_eq!(
        pool.call("echo", "here").await,
        (RunEnd::Completed, "here".into())
    );
}

#[tokio::test]
async fn killing_what_has_not_begun_to_start_is_answered() {
    let mut pool = Pool::new(options(&["pool"]));
    pool.execute(PoolOutput::Spawn { slot: life(0) });
    pool.execute(PoolOutput::Kill { slot: life(0) });
    assert_eq!(pool.exited().await.0, ExitCause::Signal(9));
}
