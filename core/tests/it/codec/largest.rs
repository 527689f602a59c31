//! The largest legal message of every kind fits into a header, and comes out again.

use argon_core::codec;
use argon_core::ids::*;
use argon_core::limits::HOLDER_MAX;
use argon_core::limits::*;
use argon_core::message::*;
use argon_core::name::Name;
use argon_core::status::*;
use argon_core::task::*;
use argon_core::time::Nanos;

use super::{examples, frame};

fn name() -> Name {
    Name::new(&"n".repeat(NAME_MAX)).expect("just short enough")
}

fn text() -> String {
    "t".repeat(ERROR_TEXT_MAX)
}

fn error() -> TaskError {
    TaskError {
        kind: ErrorKind::Raised(text()),
        message: text(),
        backtrace: text(),
        stderr: text(),
    }
}

fn fits(said: impl Into<Said>) {
    fits_alone::<Said>(said.into());
}

fn fits_alone<B>(body: B)
where
    B: bincode::Encode + bincode::Decode<()> + PartialEq + std::fmt::Debug,
{
    let message = Message::from(body);
    let mut bytes = frame(&message);
    assert!(bytes.len() <= HEADER_MAX + codec::LENGTH_BYTES);
    let back = codec::decode::<B>(&mut bytes, HEADER_MAX).expect("a legal message");
    assert_eq!(back, Some(message));
}

#[test]
fn a_hello_fits_into_the_frame_that_strangers_may_send() {
    let hello = Hello {
        session: Some(Epoch(1)),
        name: name(),
        role: Role::Worker { capacity: 1 },
        ..examples::hello()
    };
    let message = Message::from(Said::ToManager(ToManager::Hello(hello)));
    assert!(codec::decode::<Said>(&mut frame(&message), HELLO_FRAME_MAX).is_ok());
}

#[test]
fn the_largest_errors_fit() {
    let record = AttemptRecord {
        worker: name(),
        end: AttemptLoss::ChildCrashed(ExitCause::Exit(1)),
    };
    let history = vec![record; usize::from(ATTEMPTS_MAX)];
    let outcome = |outcome| ToClient::Outcome { seq: 1, outcome };
    fits(outcome(Outcome::Failed(Box::new(Failure {
        error: error(),
        last: LastAttempt {
            worker: name(),
            ..examples::last_attempt()
        },
        history: history.clone(),
    }))));
    fits(outcome(Outcome::Lost { history }));
    let finished = |end| {
        FromWorker::Finished(Finished {
            end,
            ..examples::finished()
        })
    };
    fits(finished(AttemptEnd::Failed(Box::new(error()))));
    fits(finished(AttemptEnd::Crashed(ExitCause::Exit(1), text())));
    fits_alone(PoolBody::Failed {
        id: 1,
        ran: Nanos(1),
        error: error(),
    });
}

#[test]
fn the_longest_lists_fit() {
    let first = Asked {
        id: u64::MAX,
        name: name(),
    };
    let sizes = vec![u32::MAX; RUN_TASKS_MAX];
    fits_alone(PoolBody::RunMany(Box::new(Run { first, sizes })));
    let (ran, size, first) = (u32::MAX, u32::MAX, 0);
    let answers = vec![Answer { ran, size }; RUN_TASKS_MAX];
    fits_alone(PoolBody::CompletedMany(Box::new(Answers {
        first,
        answers,
    })));
    let attempt = examples::attempt();
    let attempts = vec![attempt; IDS_MAX];
    let seqs = vec![u64::MAX; IDS_MAX];
    fits(FromClient::Resume { seqs: seqs.clone() });
    fits(ToClient::Unknown { seqs: seqs.clone() });
    fits(FromClient::AckOutcomes { floor: 1, seqs });
    fits(ToWorker::Recall {
        attempts: attempts.clone(),
    });
    fits(ToWorker::AckResults {
        attempts: attempts.clone(),
    });
    fits(FromWorker::Returned {
        not_started: attempts.clone(),
        started: Vec::new(),
    });
    fits(FromWorker::Returned {
        not_started: Vec::new(),
        started: attempts,
    });
    fits(FromClient::SubmitRun(Box::new(Run {
        first: examples::submit(),
        sizes: vec![0; IDS_MAX],
    })));
    let end = End {
        offset: 1,
        ran: 1,
        size: 0,
    };
    fits(FromWorker::FinishedRun(Box::new(Ends {
        first: examples::reported(),
        ends: vec![end; IDS_MAX],
    })));
    let rows = vec![
        AttemptRun {
            first: attempt,
            count: 1,
        };
        IDS_MAX
    ];
    fits(ToWorker::AckResultRuns { rows });
    let reported = vec![examples::reported(); IDS_MAX];
    for split in [0, 1, IDS_MAX / 2, IDS_MAX] {
        fits(FromWorker::Report(Report {
            running: reported[..split].to_vec(),
            finished: reported[split..].to_vec(),
            last: true,
        }));
    }
}

#[test]
fn a_full_page_of_status_fits() {
    let mut report = examples::status();
    let holder = Name::new(&"x".repeat(HOLDER_MAX)).unwrap();
    let address = Name::new("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295]:65535").unwrap();
    report.workers = vec![
        WorkerStatus {
            name: name(),
            address: Some(address.clone()),
            holder: Some(holder.clone()),
            ..report.workers[0].clone()
        };
        STATUS_PAGE
    ];
    report.clients = vec![
        ClientStatus {
            name: name(),
            address: Some(address.clone()),
            holder: Some(holder.clone()),
            ..report.clients[0].clone()
        };
        STATUS_PAGE
    ];
    fits(ToObserver::Status(Box::new(report)));
}
