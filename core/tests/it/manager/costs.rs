//! What any message may cost a manager that holds much of everything: so many steps for each id that
//! the message lists and for each thing that it moves or ends, which other messages have brought, and
//! a constant. What goes through the queue because of capabilities has a share of the time instead.

use super::bench::*;
use argon_core::ids::{Attempt, ConnId, Epoch};
use argon_core::limits::{GROUPS_MAX, IDS_MAX, RUN_TASKS_MAX};
use argon_core::machine::Machine as _;
use argon_core::message::{
    End, FromClient, FromWorker, Message, Report, ReportedAttempt, Role, ToManager,
};
use argon_core::rng::Rng;
use argon_core::status::ManagerStatus;
use argon_core::steps;
use argon_core::testing::{Draw, to_manager};

/// Steps for each id in a message, and for each thing that it moves or ends.
const EACH: u64 = 64;
/// Steps for a message: pages of status, and looks at all classes and groups.
const ONCE: u64 = 16_384;
const QUEUED: u64 = 3_000;
const UNREAD: u64 = 2_000;
const RUNNING: u64 = 2_000;
const ORPHANS: usize = 8 * IDS_MAX;
const OLD: Epoch = Epoch(3);

#[derive(Clone, Copy)]
struct Peer {
    id: u64,
    connection: u64,
    conn: ConnId,
    is_worker: bool,
}

/// A manager that holds much, and what its peers have cost it.
struct Hoard {
    bench: Bench,
    peers: Vec<Peer>,
    /// Steps beyond what each message may cost.
    over: u64,
}

fn counts(status: &ManagerStatus) -> [u64; 10] {
    [
        status.queued,
        status.assigned,
        status.unacknowledged,
        status.unclaimed,
        status.orphans,
        status.returning,
        status.completed,
        status.not_completed,
        status.rejected,
        status.workers + status.clients,
    ]
}

fn ids(body: &ToManager) -> usize {
    match body {
        ToManager::Client(FromClient::Resume { seqs } | FromClient::AckOutcomes { seqs, .. }) => {
            seqs.len()
        }
        ToManager::Client(FromClient::SubmitRun(run)) => run.sizes.len(),
        ToManager::Worker(FromWorker::FinishedRun(ends)) => ends.ends.len(),
        ToManager::Worker(FromWorker::Report(report)) => {
            report.running.len() + report.finished.len()
        }
        ToManager::Worker(FromWorker::Returned {
            not_started,
            started,
        }) => not_started.len() + started.len(),
        _ => 0,
    }
}

impl Hoard {
    fn new() -> Self {
        let mut bench = Bench::with(|config| {
            config.lease = ms(600_000);
            config.restart_grace = ms(700_000);
            config.resume_timeout = ms(800_000);
            config.runner_wait = ms(800_000);
            config.inner.outcome_window = 1;
        });
        bench.checked = false;
        let mut peers = Vec::new();
        let mut add = |id, conn, is_worker| {
            peers.push(Peer {
                id,
                connection: 1,
                conn,
                is_worker,
            });
        };
        let (client, reader) = (bench.client(1), bench.client(2));
        add(1, client, false);
        add(2, reader, false);
        let worker = bench.worker(10, 1);
        add(10, worker, true);
        for seq in 0..UNREAD {
            bench.quietly(reader, submit(seq));
            let assign = bench.assigned(worker).remove(0);
            bench.complete(worker, &assign);
        }
        bench.grant(worker, RUNNING as u32);
        for seq in 0..RUNNING + QUEUED {
            bench.quietly(client, submit(seq));
        }
        assert_eq!(bench.assigned(worker).len(), RUNNING as usize);
        // Later ones have nothing to run.
        for group in 0..GROUPS_MAX as u64 - 1 {
            let conn = bench.worker(100 + group, 1);
            bench.capabilities(conn, &[&format!("group{group}")]);
            bench.now = bench.now + ms(20);
            add(100 + group, conn, true);
        }
        let keeper = bench.worker(11, 1);
        add(11, keeper, true);
        let mut hoard = Self {
            bench,
            peers,
            over: 0,
        };
        let keeper = hoard.peers.len() - 1;
        hoard.come_again(keeper);
        for part in orphans().chunks(IDS_MAX) {
            hoard.report(keeper, part, false);
        }
        hoard.report(keeper, &[], true);
        hoard
    }

    /// Sends a message and holds its cost against what it may be.
    fn say(&mut self, at: usize, body: ToManager) {
        let Peer { conn, .. } = self.peers[at];
        let listed = ids(&body) as u64;
        let shown = format!("{body:?}");
        let before = counts(&self.bench.manager.status(self.bench.now, 0).manager);
        let _ = steps::take();
        self.bench.quietly_body(conn, body);
        let cost = steps::take();
        let after = counts(&self.bench.manager.status(self.bench.now, 0).manager);
        let _ = steps::take();
        let moved = before.iter().zip(after);
        let moved: u64 = moved.map(|(before, after)| before.abs_diff(after)).sum();
        let bound = ONCE + EACH * (listed + moved);
        // As much as going through the queue takes, and not oftener than there is time for it.
        let renewal = (QUEUED + RUNNING) * (4 + 2 * GROUPS_MAX as u64);
        assert!(
            cost <= bound + renewal,
            "{cost} steps where {bound} are allowed ({listed} ids, {moved} moved): {}",
            &shown[..shown.len().min(120)]
        );
        self.over += cost.saturating_sub(bound);
        if self.bench.closed.contains(&conn) {
            self.come_again(at);
            if self.peers[at].is_worker {
                self.report(at, &[], true);
            }
        }
    }

    /// Comes on a new connection, which costs no more than a message.
    fn come_again(&mut self, at: usize) {
        let peer = &mut self.peers[at];
        peer.connection += 1;
        let role = match peer.is_worker {
            true => Role::Worker { capacity: 1 },
            false => Role::Client,
        };
        let Peer { id, connection, .. } = *peer;
        let called = format!("{}-{id}", if peer.is_worker { "worker" } else { "client" });
        let _ = steps::take();
        let (conn, _) = self.bench.hello(id, connection, role, Some(EPOCH), &called);
        let cost = steps::take();
        assert!(cost <= ONCE, "{cost} steps for a hello");
        self.peers[at].conn = conn;
    }

    fn report(&mut self, at: usize, finished: &[ReportedAttempt], last: bool) {
        let running = vec![];
        let finished = finished.to_vec();
        let report = Report {
            running,
            finished,
            last,
        };
        self.say(at, ToManager::Worker(FromWorker::Report(report)));
    }
}

fn orphans() -> Vec<ReportedAttempt> {
    let one = |number: u64| ReportedAttempt {
        attempt: Attempt { epoch: OLD, number },
        task: task(7, number),
    };
    (0..ORPHANS as u64).map(one).collect()
}

/// Of the messages of a peer, the next that one of its role may send; often with long lists.
fn message(rng: &mut Rng, peer: Peer) -> ToManager {
    loop {
        let mut body = to_manager(rng, peer.id, peer.connection);
        let fits = match &body {
            ToManager::Client(_) | ToManager::Query(_) => !peer.is_worker,
            // It would have to say more than it knows.
            ToManager::Worker(FromWorker::Report(_)) => false,
            ToManager::Worker(_) => peer.is_worker,
            _ => true,
        };
        if !fits && rng.percent(98) {
            continue;
        }
        if rng.percent(50) {
            let first = rng.up_to(QUEUED);
            let numbers = first..first + IDS_MAX as u64;
            let attempts = |epoch| {
                let numbers = numbers.clone();
                numbers.map(move |number| Attempt { epoch, number })
            };
            match &mut body {
                ToManager::Client(
                    FromClient::Resume { seqs } | FromClient::AckOutcomes { seqs, .. },
                ) => *seqs = numbers.collect(),
                ToManager::Worker(FromWorker::Returned { not_started, .. }) => {
                    *not_started = attempts(EPOCH).collect();
                }
                ToManager::Worker(FromWorker::Grant { window }) => *window = 4_096,
                ToManager::Client(FromClient::SubmitRun(run)) => {
                    run.first.seq = first;
                    run.first.max_attempts = 1;
                    run.sizes = vec![0; RUN_TASKS_MAX];
                }
                ToManager::Worker(FromWorker::FinishedRun(ends)) => {
                    let end = |offset| End {
                        offset,
                        ran: 1,
                        size: 0,
                    };
                    ends.first.attempt = Attempt {
                        epoch: EPOCH,
                        number: first,
                    };
                    ends.ends = (0..RUN_TASKS_MAX as u16).map(end).collect();
                }
                _ => {}
            }
        }
        return body;
    }
}

#[test]
fn no_message_costs_more_than_so_much_for_each_thing_in_it() {
    for seed in 0..4 {
        let mut rng = Rng::from_seed(seed);
        let mut hoard = Hoard::new();
        let start = hoard.bench.now;
        hoard.over = 0;
        for _ in 0..400 {
            let at = match rng.percent(60) {
                true => rng.up_to(3) as usize,
                false => rng.up_to(hoard.peers.len() as u64 - 1) as usize,
            };
            let body = message(&mut rng, hoard.peers[at]);
            hoard.say(at, body);
            hoard.bench.now = hoard.bench.now + ms(1);
        }
        // The first time, and then less than a million looks a second.
        let renewal = (QUEUED + RUNNING) * (4 + 2 * GROUPS_MAX as u64);
        let micros = hoard.bench.now.since(start).as_micros() as u64;
        assert!(
            hoard.over <= renewal + micros,
            "{} steps beyond the bounds",
            hoard.over
        );
        hoard.bench.manager.check_invariants();
    }
}

/// A worker that comes again with all that it holds costs for what it reports, however much that is.
#[test]
fn a_worker_that_comes_again_costs_what_it_reports() {
    let mut hoard = Hoard::new();
    let keeper = hoard.peers.len() - 1;
    let orphans = orphans();
    let held = |hoard: &Hoard| {
        hoard
            .bench
            .manager
            .status(hoard.bench.now, 0)
            .manager
            .orphans
    };
    for _ in 0..3 {
        hoard.come_again(keeper);
        for part in orphans.chunks(IDS_MAX) {
            hoard.report(keeper, part, false);
        }
        // It adds nothing, and nothing is missing.
        hoard.report(keeper, &[], true);
        assert_eq!(held(&hoard), ORPHANS as u64);
        // One that does not report is told nothing of what it holds.
        hoard.come_again(keeper);
    }
    for part in orphans[1..].chunks(IDS_MAX) {
        hoard.report(keeper, part, false);
    }
    assert_eq!(hoard.over, 0, "beyond what a message may cost");
    let body = ToManager::Worker(FromWorker::Report(Report {
        running: vec![],
        finished: vec![],
        last: true,
    }));
    let message: Message<ToManager> = body.into();
    let _ = steps::take();
    hoard.bench.send(hoard.peers[keeper].conn, message);
    let cost = steps::take();
    assert_eq!(held(&hoard), ORPHANS as u64 - 1);
    assert!(
        cost <= 2 * ORPHANS as u64,
        "{cost} steps for what was reported and is missing"
    );
    hoard.bench.manager.check_invariants();
}
