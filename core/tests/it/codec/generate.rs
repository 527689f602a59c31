//! Any message that can be sent, drawn by proptest.

use argon_core::capabilities::Capabilities;
use argon_core::ids::{Attempt, Epoch, PeerId, PoolProcess, SlotId, TaskId};
use argon_core::limits::SIMILAR_MAX;
use argon_core::message::*;
use argon_core::name::Name;
use argon_core::payload::{Content, Payload};
use argon_core::status::*;
use argon_core::task::*;
use argon_core::time::Nanos;
use proptest::collection::vec;
use proptest::prelude::*;

use super::{runs, streams};

/// A few items are as good as many: the lengths are what the codec sees.
const ITEMS: usize = 5;

pub(super) fn name() -> impl Strategy<Value = Name> + Clone {
    "[^\\pC]{1,60}".prop_map(|text| Name::new(&text).expect("no control characters"))
}

pub(super) fn nanos() -> impl Strategy<Value = Nanos> + Clone {
    prop_oneof![any::<u64>(), Just(u64::MAX)].prop_map(Nanos)
}

pub(super) fn task_id() -> impl Strategy<Value = TaskId> + Clone {
    any::<(u64, u64)>().prop_map(|(client, seq)| TaskId {
        client: PeerId(client),
        seq,
    })
}

pub(super) fn attempt() -> impl Strategy<Value = Attempt> + Clone {
    any::<(u64, u64)>().prop_map(|(epoch, number)| Attempt {
        epoch: Epoch(epoch),
        number,
    })
}

fn version() -> impl Strategy<Value = Version> {
    any::<(u16, u16)>().prop_map(|(major, minor)| Version { major, minor })
}

fn exit_cause() -> impl Strategy<Value = ExitCause> + Clone {
    prop_oneof![
        any::<i32>().prop_map(ExitCause::Exit),
        any::<i32>().prop_map(ExitCause::Signal),
        Just(ExitCause::NotStarted),
        Just(ExitCause::Protocol),
        Just(ExitCause::Memory),
    ]
}

fn error() -> impl Strategy<Value = TaskError> + Clone {
    let kind = prop_oneof![
        ".*".prop_map(ErrorKind::Raised),
        any::<i32>().prop_map(ErrorKind::Exit),
        any::<i32>().prop_map(ErrorKind::Signal),
        Just(ErrorKind::TimeLimit),
        Just(ErrorKind::MemoryLimit),
        exit_cause().prop_map(ErrorKind::Crashed),
        Just(ErrorKind::UnknownTask),
        Just(ErrorKind::BadPayload),
        Just(ErrorKind::ResultTooLarge),
        Just(ErrorKind::Unavailable),
    ];
    (kind, ".*", ".*", ".*").prop_map(|(kind, message, backtrace, stderr)| TaskError {
        kind,
        message,
        backtrace,
        stderr,
    })
}

fn history() -> impl Strategy<Value = Vec<AttemptRecord>> {
    let end = prop_oneof![
        Just(AttemptLoss::WorkerGone),
        Just(AttemptLoss::WorkerSilent),
        Just(AttemptLoss::WorkerReplaced),
        Just(AttemptLoss::WorkerDrained),
        exit_cause().prop_map(AttemptLoss::ChildCrashed),
    ];
    vec(
        (name(), end).prop_map(|(worker, end)| AttemptRecord { worker, end }),
        0..ITEMS,
    )
}

pub(crate) fn reason() -> impl Strategy<Value = RejectReason> + Clone {
    prop::sample::select(vec![
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
    ])
}

fn similar() -> impl Strategy<Value = Vec<Name>> {
    vec(name(), 0..=SIMILAR_MAX)
}

fn capabilities() -> impl Strategy<Value = Capabilities> {
    vec(name(), 0..ITEMS).prop_map(|names| Capabilities::new(names).expect("few"))
}

fn running() -> impl Strategy<Value = RunningReport> {
    let task =
        (task_id(), name(), name(), nanos()).prop_map(|(task, name, worker, age)| RunningTask {
            task,
            name,
            worker,
            age,
        });
    (vec(task, 0..ITEMS), any::<bool>()).prop_map(|(tasks, more)| RunningReport { tasks, more })
}

fn last_attempt() -> impl Strategy<Value = LastAttempt> {
    (nanos(), nanos(), name()).prop_map(|(ran, waited, worker)| LastAttempt {
        ran,
        waited,
        worker,
    })
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        (last_attempt(), any::<u8>())
            .prop_map(|(last, charged)| Outcome::Completed(Completion { last, charged })),
        (error(), last_attempt(), history()).prop_map(|(error, last, history)| {
            Outcome::Failed(Box::new(Failure {
                error,
                last,
                history,
            }))
        }),
        any::<bool>().prop_map(|may_have_run| Outcome::Expired { may_have_run }),
        any::<bool>().prop_map(|may_have_run| Outcome::Cancelled { may_have_run }),
        history().prop_map(|history| Outcome::Lost { history }),
        (reason(), any::<u32>(), similar()).prop_map(|(reason, retries, similar)| {
            Outcome::Rejected {
                reason,
                retries,
                similar,
            }
        }),
    ]
}

fn hello() -> impl Strategy<Value = Hello> {
    let role = prop_oneof![
        Just(Role::Client),
        any::<u32>().prop_map(|capacity| Role::Worker { capacity }),
        Just(Role::Observer),
    ];
    (
        any::<[u8; 4]>(),
        version(),
        role,
        any::<(u64, u64, Option<u64>)>(),
        name(),
    )
        .prop_map(
            |(magic, version, role, (peer, connection, epoch), name)| Hello {
                magic,
                version,
                role,
                peer: PeerId(peer),
                connection,
                session: epoch.map(Epoch),
                name,
            },
        )
}

fn welcome() -> impl Strategy<Value = Welcome> {
    (version(), any::<(u64, bool, u32)>(), nanos()).prop_map(
        |(version, (epoch, resumed, payload_max), lease)| Welcome {
            version,
            epoch: Epoch(epoch),
            resumed,
            lease,
            payload_max,
        },
    )
}

pub(super) fn submit() -> impl Strategy<Value = Submit> {
    (
        any::<(u64, u8, bool, bool)>(),
        0..8u8,
        [nanos(), nanos(), nanos()],
        name(),
    )
        .prop_map(
            |((seq, max_attempts, at_most_once, may_have_run), level, spans, name)| Submit {
                seq,
                priority: Priority::new(level).expect("below 8"),
                max_attempts,
                at_most_once,
                may_have_run,
                deadline: spans[0],
                max_wait: spans[1],
                time_limit: spans[2],
                name,
            },
        )
}

pub(super) fn assign() -> impl Strategy<Value = Assign> {
    (
        attempt(),
        task_id(),
        any::<bool>(),
        nanos(),
        nanos(),
        name(),
    )
        .prop_map(
            |(attempt, task, at_most_once, deadline, time_limit, name)| Assign {
                attempt,
                task,
                at_most_once,
                deadline,
                time_limit,
                name,
            },
        )
}

fn reported() -> impl Strategy<Value = Vec<ReportedAttempt>> {
    vec(
        (attempt(), task_id()).prop_map(|(attempt, task)| ReportedAttempt { attempt, task }),
        0..ITEMS,
    )
}

fn finished() -> impl Strategy<Value = Finished> {
    let end = prop_oneof![
        Just(AttemptEnd::Completed),
        error().prop_map(|error| AttemptEnd::Failed(Box::new(error))),
        (exit_cause(), ".*").prop_map(|(cause, stderr)| AttemptEnd::Crashed(cause, stderr)),
        Just(AttemptEnd::Killed),
        Just(AttemptEnd::Expired),
    ];
    (attempt(), task_id(), nanos(), end).prop_map(|(attempt, task, ran, end)| Finished {
        attempt,
        task,
        ran,
        end,
    })
}

fn status() -> impl Strategy<Value = StatusReport> {
    let worker = (
        name(),
        any::<[u64; 6]>(),
        any::<[u32; 4]>(),
        any::<[bool; 3]>(),
    )
        .prop_map(|(name, long, short, flags)| WorkerStatus {
            id: PeerId(long[0]),
            address: flags[1].then(|| name.clone()),
            holder: flags[0].then(|| name.clone()),
            name,
            connected: flags[0],
            version: flags[2].then_some(Version {
                major: 1,
                minor: short[0] as u16,
            }),
            draining: flags[1],
            doubted: flags[2],
            capacity: short[0],
            window: short[1],
            assigned: short[2],
            oldest: Nanos(long[1]),
            finished: long[2],
            failed: long[3],
            average: Nanos(long[4]),
            slowness: short[3],
            last_heard: Nanos(long[5]),
        });
    let client = (name(), any::<[u64; 7]>(), any::<bool>()).prop_map(|(name, long, connected)| {
        ClientStatus {
            id: PeerId(long[0]),
            address: connected.then(|| name.clone()),
            holder: connected.then(|| name.clone()),
            name,
            connected,
            version: connected.then_some(Version {
                major: long[1] as u16,
                minor: 0,
            }),
            queued: long[1],
            assigned: long[2],
            unacknowledged: long[3],
            finished: long[4],
            rejected: long[5],
            last_heard: Nanos(long[6]),
        }
    });
    let kind = (any::<(u64, u64)>(), vec(name(), 0..ITEMS)).prop_map(|((workers, more), names)| {
        GroupStatus {
            workers,
            names,
            more,
        }
    });
    let manager = (any::<[u64; 25]>(), any::<[u64; 8]>(), any::<bool>());
    (
        manager,
        vec(worker, 0..ITEMS),
        vec(client, 0..ITEMS),
        vec(kind, 0..ITEMS),
        any::<bool>(),
    )
        .prop_map(
            |((n, queued_by_priority, draining), workers, clients, groups, more)| StatusReport {
                manager: ManagerStatus {
                    epoch: Epoch(n[0]),
                    uptime: Nanos(n[1]),
                    draining,
                    queued: n[2],
                    queued_by_priority,
                    queued_bytes: n[3],
                    queue_size: n[4],
                    queue_bytes: n[5],
                    returning: n[6],
                    unroutable: n[23],
                    unclaimed: n[7],
                    assigned: n[8],
                    unacknowledged: n[9],
                    orphans: n[10],
                    waiting: n[24],
                    oldest_wait: Nanos(n[11]),
                    estimated_wait: Nanos(n[12]),
                    capacity: n[13],
                    workers: n[14],
                    clients: n[15],
                    accepted: n[16],
                    rejected: n[17],
                    displaced: n[18],
                    completed: n[19],
                    not_completed: n[20],
                    attempts_lost: n[21],
                    rate: n[22],
                },
                workers,
                clients,
                groups,
                more,
            },
        )
}

fn refusal() -> impl Strategy<Value = RefuseReason> {
    prop_oneof![
        version().prop_map(RefuseReason::Version),
        Just(RefuseReason::OldConnection),
        Just(RefuseReason::Full),
        Just(RefuseReason::BadHello),
        Just(RefuseReason::BadCapacity),
        Just(RefuseReason::Replaced),
        Just(RefuseReason::KeyRequired),
        Just(RefuseReason::NotAllowed),
        Just(RefuseReason::OtherHolder),
    ]
}

fn beat() -> impl Strategy<Value = Beat> {
    any::<(u64, u64)>().prop_map(|(nonce, received)| Beat { nonce, received })
}

fn seqs() -> impl Strategy<Value = Vec<u64>> {
    vec(any::<u64>(), 0..ITEMS)
}

fn attempts() -> impl Strategy<Value = Vec<Attempt>> {
    vec(attempt(), 0..ITEMS)
}

/// Any body of the native protocol; every variant is drawn as often as any other.
pub(crate) fn body() -> impl Strategy<Value = Said> {
    let all = to_manager()
        .into_iter()
        .chain(from_manager())
        .chain(streams::to_manager())
        .chain(streams::from_manager())
        .chain(runs::any_run());
    proptest::strategy::Union::new(all)
}

/// Each message to a manager. Boxed, since proptest's unions stop at ten arms of different types.
fn to_manager() -> Vec<BoxedStrategy<Said>> {
    vec![
        hello()
            .prop_map(|value| Said::from(ToManager::Hello(value)))
            .boxed(),
        beat()
            .prop_map(|value| Said::from(ToManager::Ping(value)))
            .boxed(),
        Just(Said::from(ToManager::Goodbye)).boxed(),
        submit()
            .prop_map(|value| Said::from(FromClient::Submit(value)))
            .boxed(),
        any::<u64>()
            .prop_map(|seq| Said::from(FromClient::Cancel { seq }))
            .boxed(),
        seqs()
            .prop_map(|seqs| Said::from(FromClient::Resume { seqs }))
            .boxed(),
        (any::<u64>(), seqs())
            .prop_map(|(floor, seqs)| Said::from(FromClient::AckOutcomes { floor, seqs }))
            .boxed(),
        any::<u32>()
            .prop_map(|page| Said::from(Query::StatusQuery { page }))
            .boxed(),
        (reported(), reported(), any::<bool>())
            .prop_map(|(running, finished, last)| {
                Said::from(FromWorker::Report(Report {
                    running,
                    finished,
                    last,
                }))
            })
            .boxed(),
        any::<u32>()
            .prop_map(|window| Said::from(FromWorker::Grant { window }))
            .boxed(),
        finished()
            .prop_map(|value| Said::from(FromWorker::Finished(value)))
            .boxed(),
        (attempts(), attempts())
            .prop_map(|(not_started, started)| {
                Said::from(FromWorker::Returned {
                    not_started,
                    started,
                })
            })
            .boxed(),
        Just(Said::from(FromWorker::Draining)).boxed(),
        capabilities()
            .prop_map(|value| Said::from(FromWorker::Capabilities(value)))
            .boxed(),
        any::<u32>()
            .prop_map(|page| Said::from(Query::RunningQuery { page }))
            .boxed(),
        any::<(u64, u32, u64)>()
            .prop_map(|(worker, slot, life)| {
                Said::from(FromClient::Within(PoolProcess {
                    worker: PeerId(worker),
                    slot: SlotId(slot),
                    life,
                }))
            })
            .boxed(),
        any::<(u32, u64)>()
            .prop_map(|(slot, life)| {
                Said::from(FromWorker::Gone {
                    slot: SlotId(slot),
                    life,
                })
            })
            .boxed(),
    ]
}

/// Each message of a manager.
fn from_manager() -> Vec<BoxedStrategy<Said>> {
    vec![
        welcome()
            .prop_map(|value| Said::from(Control::Welcome(value)))
            .boxed(),
        refusal()
            .prop_map(|value| Said::from(Control::Refuse(value)))
            .boxed(),
        beat()
            .prop_map(|value| Said::from(Control::Pong(value)))
            .boxed(),
        (any::<u64>(), outcome())
            .prop_map(|(seq, outcome)| Said::from(ToClient::Outcome { seq, outcome }))
            .boxed(),
        (any::<u64>(), reason(), nanos(), any::<bool>(), similar())
            .prop_map(|(seq, reason, retry_after, may_have_run, similar)| {
                Said::from(ToClient::Reject {
                    seq,
                    reason,
                    retry_after,
                    may_have_run,
                    similar,
                })
            })
            .boxed(),
        seqs()
            .prop_map(|seqs| Said::from(ToClient::Unknown { seqs }))
            .boxed(),
        status()
            .prop_map(|status| Said::from(ToObserver::Status(Box::new(status))))
            .boxed(),
        assign()
            .prop_map(|value| Said::from(ToWorker::Assign(value)))
            .boxed(),
        attempts()
            .prop_map(|attempts| Said::from(ToWorker::Recall { attempts }))
            .boxed(),
        attempt()
            .prop_map(|attempt| Said::from(ToWorker::Kill { attempt }))
            .boxed(),
        attempts()
            .prop_map(|attempts| Said::from(ToWorker::AckResults { attempts }))
            .boxed(),
        attempt()
            .prop_map(|attempt| Said::from(ToWorker::Resend { attempt }))
            .boxed(),
        running()
            .prop_map(|report| Said::from(ToObserver::Running(Box::new(report))))
            .boxed(),
        Just(Said::from(Control::Paused)).boxed(),
    ]
}

/// Any body of the pool protocol.
pub(crate) fn pool_body() -> impl Strategy<Value = PoolBody> {
    prop_oneof![
        (any::<[u8; 4]>(), version(), capabilities()).prop_map(|(magic, version, capabilities)| {
            PoolBody::Ready {
                magic,
                version,
                capabilities,
            }
        }),
        (any::<u64>(), name()).prop_map(|(id, name)| PoolBody::Run { id, name }),
        (any::<u64>(), nanos()).prop_map(|(id, ran)| PoolBody::Completed { id, ran }),
        (any::<u64>(), nanos(), error()).prop_map(|(id, ran, error)| PoolBody::Failed {
            id,
            ran,
            error
        }),
        runs::any_pool_run(),
    ]
}

/// A message with `body` and a payload on either side of the length that is copied.
pub(crate) fn message<B: core::fmt::Debug>(
    body: impl Strategy<Value = B>,
) -> impl Strategy<Value = Message<B>> {
    let payload = prop_oneof![
        4 => vec(any::<u8>(), 0..64),
        1 => (0usize..12_000, any::<u8>()).prop_map(|(len, byte)| std::vec![byte; len]),
    ];
    (body, payload, any::<u8>()).prop_map(|(body, payload, content)| Message {
        body,
        payload: Payload::new(Content(content), payload),
    })
}
