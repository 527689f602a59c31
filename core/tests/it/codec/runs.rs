//! Runs: examples for the golden vectors, and any at all.

use argon_core::message::*;
use argon_core::name::Name;
use argon_core::task::RejectReason;
use argon_core::time::Nanos;
use proptest::collection::vec;
use proptest::prelude::*;

use super::examples::{Example, assign, attempt, reported, submit, with_payload};
use super::generate;

pub(crate) fn examples(all: &mut Vec<Example<Said>>) {
    let mut add = |name: &str, body: Said, payload: &'static [u8]| {
        all.push((name.into(), with_payload(body, payload)));
    };
    let sizes = vec![5, 0, 2];
    let run = Run {
        first: submit(),
        sizes: sizes.clone(),
    };
    add(
        "submit_run",
        FromClient::SubmitRun(run.into()).into(),
        b"helloyo",
    );
    let run = Run {
        first: assign(),
        sizes,
    };
    add(
        "assign_run",
        ToWorker::AssignRun(run.into()).into(),
        b"helloyo",
    );
    let end = |offset, ran, size| End { offset, ran, size };
    let ends = Ends {
        first: reported(),
        ends: vec![end(1, 1_500, 6), end(0, 1_700, 2)],
    };
    let body = FromWorker::FinishedRun(ends.into());
    add("finished_run", body.into(), b"resultok");
    let ends = Ends {
        first: Completed {
            seq: 7,
            waited: Nanos(2_500),
            charged: 1,
            worker: Name::new("w1").expect("a good name"),
        },
        ends: vec![end(1, 1_500, 6), end(0, 1_700, 2)],
    };
    let body = ToClient::OutcomeRun(ends.into());
    add("outcome_run", body.into(), b"resultok");
    let rejections = Rejections {
        first: 7,
        count: 3,
        reason: RejectReason::QueueFull,
        retry_after: Nanos(50_000_000),
        may_have_run: false,
    };
    add("reject_run", ToClient::RejectRun(rejections).into(), b"");
    let rows = vec![AttemptRun {
        first: attempt(),
        count: 3,
    }];
    add(
        "ack_result_runs",
        ToWorker::AckResultRuns { rows }.into(),
        b"",
    );
}

/// Runs of the pool protocol.
pub(crate) fn pool_examples(all: &mut Vec<Example<PoolBody>>) {
    let first = Asked {
        id: 3,
        name: Name::new("echo").expect("a good name"),
    };
    let sizes = vec![5, 0, 2];
    let run = PoolBody::RunMany(Box::new(Run { first, sizes }));
    all.push(("run_many".into(), with_payload(run, b"helloyo")));
    let answer = |ran, size| Answer { ran, size };
    let answers = vec![answer(1_500, 5), answer(1_700, 0), answer(1_900, 2)];
    let answers = PoolBody::CompletedMany(Box::new(Answers { first: 3, answers }));
    all.push(("completed_many".into(), with_payload(answers, b"helloyo")));
}

fn reported_any() -> impl Strategy<Value = ReportedAttempt> {
    (generate::attempt(), generate::task_id())
        .prop_map(|(attempt, task)| ReportedAttempt { attempt, task })
}

fn sizes() -> impl Strategy<Value = Vec<u32>> {
    vec(any::<u32>(), 0..20)
}

fn ends() -> impl Strategy<Value = Vec<End>> {
    let end = any::<(u16, u32, u32)>();
    let end = end.prop_map(|(offset, ran, size)| End { offset, ran, size });
    vec(end, 0..20)
}

/// Any run of the pool protocol, whether it makes sense or not.
pub(crate) fn any_pool_run() -> impl Strategy<Value = PoolBody> {
    let answer = any::<(u32, u32)>().prop_map(|(ran, size)| Answer { ran, size });
    prop_oneof![
        (any::<u64>(), generate::name(), sizes()).prop_map(|(id, name, sizes)| {
            let first = Asked { id, name };
            PoolBody::RunMany(Box::new(Run { first, sizes }))
        }),
        (any::<u64>(), vec(answer, 0..20)).prop_map(|(first, answers)| {
            PoolBody::CompletedMany(Box::new(Answers { first, answers }))
        }),
    ]
}

/// Any run, whether it makes sense or not.
pub(crate) fn any_run() -> Vec<BoxedStrategy<Said>> {
    vec![
        (generate::submit(), sizes())
            .prop_map(|(first, sizes)| {
                Said::from(FromClient::SubmitRun(Box::new(Run { first, sizes })))
            })
            .boxed(),
        (reported_any(), ends())
            .prop_map(|(first, ends)| {
                Said::from(FromWorker::FinishedRun(Box::new(Ends { first, ends })))
            })
            .boxed(),
        (generate::assign(), sizes())
            .prop_map(|(first, sizes)| {
                Said::from(ToWorker::AssignRun(Box::new(Run { first, sizes })))
            })
            .boxed(),
        (
            any::<u64>(),
            generate::nanos(),
            any::<u8>(),
            generate::name(),
            ends(),
        )
            .prop_map(|(seq, waited, charged, worker, ends)| {
                let first = Completed {
                    seq,
                    waited,
                    charged,
                    worker,
                };
                Said::from(ToClient::OutcomeRun(Box::new(Ends { first, ends })))
            })
            .boxed(),
        (
            any::<u64>(),
            0..=4_096_u32,
            generate::reason(),
            generate::nanos(),
            any::<bool>(),
        )
            .prop_map(|(first, count, reason, retry_after, may_have_run)| {
                Said::from(ToClient::RejectRun(Rejections {
                    first,
                    count,
                    reason,
                    retry_after,
                    may_have_run,
                }))
            })
            .boxed(),
        vec((generate::attempt(), 0..100_u32), 0..5)
            .prop_map(|rows| {
                let row = |(first, count)| AttemptRun { first, count };
                let rows = rows.into_iter().map(row).collect();
                Said::from(ToWorker::AckResultRuns { rows })
            })
            .boxed(),
    ]
}
