//! A worker and runs: it takes assignments from them, and says ends in them, as if one by one.

use std::time::Duration;

use argon_core::event::CloseReason;
use argon_core::ids::TaskId;
use argon_core::limits::{RUN_TASKS_MAX, WINDOW_MAX};
use argon_core::link::LinkOutput;
use argon_core::machine::Machine as _;
use argon_core::message::*;
use argon_core::payload::Payload;
use argon_core::protocol_error::ProtocolError;
use argon_core::task::{ErrorKind, TaskError};
use argon_core::worker::{PoolOutput, RunEnd, WorkerOutput};

use super::bench::*;

fn up() -> Rig {
    let mut rig = Rig::ready(config(4));
    rig.version = VERSION;
    rig.connect();
    rig
}

fn run(sizes: &[u32]) -> Message<FromManager<ToWorker>> {
    let run = Run {
        first: assign(1),
        sizes: sizes.to_vec(),
    };
    let total = sizes.iter().sum::<u32>();
    Message {
        body: FromManager::Role(ToWorker::AssignRun(run.into())),
        payload: Payload::from(vec![b'a'; total as usize]),
    }
}

/// The attempts that slots were given, and how long their arguments are.
fn given(outputs: &[WorkerOutput]) -> Vec<(u64, usize)> {
    let of = |output: &WorkerOutput| match output {
        WorkerOutput::Pool(PoolOutput::Run { job, .. }) => {
            Some((job.attempt.number, job.payload.len()))
        }
        _ => None,
    };
    outputs.iter().filter_map(of).collect()
}

/// What was said of ends: the number of the first attempt, and of the others.
fn ended(outputs: &[WorkerOutput]) -> Vec<Vec<u64>> {
    let of = |output: &WorkerOutput| {
        let WorkerOutput::Link(LinkOutput::Send { message, .. }) = output else {
            return None;
        };
        match &message.body {
            ToManager::Worker(FromWorker::Finished(finished)) => {
                Some(vec![finished.attempt.number])
            }
            ToManager::Worker(FromWorker::FinishedRun(ends)) => {
                let first = ends.first.attempt.number;
                let numbers = ends.ends.iter();
                Some(numbers.map(|end| first + u64::from(end.offset)).collect())
            }
            _ => None,
        }
    };
    outputs.iter().filter_map(of).collect()
}

#[test]
fn each_assignment_of_a_run_is_run() {
    let mut rig = up();
    rig.say(run(&[1, 0, 2]));
    assert_eq!(given(&rig.step()), [(1, 1), (2, 0), (3, 2)]);
}

#[test]
fn ends_of_one_step_are_said_in_a_run_and_forgotten_by_one() {
    let mut rig = up();
    rig.say(run(&[1, 1, 1]));
    rig.step();
    for (slot, number) in [(1, 2), (0, 1), (2, 3)] {
        rig.done(life(slot, 1), number, Duration::from_micros(5));
    }
    // The first says nothing of what has a lower number.
    assert_eq!(ended(&rig.step()), [vec![2], vec![1, 3]]);
    assert_eq!(rig.worker.load().held, 3);
    let rows = vec![AttemptRun {
        first: attempt(1),
        count: 3,
    }];
    rig.say(FromManager::Role(ToWorker::AckResultRuns { rows }));
    assert_eq!(rig.worker.load().held, 0);
}

#[test]
fn ends_of_other_clients_tasks_are_said_alone() {
    let mut rig = up();
    rig.say(run(&[1, 1]));
    let other = TaskId {
        client: argon_core::ids::PeerId(99),
        seq: 3,
    };
    rig.assign(Assign {
        task: other,
        ..assign(3)
    });
    rig.step();
    for (slot, number) in [(0, 1), (1, 2), (2, 3)] {
        rig.done(life(slot, 1), number, Duration::from_micros(5));
    }
    assert_eq!(ended(&rig.step()), [vec![1, 2], vec![3]]);
}

#[test]
fn what_did_not_complete_is_said_alone_and_begins_no_run() {
    let mut rig = up();
    rig.say(run(&[1, 1, 1, 1]));
    rig.step();
    for (slot, number) in [(0, 1), (1, 2), (2, 3), (3, 4)] {
        let end = if number == 2 {
            let error = TaskError::new(ErrorKind::Exit(1), "no");
            RunEnd::Failed(error.into())
        } else {
            RunEnd::Completed
        };
        rig.ended(life(slot, 1), number, Duration::from_micros(5), end);
    }
    assert_eq!(ended(&rig.step()), [vec![1], vec![2], vec![3, 4]]);
}

#[test]
fn a_result_that_is_too_large_is_of_no_run() {
    let mut rig = Rig::ready(config(4));
    rig.version = VERSION;
    rig.payload_max = 4;
    rig.connect();
    rig.say(run(&[1, 1]));
    rig.step();
    for (slot, number) in [(0, 1), (1, 2)] {
        // Its result has eight bytes.
        rig.done(life(slot, 1), number, Duration::from_micros(5));
    }
    let outputs = rig.step();
    assert_eq!(ended(&outputs), [vec![1], vec![2]]);
    let completed = |output: &WorkerOutput| {
        let finished = format!("{output:?}");
        finished.contains("Completed")
    };
    assert!(!outputs.iter().any(completed));
}

#[test]
fn a_run_beyond_the_window_ends_where_that_does() {
    let mut rig = up();
    let run = |first| Run {
        first: assign(first),
        sizes: vec![0; RUN_TASKS_MAX],
    };
    // What is given to slots does not wait, so one run more than the window has.
    for part in 0..=u64::from(WINDOW_MAX) / RUN_TASKS_MAX as u64 {
        let run = run(part * RUN_TASKS_MAX as u64);
        rig.say(FromManager::Role(ToWorker::AssignRun(run.into())));
    }
    assert_eq!(rig.worker.load().waiting, WINDOW_MAX as usize);
    let exceeded = CloseReason::Protocol(ProtocolError::WindowExceeded);
    let closed = |output: &&WorkerOutput| matches!(output, WorkerOutput::Link(LinkOutput::Close { reason, .. }) if *reason == exceeded);
    assert_eq!(rig.step().iter().filter(closed).count(), 1);
    assert_eq!(
        rig.worker.load().given + rig.worker.load().waiting,
        WINDOW_MAX as usize
    );
}

#[test]
fn a_run_that_is_none_closes_the_connection() {
    let mut wrong_size = run(&[1, 1]);
    wrong_size.payload = Payload::from("abc");
    let too_long = run(&[0; RUN_TASKS_MAX + 1]);
    for none in [run(&[]), run(&[1]), too_long, wrong_size] {
        let mut rig = up();
        rig.say(none);
        let outputs = rig.step();
        let bad_run = CloseReason::Protocol(ProtocolError::BadRun);
        let closed = |output: &WorkerOutput| matches!(output, WorkerOutput::Link(LinkOutput::Close { reason, .. }) if *reason == bad_run);
        assert!(outputs.iter().any(closed));
        assert!(given(&outputs).is_empty());
    }
}

/// What a worker says that is about its pool, as it says it.
fn pool_outputs(rig: &mut Rig) -> Vec<PoolOutput> {
    rig.worker.settle(rig.now);
    let outputs = std::iter::from_fn(|| rig.worker.poll_output());
    let pool = outputs.filter_map(|output| match output {
        WorkerOutput::Pool(output) => Some(output),
        _ => None,
    });
    pool.collect()
}

/// First as many as are worth waking a process for, one after the other, then what fills them.
#[test]
fn what_a_slot_is_given_in_one_go_is_said_at_once() {
    let mut rig = knowing(2, Duration::from_micros(1));
    for number in 1..=300 {
        rig.assign(assign(number));
    }
    let outputs = pool_outputs(&mut rig);
    let mut given = Vec::new();
    for output in &outputs {
        match output {
            PoolOutput::RunMany { jobs, .. } => given.push(jobs.len()),
            output => panic!("{output:?}"),
        }
    }
    let jobs = outputs.iter().flat_map(|output| output.clone().singles());
    let numbers = jobs.map(|output| match output {
        PoolOutput::Run { job, .. } => job.attempt.number,
        output => panic!("{output:?}"),
    });
    let numbers: Vec<u64> = numbers.collect();
    assert!(
        numbers.iter().copied().eq(1..=numbers.len() as u64),
        "in order"
    );
    assert!(
        given.len() <= 4 && given.iter().all(|&jobs| jobs > 1),
        "{given:?}"
    );
}

#[test]
fn a_slot_that_is_given_one_attempt_is_told_of_one() {
    let mut rig = up();
    rig.assign(assign(1));
    let outputs = pool_outputs(&mut rig);
    assert!(matches!(&outputs[..], [PoolOutput::Run { job, .. }] if job.attempt == attempt(1)));
}
