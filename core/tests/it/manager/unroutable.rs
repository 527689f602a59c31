//! Tasks that nobody can run: how long they wait for somebody who can, what their clients hear,
//! and what is known and not known about those who have come.

use std::time::Duration;

use super::bench::*;
use argon_core::event::Event;
use argon_core::ids::ConnId;
use argon_core::limits::{CLIENTS_MAX, GROUPS_MAX, RESUME_WINDOW, RUNNER_WAIT};
use argon_core::machine::Machine as _;
use argon_core::message::{
    Control, FromClient, FromWorker, Message, RefuseReason, Report, Role, Submit, ToClient,
    ToManager, ToPeer,
};
use argon_core::task::{Outcome, Priority, RejectReason};
use argon_core::time::WakeReason;

const NEVER: Duration = Duration::from_nanos(1);
/// Names that are suggested at one time, to so many.
const SUGGESTIONS: usize = 16;

fn called(seq: u64, what: &str) -> Submit {
    Submit {
        name: name(what),
        ..submit(seq)
    }
}

fn worker_of(bench: &mut Bench, peer: u64, patterns: &[&str]) -> ConnId {
    let conn = bench.worker(peer, 1);
    bench.capabilities(conn, patterns);
    conn
}

/// A worker that has come and has not said what it runs.
fn silent(bench: &mut Bench, peer: u64, connection: u64) -> ConnId {
    let role = Role::Worker { capacity: 1 };
    let called = format!("worker-{peer}");
    let (conn, _) = bench.hello(peer, connection, role, Some(EPOCH), &called);
    let report = Report {
        running: vec![],
        finished: vec![],
        last: true,
    };
    bench.send(conn, ToManager::Worker(FromWorker::Report(report)));
    conn
}

struct Refusal {
    seq: u64,
    reason: RejectReason,
    may_have_run: bool,
    similar: Vec<String>,
}

fn refusals(bench: &mut Bench, client: ConnId) -> Vec<Refusal> {
    let inbox = bench.inbox(client).into_iter();
    let refusals = inbox.filter_map(|message| match message.body {
        ToPeer::Client(ToClient::Reject {
            seq,
            reason,
            may_have_run,
            similar,
            ..
        }) => Some(Refusal {
            seq,
            reason,
            may_have_run,
            similar: similar.iter().map(ToString::to_string).collect(),
        }),
        _ => None,
    });
    refusals.collect()
}

fn refused(bench: &mut Bench, client: ConnId) -> Vec<u64> {
    let refusals = refusals(bench, client).into_iter();
    refusals.map(|refusal| refusal.seq).collect()
}

/// That these tasks are refused exactly so long from now.
fn refused_after(
    bench: &mut Bench,
    alive: &[ConnId],
    client: ConnId,
    wait: Duration,
    seqs: &[u64],
) {
    bench.advance_alive(wait - NEVER, alive);
    assert_eq!(refused(bench, client), [], "they wait for somebody");
    bench.advance(NEVER);
    assert_eq!(refused(bench, client), seqs);
}

#[test]
fn it_is_refused_as_never_started_after_the_time_and_the_log_hears_of_it() {
    let mut bench = Bench::new();
    let (worker, client) = (worker_of(&mut bench, 1, &["a"]), bench.client(3));
    bench.submit(client, called(0, "x"));
    bench.advance_alive(RUNNER_WAIT - NEVER, &[worker, client]);
    assert!(refusals(&mut bench, client).is_empty());
    bench.advance(NEVER);
    let refusals = refusals(&mut bench, client);
    assert_eq!(refusals.len(), 1);
    assert_eq!(refusals[0].reason, RejectReason::NoRunner);
    assert!(!refusals[0].may_have_run);
    let (task, reason) = (task(3, 0), RejectReason::NoRunner);
    assert!(bench.events.contains(&Event::TaskRejected { task, reason }));
}

#[test]
fn a_worker_that_runs_nothing_gets_nothing_any_more() {
    let mut bench = Bench::new();
    let (worker, client) = (worker_of(&mut bench, 1, &["a"]), bench.client(3));
    bench.submit(client, called(0, "a"));
    let assign = bench.assigned(worker).remove(0);
    bench.capabilities(worker, &[]);
    bench.complete(worker, &assign);
    bench.submit(client, called(1, "a"));
    assert_eq!(bench.assigned(worker), []);
    bench.capabilities(worker, &["b", "a"]);
    assert_eq!(bench.assigned(worker).len(), 1);
}

#[test]
fn there_are_so_many_groups_of_workers_and_who_is_one_more_is_shown_out() {
    let mut bench = Bench::new();
    let mut workers = Vec::new();
    for group in 0..GROUPS_MAX {
        workers.push(worker_of(
            &mut bench,
            group as u64,
            &[&format!("group{group}")],
        ));
    }
    assert_eq!(bench.closed, []);
    let other = worker_of(&mut bench, 1_000, &["other"]);
    assert_eq!(bench.closed, [other]);
    bench.send(workers[7], ToManager::Goodbye);
    let other = worker_of(&mut bench, 1_001, &["other"]);
    let client = bench.client(3_000);
    bench.submit(client, called(0, "other"));
    assert_eq!(bench.assigned(other).len(), 1, "there is room again");
}

/// One that has come and not said what it runs may run anything: it is waited for, for a while.
#[test]
fn who_has_yet_to_say_what_it_runs_is_waited_for_as_long_as_for_a_session() {
    let mut bench = Bench::new();
    let known = worker_of(&mut bench, 1, &["a"]);
    let unknown = silent(&mut bench, 2, 1);
    let client = bench.client(3);
    bench.submit(client, called(0, "x"));
    let all = [known, unknown, client];
    refused_after(&mut bench, &all, client, RESUME_WINDOW, &[0]);
}

#[test]
fn who_says_that_it_runs_nothing_yet_is_waited_for_too() {
    let mut bench = Bench::new();
    let known = worker_of(&mut bench, 1, &["a"]);
    let unknown = silent(&mut bench, 2, 1);
    bench.capabilities(unknown, &[]);
    let client = bench.client(3);
    bench.submit(client, called(0, "x"));
    let all = [known, unknown, client];
    refused_after(&mut bench, &all, client, RESUME_WINDOW, &[0]);
}

#[test]
fn who_comes_back_without_having_said_it_is_waited_for_anew() {
    let mut bench = Bench::new();
    let known = worker_of(&mut bench, 1, &["a"]);
    let unknown = silent(&mut bench, 2, 1);
    let client = bench.client(3);
    bench.submit(client, called(0, "x"));
    bench.advance_alive(ms(20_000), &[known, unknown, client]);
    bench.close(unknown);
    let unknown = silent(&mut bench, 2, 2);
    let all = [known, unknown, client];
    refused_after(&mut bench, &all, client, RESUME_WINDOW, &[0]);
}

#[test]
fn who_has_gone_without_a_word_is_not_waited_for() {
    let mut bench = Bench::new();
    let known = worker_of(&mut bench, 1, &["a"]);
    let unknown = silent(&mut bench, 2, 1);
    let client = bench.client(3);
    bench.submit(client, called(0, "x"));
    bench.close(unknown);
    refused_after(&mut bench, &[known, client], client, RUNNER_WAIT, &[0]);
}

#[test]
fn while_no_worker_is_connected_nothing_is_known() {
    let mut bench = Bench::new();
    let (worker, client) = (worker_of(&mut bench, 1, &["a"]), bench.client(3));
    bench.submit(client, called(0, "x"));
    bench.advance_alive(ms(5_000), &[worker, client]);
    bench.close(worker);
    bench.advance_alive(ms(20_000), &[client]);
    assert_eq!(refused(&mut bench, client), [], "it may come back");
    let role = Role::Worker { capacity: 1 };
    let (worker, _) = bench.hello(1, 2, role, Some(EPOCH), "worker-1");
    bench.report(worker, vec![], vec![]);
    bench.grant(worker, 1);
    assert_eq!(bench.assigned(worker).len(), 1, "and now runs anything");
}

#[test]
fn it_is_not_asked_more_often_than_it_must_be() {
    let mut bench = Bench::with(|config| config.runner_wait = ms(0));
    let unknown = silent(&mut bench, 2, 1);
    let client = bench.client(3);
    bench.submit(client, called(0, "x"));
    bench.advance_alive(ms(4_000), &[unknown, client]);
    bench.advance(ms(0));
    let mut looks = Vec::new();
    for _ in 0..20 {
        let due = bench.manager.poll_timeout().expect("something is due");
        bench.advance(due.at.since(bench.now));
        bench.send(
            unknown,
            ToManager::Ping(argon_core::message::Beat {
                nonce: 0,
                received: 0,
            }),
        );
        if due.reason == WakeReason::Claim {
            looks.push(due.at);
        }
    }
    assert!(looks.len() > 5);
    let apart = looks.windows(2).map(|pair| pair[1].since(pair[0]));
    assert_eq!(apart.min(), Some(ms(100)));
}

/// The wait begins when it is first known that nobody runs the name.
#[test]
fn a_task_whose_runners_have_gone_waits_from_then_on() {
    let mut bench = Bench::new();
    let (one, client) = (worker_of(&mut bench, 1, &["x"]), bench.client(3));
    let other = worker_of(&mut bench, 2, &["a"]);
    bench.submit(client, called(0, "x"));
    bench.submit(client, called(1, "x"));
    bench.advance_alive(ms(9_000), &[one, other, client]);
    assert_eq!(bench.assigned(one).len(), 1);
    bench.capabilities(one, &["a"]);
    let all = [one, other, client];
    refused_after(&mut bench, &all, client, RUNNER_WAIT, &[1]);
}

#[test]
fn a_task_that_found_no_room_does_not_begin_the_wait_of_the_next() {
    let mut bench = Bench::with(|config| config.queue_tasks = 1);
    let (worker, client) = (worker_of(&mut bench, 1, &["a"]), bench.client(3));
    bench.submit(client, called(0, "a"));
    bench.submit(client, called(1, "a"));
    bench.submit(client, called(2, "x"));
    assert_eq!(refused(&mut bench, client), [2]);
    bench.advance_alive(ms(5_000), &[worker, client]);
    bench.send(client, ToManager::Client(FromClient::Cancel { seq: 1 }));
    bench.submit(client, called(3, "x"));
    refused_after(&mut bench, &[worker, client], client, RUNNER_WAIT, &[3]);
}

#[test]
fn what_may_have_run_is_lost_and_the_log_hears_of_it() {
    let mut bench = Bench::new();
    let (worker, client) = (worker_of(&mut bench, 1, &["a"]), bench.client(3));
    bench.submit(
        client,
        Submit {
            may_have_run: true,
            ..called(0, "x")
        },
    );
    bench.advance_alive(ms(14_000), &[worker, client]);
    assert!(matches!(
        bench.outcomes(client)[..],
        [(0, Outcome::Lost { .. })]
    ));
    let task = task(3, 0);
    assert!(bench.events.contains(&Event::TaskLost { task }));
}

/// Names that somebody may have meant are told for each task, but looked for only so often.
#[test]
fn every_task_of_a_name_hears_which_names_are_like_it() {
    let mut bench = Bench::new();
    let worker = worker_of(&mut bench, 1, &["alpha", "omega"]);
    let client = bench.client(3);
    for seq in 0..40 {
        let what = if seq % 2 == 0 { "alphb" } else { "omegb" };
        bench.submit(client, called(seq, what));
    }
    bench.advance_alive(RUNNER_WAIT, &[worker, client]);
    let refusals = refusals(&mut bench, client);
    assert_eq!(refusals.len(), 40);
    for refusal in refusals {
        let meant = if refusal.seq % 2 == 0 {
            "alpha"
        } else {
            "omega"
        };
        assert_eq!(refusal.similar, [meant], "task {}", refusal.seq);
    }
}

#[test]
fn names_are_looked_for_for_so_many_at_a_time() {
    let mut bench = Bench::new();
    let worker = worker_of(&mut bench, 1, &["alpha00"]);
    let client = bench.client(3);
    for seq in 0..30 {
        bench.submit(client, called(seq, &format!("alpha{:02}", seq + 1)));
    }
    bench.advance_alive(RUNNER_WAIT, &[worker, client]);
    let refusals = refusals(&mut bench, client);
    assert_eq!(refusals.len(), 30);
    let told = refusals
        .iter()
        .filter(|one| !one.similar.is_empty())
        .count();
    assert_eq!(told, SUGGESTIONS);
}

/// What came last is displaced first, also after all have been put into another class.
#[test]
fn a_change_of_groups_leaves_what_is_newest_the_newest() {
    let mut bench = Bench::with(|config| config.queue_tasks = 3);
    let client = bench.client(3);
    for seq in 0..3 {
        bench.submit(client, called(seq, "x"));
    }
    bench.send(client, ToManager::Client(FromClient::Cancel { seq: 0 }));
    bench.submit(client, called(3, "x"));
    let worker = silent(&mut bench, 1, 1);
    bench.capabilities(worker, &["x"]);
    bench.submit(
        client,
        Submit {
            priority: Priority::HIGH,
            ..called(5, "x")
        },
    );
    assert_eq!(refused(&mut bench, client), [3]);
}

/// Kinds and sessions that others have left behind keep nobody out.
#[test]
fn who_has_gone_and_has_nothing_here_makes_room() {
    let mut bench = Bench::new();
    let gone: Vec<ConnId> = (0..GROUPS_MAX as u64)
        .map(|peer| worker_of(&mut bench, 100 + peer, &[&format!("group{peer}")]))
        .collect();
    bench.close(gone[7]);
    bench.close(gone[9]);
    let new = worker_of(&mut bench, 1, &["new"]);
    let newer = worker_of(&mut bench, 2, &["newer"]);
    assert!(!bench.closed.contains(&new) && !bench.closed.contains(&newer));
    let one_more = worker_of(&mut bench, 3, &["newest"]);
    assert!(bench.closed.contains(&one_more), "all the others are here");
    let full = Message::from(ToPeer::Control(Control::Refuse(RefuseReason::Full)));
    assert!(bench.inbox(one_more).contains(&full), "and it is told");
    let told = |event: &&Event| matches!(event, Event::GroupRefused { .. });
    assert_eq!(bench.events.iter().filter(told).count(), 1);
}

#[test]
fn as_many_clients_as_there_may_be_keep_no_other_out_once_they_have_gone() {
    let mut bench = Bench::new();
    bench.checked = false;
    let mut conns = Vec::new();
    for peer in 0..CLIENTS_MAX as u64 {
        conns.push(bench.client(1_000 + peer));
    }
    let (refused, welcome) = bench.hello(1, 1, Role::Client, None, "one more");
    assert!(welcome.is_none() && bench.closed.contains(&refused));
    bench.close(conns[5]);
    let (_, welcome) = bench.hello(2, 1, Role::Client, None, "instead");
    assert!(welcome.is_some());
    bench.checked = true;
    bench.advance(ms(1));
}

#[test]
fn an_offer_that_waits_for_its_turn_is_dropped_with_its_worker_or_for_the_next() {
    for next in [Some("*"), None] {
        let mut bench = Bench::new();
        bench.checked = false;
        let client = bench.client(3);
        worker_of(&mut bench, 1, &["*"]);
        for seq in 0..5_000 {
            bench.submit(client, called(seq, "work"));
        }
        // What it runs goes through the queue at once, so that the next has to wait.
        let changed = worker_of(&mut bench, 2, &["first"]);
        bench.capabilities(changed, &["second"]);
        let groups = |bench: &Bench| -> Vec<String> {
            let groups = bench.manager.status(bench.now, 0).groups;
            let names = groups.into_iter().flat_map(|group| group.names);
            names.map(|name| name.to_string()).collect()
        };
        assert!(!groups(&bench).contains(&"second".to_owned()));
        match next {
            Some(pattern) => bench.capabilities(changed, &[pattern]),
            None => bench.send(changed, ToManager::Goodbye),
        }
        bench.advance_alive(ms(500), &[client]);
        assert_eq!(groups(&bench), ["*"]);
        bench.manager.check_invariants();
    }
}
