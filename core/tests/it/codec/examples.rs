//! One message of every kind and of every shape within it, for the golden vectors.
//!
//! Numbers are such that a field read at a wrong offset or in a wrong order shows.

use argon_core::capabilities::Capabilities;
use argon_core::ids::*;
use argon_core::message::*;
use argon_core::name::Name;
use argon_core::payload::{Content, Payload};
use argon_core::status::*;
use argon_core::task::*;
use argon_core::time::Nanos;

use super::runs;

const PEER: PeerId = PeerId(0x1122_3344_5566_7788);
const EPOCH: Epoch = Epoch(0xa1a2_a3a4_a5a6_a7a8);
const SECOND: u64 = 1_000_000_000;

fn name(text: &str) -> Name {
    Name::new(text).expect("a good name")
}

pub(crate) fn hello() -> Hello {
    Hello {
        magic: MAGIC,
        version: Version::FIRST,
        role: Role::Client,
        peer: PEER,
        connection: 1,
        session: None,
        name: name("alice"),
    }
}

fn welcome() -> Welcome {
    Welcome {
        version: Version::FIRST,
        epoch: EPOCH,
        resumed: false,
        lease: Nanos(2 * SECOND),
        payload_max: 64 * 1024 * 1024,
    }
}

pub(crate) fn submit() -> Submit {
    Submit {
        seq: 7,
        priority: Priority::NORMAL,
        max_attempts: 3,
        at_most_once: false,
        may_have_run: false,
        deadline: Nanos(10 * SECOND),
        max_wait: Nanos::NONE,
        time_limit: Nanos(5 * SECOND),
        name: name("echo"),
    }
}

pub(crate) fn attempt() -> Attempt {
    Attempt {
        epoch: EPOCH,
        number: 42,
    }
}

pub(crate) fn assign() -> Assign {
    Assign {
        attempt: attempt(),
        task: task(),
        at_most_once: true,
        deadline: Nanos(10 * SECOND),
        time_limit: Nanos::NONE,
        name: name("echo"),
    }
}

fn task() -> TaskId {
    TaskId {
        client: PEER,
        seq: 7,
    }
}

pub(crate) fn reported() -> ReportedAttempt {
    ReportedAttempt {
        attempt: attempt(),
        task: task(),
    }
}

pub(crate) fn finished() -> Finished {
    Finished {
        attempt: attempt(),
        task: task(),
        ran: Nanos(1_500),
        end: AttemptEnd::Completed,
    }
}

fn error(kind: ErrorKind) -> TaskError {
    TaskError {
        kind,
        message: "no such file: é.txt".into(),
        backtrace: "at line 3".into(),
        stderr: "warning\n".into(),
    }
}

fn history() -> Vec<AttemptRecord> {
    [
        AttemptLoss::WorkerGone,
        AttemptLoss::WorkerSilent,
        AttemptLoss::WorkerReplaced,
        AttemptLoss::WorkerDrained,
        AttemptLoss::ChildCrashed(ExitCause::Signal(9)),
    ]
    .map(|end| AttemptRecord {
        worker: name("w1"),
        end,
    })
    .to_vec()
}

pub(crate) fn status() -> StatusReport {
    StatusReport {
        manager: ManagerStatus {
            epoch: EPOCH,
            uptime: Nanos(60 * SECOND),
            draining: false,
            queued: 1,
            queued_by_priority: [0, 1, 2, 3, 4, 5, 6, 7],
            queued_bytes: 2,
            queue_size: 3,
            queue_bytes: 4,
            returning: 5,
            unroutable: 1,
            unclaimed: 6,
            assigned: 7,
            unacknowledged: 8,
            orphans: 9,
            waiting: 2,
            oldest_wait: Nanos(10),
            estimated_wait: Nanos(11),
            capacity: 12,
            workers: 13,
            clients: 14,
            accepted: 15,
            rejected: 16,
            displaced: 17,
            completed: 18,
            not_completed: 19,
            attempts_lost: 20,
            rate: 21,
        },
        workers: vec![WorkerStatus {
            id: PeerId(1),
            name: name("w1"),
            holder: None,
            connected: true,
            address: Some(name("10.0.0.7:40000")),
            version: Some(Version { major: 1, minor: 2 }),
            draining: false,
            doubted: true,
            capacity: 2,
            window: 3,
            assigned: 4,
            oldest: Nanos(5),
            finished: 6,
            failed: 7,
            average: Nanos(8),
            slowness: 1_000,
            last_heard: Nanos(9),
        }],
        clients: vec![ClientStatus {
            id: PEER,
            name: name("alice"),
            holder: Some(name("alice")),
            connected: true,
            address: Some(name("10.0.0.7:40000")),
            version: Some(Version { major: 1, minor: 2 }),
            queued: 1,
            assigned: 2,
            unacknowledged: 3,
            finished: 4,
            rejected: 5,
            last_heard: Nanos(6),
        }],
        groups: vec![GroupStatus {
            workers: 2,
            names: vec![name("add"), name("perl:*")],
            more: 1,
        }],
        more: true,
    }
}

/// A short name for the file, and the message.
pub(crate) type Example<B> = (String, Message<B>);

pub(crate) fn with_payload<B>(body: B, payload: &'static [u8]) -> Message<B> {
    holding(Content::BYTES, body, payload)
}

fn holding<B>(content: Content, body: B, payload: &'static [u8]) -> Message<B> {
    Message {
        body,
        payload: Payload::new(content, payload),
    }
}

/// `kind` and a number, for the shapes of one message.
fn numbered<B>(kind: &str, bodies: impl IntoIterator<Item = B>, all: &mut Vec<Example<B>>) {
    for (at, body) in bodies.into_iter().enumerate() {
        all.push((format!("{kind}_{at}"), body.into()));
    }
}

const CAUSES: [ExitCause; 5] = [
    ExitCause::Exit(3),
    ExitCause::Signal(9),
    ExitCause::NotStarted,
    ExitCause::Protocol,
    ExitCause::Memory,
];

fn error_kinds() -> Vec<ErrorKind> {
    let mut kinds = vec![
        ErrorKind::Raised("OSError".into()),
        ErrorKind::Exit(-1),
        ErrorKind::Signal(11),
        ErrorKind::TimeLimit,
        ErrorKind::MemoryLimit,
    ];
    kinds.extend(CAUSES.map(ErrorKind::Crashed));
    kinds.extend([
        ErrorKind::UnknownTask,
        ErrorKind::BadPayload,
        ErrorKind::ResultTooLarge,
        ErrorKind::Unavailable,
    ]);
    kinds
}

const REASONS: [RejectReason; 10] = [
    RejectReason::QueueFull,
    RejectReason::QueueBytesFull,
    RejectReason::Displaced,
    RejectReason::ClientFull,
    RejectReason::InFlightFull,
    RejectReason::TooSlow,
    RejectReason::Draining,
    RejectReason::NoWorkers,
    RejectReason::TooLarge,
    RejectReason::NoRunner,
];

pub(crate) fn last_attempt() -> LastAttempt {
    LastAttempt {
        ran: Nanos(1_500),
        waited: Nanos(2_500),
        worker: name("w1"),
    }
}

fn outcomes() -> Vec<Outcome> {
    vec![
        Outcome::Failed(Box::new(Failure {
            error: error(ErrorKind::Exit(1)),
            last: last_attempt(),
            history: history(),
        })),
        Outcome::Expired {
            may_have_run: false,
        },
        Outcome::Cancelled { may_have_run: true },
        Outcome::Lost { history: history() },
        Outcome::Lost {
            history: Vec::new(),
        },
        Outcome::Rejected {
            reason: RejectReason::QueueFull,
            retries: 10,
            similar: Vec::new(),
        },
        Outcome::Rejected {
            reason: RejectReason::NoRunner,
            retries: 0,
            similar: vec![name("echo")],
        },
    ]
}

/// Every message of the native protocol.
#[expect(clippy::too_many_lines, reason = "a list")]
pub(crate) fn native() -> Vec<Example<Said>> {
    let mut all: Vec<Example<Said>> = Vec::new();
    let mut add = |name: &str, body: Said| all.push((name.into(), body.into()));
    add("hello_client", Said::ToManager(ToManager::Hello(hello())));
    add(
        "hello_worker_resuming",
        Said::ToManager(ToManager::Hello(Hello {
            role: Role::Worker { capacity: 8 },
            connection: 2,
            session: Some(EPOCH),
            name: name("wörker"),
            ..hello()
        })),
    );
    add(
        "hello_observer",
        Said::ToManager(ToManager::Hello(Hello {
            role: Role::Observer,
            ..hello()
        })),
    );
    add("welcome", Control::Welcome(welcome()).into());
    add(
        "welcome_resumed",
        Control::Welcome(Welcome {
            resumed: true,
            ..welcome()
        })
        .into(),
    );
    numbered(
        "refuse",
        [
            RefuseReason::Version(Version::FIRST),
            RefuseReason::OldConnection,
            RefuseReason::Full,
            RefuseReason::BadHello,
            RefuseReason::BadCapacity,
            RefuseReason::Replaced,
            RefuseReason::KeyRequired,
            RefuseReason::NotAllowed,
            RefuseReason::OtherHolder,
        ]
        .map(|value| Control::Refuse(value).into()),
        &mut all,
    );
    let beat = Beat {
        nonce: 5,
        received: 1_000,
    };
    let mut add = |name: &str, body: Said| all.push((name.into(), body.into()));
    add("ping", Said::ToManager(ToManager::Ping(beat)));
    add("pong", Control::Pong(beat).into());
    add("goodbye", Said::ToManager(ToManager::Goodbye));
    all.push((
        "submit".into(),
        with_payload(FromClient::Submit(submit()).into(), b"hello"),
    ));
    all.push((
        "submit_json".into(),
        holding(
            Content::JSON,
            FromClient::Submit(submit()).into(),
            b"[4, 7]",
        ),
    ));
    let mut add = |name: &str, body: Said| all.push((name.into(), body.into()));
    add("cancel", FromClient::Cancel { seq: 7 }.into());
    add("resume", FromClient::Resume { seqs: vec![7, 9] }.into());
    add(
        "resume_nothing",
        FromClient::Resume { seqs: Vec::new() }.into(),
    );
    add(
        "ack_outcomes",
        FromClient::AckOutcomes {
            floor: 8,
            seqs: vec![10, 12],
        }
        .into(),
    );
    add("status_query", Query::StatusQuery { page: 1 }.into());
    let completed = Outcome::Completed(Completion {
        last: last_attempt(),
        charged: 1,
    });
    all.push((
        "outcome_completed".into(),
        with_payload(
            ToClient::Outcome {
                seq: 7,
                outcome: completed,
            }
            .into(),
            b"result",
        ),
    ));
    let outcome = |outcome| ToClient::Outcome { seq: 7, outcome }.into();
    numbered("outcome", outcomes().into_iter().map(outcome), &mut all);
    let reject = |reason| {
        ToClient::Reject {
            seq: 7,
            reason,
            retry_after: Nanos(SECOND / 10),
            may_have_run: false,
            similar: Vec::new(),
        }
        .into()
    };
    numbered("reject", REASONS.map(reject), &mut all);
    let mut add = |name: &str, body: Said| all.push((name.into(), body.into()));
    add(
        "reject_naming",
        ToClient::Reject {
            seq: 7,
            reason: RejectReason::NoRunner,
            retry_after: Nanos::ZERO,
            may_have_run: false,
            similar: vec![name("echo"), name("each")],
        }
        .into(),
    );
    add("unknown", ToClient::Unknown { seqs: vec![9] }.into());
    add("status", ToObserver::Status(Box::new(status())).into());
    all.push((
        "assign".into(),
        with_payload(ToWorker::Assign(assign()).into(), b"hello"),
    ));
    to_and_from_workers(&mut all);
    runs::examples(&mut all);
    all
}

fn to_and_from_workers(all: &mut Vec<Example<Said>>) {
    let attempts = vec![attempt()];
    let mut add = |name: &str, body: Said| all.push((name.into(), body.into()));
    add(
        "recall",
        ToWorker::Recall {
            attempts: attempts.clone(),
        }
        .into(),
    );
    add("kill", ToWorker::Kill { attempt: attempt() }.into());
    add(
        "ack_results",
        ToWorker::AckResults {
            attempts: attempts.clone(),
        }
        .into(),
    );
    add("resend", ToWorker::Resend { attempt: attempt() }.into());
    add(
        "report",
        FromWorker::Report(Report {
            running: vec![reported()],
            finished: vec![ReportedAttempt {
                task: TaskId { seq: 8, ..task() },
                ..reported()
            }],
            last: true,
        })
        .into(),
    );
    add("grant", FromWorker::Grant { window: 16 }.into());
    all.push((
        "finished_completed".into(),
        with_payload(FromWorker::Finished(finished()).into(), b"result"),
    ));
    let mut ends: Vec<_> = error_kinds()
        .into_iter()
        .map(|kind| AttemptEnd::Failed(Box::new(error(kind))))
        .collect();
    ends.extend(CAUSES.map(|cause| AttemptEnd::Crashed(cause, "last words".into())));
    ends.extend([AttemptEnd::Killed, AttemptEnd::Expired]);
    let finished = |end| FromWorker::Finished(Finished { end, ..finished() }).into();
    numbered("finished", ends.into_iter().map(finished), all);
    let mut add = |name: &str, body: Said| all.push((name.into(), body.into()));
    add(
        "returned",
        FromWorker::Returned {
            not_started: attempts,
            started: Vec::new(),
        }
        .into(),
    );
    add("draining", FromWorker::Draining.into());
    add(
        "capabilities",
        FromWorker::Capabilities(capabilities()).into(),
    );
    add(
        "capabilities_anything",
        FromWorker::Capabilities(Capabilities::anything()).into(),
    );
    add(
        "within",
        FromClient::Within(PoolProcess {
            worker: PeerId(0x0102_0304_0506_0708),
            slot: SlotId(3),
            life: 4,
        })
        .into(),
    );
    add(
        "gone",
        FromWorker::Gone {
            slot: SlotId(3),
            life: 4,
        }
        .into(),
    );
    add("paused", Control::Paused.into());
    add("running_query", Query::RunningQuery { page: 0 }.into());
    let running = RunningTask {
        task: task(),
        name: name("echo"),
        worker: name("w1"),
        age: Nanos(SECOND),
    };
    let report = RunningReport {
        tasks: vec![running],
        more: false,
    };
    add("running", ToObserver::Running(Box::new(report)).into());
}

fn capabilities() -> Capabilities {
    Capabilities::new([name("add"), name("perl:*")]).expect("few names")
}

/// Every message of the pool protocol.
pub(crate) fn pool() -> Vec<Example<PoolBody>> {
    let id = 3;
    let ran = Nanos(1_500);
    let mut all: Vec<Example<PoolBody>> = vec![
        (
            "ready".into(),
            PoolBody::Ready {
                magic: MAGIC,
                version: Version::FIRST,
                capabilities: capabilities(),
            }
            .into(),
        ),
        (
            "run".into(),
            with_payload(
                PoolBody::Run {
                    id,
                    name: name("echo"),
                },
                b"hello",
            ),
        ),
        (
            "completed".into(),
            with_payload(PoolBody::Completed { id, ran }, b"hello"),
        ),
    ];
    let failed = |kind| PoolBody::Failed {
        id,
        ran,
        error: error(kind),
    };
    numbered("failed", error_kinds().into_iter().map(failed), &mut all);
    let ready = PoolBody::Ready {
        magic: MAGIC,
        version: POOL_RUNS,
        capabilities: capabilities(),
    };
    all.push(("ready_1_1".into(), ready.into()));
    runs::pool_examples(&mut all);
    all
}
