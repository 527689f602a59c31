//! Tasks that nobody can run: how long they wait for somebody who can, what their clients hear,
//! and what is known and not known about those who have come.

use super::bench::*;
use argon_core::event::Event;
use argon_core::ids::ConnId;
use argon_core::limits::{CLIENTS_MAX, GROUP_IDLE, GROUPS_MAX};
use argon_core::machine::Machine as _;
use argon_core::message::{
    Control, FromWorker, Message, RefuseReason, Report, Role, Submit, ToManager, ToPeer,
};

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

/// A worker for each group that there may be.
fn crowd(bench: &mut Bench) -> Vec<ConnId> {
    (0..GROUPS_MAX as u64)
        .map(|peer| worker_of(bench, 100 + peer, &[&format!("group{peer}")]))
        .collect()
}

/// A worker that never runs anything else.
fn only(bench: &mut Bench, peer: u64, patterns: &[&str]) -> ConnId {
    let role = Role::Worker { capacity: 1 };
    let (conn, _) = bench.hello(peer, 1, role, None, &format!("worker-{peer}"));
    let report = Report {
        running: vec![],
        finished: vec![],
        last: true,
    };
    bench.send(conn, ToManager::Worker(FromWorker::Report(report)));
    bench.capabilities(conn, patterns);
    bench.grant(conn, 1);
    conn
}

/// Nobody keeps others out by being here and doing nothing; those that have anything to do stay.
#[test]
fn a_group_that_has_been_idle_for_long_makes_room() {
    let mut bench = Bench::new();
    let client = bench.client(1);
    let crowd = crowd(&mut bench);
    let mut conns = [&crowd[..], &[client]].concat();
    // Two of them run something, and one more has something waiting that it does not take.
    for group in [0, 1] {
        bench.submit(client, called(group, &format!("group{group}")));
    }
    bench.grant(crowd[2], 0);
    bench.submit(client, called(2, "group2"));
    bench.advance_alive(GROUP_IDLE - ms(1), &conns);
    let early = only(&mut bench, 1, &["early"]);
    assert_eq!(bench.closed, [early], "none has been idle for long");
    // One has just ended something.
    let assign = bench.assigned(crowd[1]).remove(0);
    bench.complete(crowd[1], &assign);
    bench.advance_alive(ms(1), &conns);
    for peer in 0..GROUPS_MAX as u64 - 3 {
        let conn = only(&mut bench, 1_000 + peer, &[&format!("new{peer}")]);
        assert!(!bench.closed.contains(&conn), "there is room for {peer}");
        conns.push(conn);
        bench.submit(client, called(1_000 + peer, &format!("new{peer}")));
        // So that the next has its turn.
        bench.advance_alive(ms(10), &conns);
        assert_eq!(bench.assigned(conn).len(), 1);
    }
    let late = only(&mut bench, 3, &["late"]);
    bench.advance_alive(ms(10), &conns);
    assert!(bench.closed.contains(&late));
    let stay: Vec<_> = (0..crowd.len())
        .filter(|worker| !bench.closed.contains(&crowd[*worker]))
        .collect();
    assert_eq!(stay, [0, 1, 2]);
    let full = Message::from(ToPeer::Control(Control::Refuse(RefuseReason::Full)));
    assert!(bench.inbox(crowd[7]).contains(&full), "and it is told");
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
