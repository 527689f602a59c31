//! The judge is judged: histories that break one promise each, and one that breaks none.

use super::check;
use crate::history::RejectedWhy;
use crate::history::{
    Delivery, End, Execution, ExecutionEnd, FailedWhy, History, Life, Process, Submit, Wire,
    WireWhat,
};
use crate::options::{Options, S};
use crate::plan::Plan;
use crate::workload::Submission;

const CLIENT: u16 = 2;

/// One task, submitted, run once, completed; nothing went wrong.
fn good() -> (Plan, History) {
    let plan = Plan {
        seed: 0,
        options: Options::calm(vec![1], 1),
        tasks: vec![Submission::plain(1, CLIENT, 10)],
        faults: Vec::new(),
    };
    let life = |host, id, capacity| Life {
        host,
        id,
        start: 0,
        end: None,
        capacity,
        runs: u8::MAX,
    };
    let history = History {
        submits: vec![Submit {
            task: 0,
            at: 1,
            life: 2,
            seq: 0,
        }],
        deliveries: vec![delivered(0)],
        executions: vec![ran(0, 10)],
        processes: vec![Process {
            life: 1,
            slot: 0,
            start: 0,
            end: None,
        }],
        lives: vec![life(0, 100, 0), life(1, 101, 1), life(2, 102, 0)],
        ..History::default()
    };
    (plan, history)
}

fn delivered(execution: usize) -> Delivery {
    Delivery {
        at: 5 * S,
        life: 2,
        seq: 0,
        end: End::Completed { charged: 0 },
        payload: crate::pool::result(0, execution, 0).to_vec(),
    }
}

fn ran(place: usize, start: u64) -> Execution {
    Execution {
        place,
        task: 0,
        client: 102,
        seq: 0,
        attempt: (100, place as u64),
        life: 1,
        bytes: 8,
        process: 0,
        given: start,
        start,
        end: Some((start + 10, ExecutionEnd::Completed)),
    }
}

fn verdict(change: impl FnOnce(&mut Plan, &mut History)) -> String {
    let (mut plan, mut history) = good();
    change(&mut plan, &mut history);
    match check(&plan, &history) {
        Ok(()) => "fine".to_owned(),
        Err(failure) => failure.promise.split(' ').next().unwrap_or("").to_owned(),
    }
}

#[test]
fn a_good_history_is_good() {
    assert_eq!(verdict(|_, _| {}), "fine");
}

#[test]
fn one_outcome_each() {
    assert_eq!(verdict(|_, h| h.deliveries.clear()), "1");
    assert_eq!(verdict(|_, h| h.deliveries.push(delivered(0))), "1");
    assert_eq!(verdict(|_, h| h.deliveries[0].seq = 9), "1");
}

#[test]
fn outcomes_are_honest() {
    let says = |end: End| verdict(|_, h| h.deliveries[0].end = end);
    assert_eq!(verdict(|_, h| h.deliveries[0].payload.clear()), "2");
    assert_eq!(verdict(|_, h| h.deliveries[0] = delivered(7)), "2");
    assert_eq!(verdict(|_, h| h.executions[0].end = None), "2");
    assert_eq!(verdict(|_, h| h.executions[0].seq = 3), "2");
    assert_eq!(says(End::Lost { history: 0 }), "2");
    let may_have_run = false;
    assert_eq!(says(End::Cancelled { may_have_run }), "2");
    assert_eq!(says(End::Expired { may_have_run }), "2");
    let (retries, why) = (10, RejectedWhy::Retries);
    assert_eq!(says(End::Rejected { retries, why }), "2");
    let why = FailedWhy::Raised("execution 0".to_owned());
    assert_eq!(says(End::Failed { why, history: 0 }), "2");
}

#[test]
fn no_execution_without_a_cause() {
    assert_eq!(verdict(|_, h| h.executions.push(ran(1, 30))), "3");
    let crashed = verdict(|_, h| {
        h.executions[0].end = Some((20, ExecutionEnd::Crashed));
        h.executions.push(ran(1, 30));
        h.deliveries[0] = delivered(1);
    });
    assert_eq!(crashed, "fine");
    let once = verdict(|p, h| {
        p.tasks[0].at_most_once = true;
        h.executions[0].end = Some((20, ExecutionEnd::Crashed));
        h.executions.push(ran(1, 30));
        h.deliveries[0] = delivered(1);
    });
    assert_eq!(once, "3");
    let too_often = verdict(|p, h| {
        p.tasks[0].max_attempts = 1;
        h.deliveries[0].end = End::Completed { charged: 1 };
    });
    assert_eq!(too_often, "3");
}

#[test]
fn nobody_has_run_what_is_too_large() {
    let limited = |limit| verdict(|p, _| p.options.payload_max = Some(limit));
    assert_eq!(limited(8), "fine");
    assert_eq!(limited(7), "17");
}

#[test]
fn ended_tasks_stop_and_slots_are_not_shared() {
    let late = 60 * S;
    let goes_on = verdict(|p, h| {
        p.tasks[0].cancel_after = Some(1);
        h.deliveries[0].end = End::Cancelled { may_have_run: true };
        h.executions[0].end = Some((late, ExecutionEnd::Completed));
    });
    assert_eq!(goes_on, "4");
    let crowded = |other: u64| {
        verdict(|p, h| {
            p.tasks.push(Submission::plain(1, CLIENT, 10));
            let (task, seq, process) = (1, 1, 1);
            h.submits.push(Submit {
                task,
                seq,
                ..h.submits[0].clone()
            });
            let second = ran(1, other);
            h.executions.push(Execution {
                task,
                seq,
                process,
                ..second
            });
            let payload = crate::pool::result(1, 1, 0).to_vec();
            h.deliveries.push(Delivery {
                seq,
                payload,
                ..delivered(1)
            });
        })
    };
    assert_eq!(crowded(15), "capacity");
    assert_eq!(crowded(20), "fine");
}

/// A manager's messages about tasks of one client, as (at, number, what). It sends them out one by one.
fn said(wire: &[(u64, u64, WireWhat)]) -> String {
    said_in_turns(wire, 0)
}

/// The same, of a manager with this turn time.
fn said_in_turns(wire: &[(u64, u64, WireWhat)], turn_time: u64) -> String {
    verdict(|plan, h| {
        plan.options.turn_time = turn_time;
        for &(at, seq, what) in wire {
            let (life, client) = (0, 102);
            h.wire.push(Wire {
                at,
                life,
                client,
                seq,
                what,
            });
        }
    })
}

fn came(at: u64, seq: u64, priority: u8) -> (u64, u64, WireWhat) {
    came_for(at, seq, priority, u64::MAX)
}

/// A submission that waits for so long.
fn came_for(at: u64, seq: u64, priority: u8, waits: u64) -> (u64, u64, WireWhat) {
    let what = WireWhat::Submitted {
        priority,
        marked: false,
        name: 0,
        deadline: u64::MAX,
        max_wait: u64::MAX,
        waits,
        same: 0,
    };
    (at, seq, what)
}

#[test]
fn order_is_judged() {
    let goes = |at, seq| (at, seq, WireWhat::Assigned);
    let pushed_out = |at, seq| {
        (
            at,
            seq,
            WireWhat::Rejected {
                displaced: true,
                after: 0,
            },
        )
    };
    let refused = |at, seq| {
        (
            at,
            seq,
            WireWhat::Rejected {
                displaced: false,
                after: 0,
            },
        )
    };
    let orderly = [came(1, 0, 4), came(2, 1, 4), goes(3, 0), goes(3, 1)];
    assert_eq!(said(&orderly), "fine");
    let overtaken = [came(1, 0, 4), came(2, 1, 4), goes(3, 1), goes(3, 0)];
    assert_eq!(said(&overtaken), "7");
    let important = [came(1, 0, 4), came(2, 1, 3), goes(3, 1), goes(3, 0)];
    assert_eq!(said(&important), "fine");
    // Refused and submitted again: it has lost its place.
    let again = [
        came(1, 0, 4),
        refused(1, 0),
        came(2, 1, 4),
        came(3, 0, 4),
        goes(4, 1),
        goes(4, 0),
    ];
    assert_eq!(said(&again), "fine");

    let among = |others: u64| {
        let mut wire = vec![came(1, 0, 7)];
        for seq in 1..=others {
            wire.extend([came(2, seq, 0), goes(2, seq)]);
        }
        wire.push(goes(3, 0));
        said(&wire)
    };
    assert_eq!(among(15), "fine");
    assert_eq!(among(16), "7");

    let displaced = |newcomer, victim| {
        let newcomer = came(5, 2, newcomer);
        said(&[
            came(1, 0, 4),
            came(2, 1, 4),
            newcomer,
            pushed_out(5, victim),
        ])
    };
    assert_eq!(displaced(3, 1), "fine");
    assert_eq!(displaced(4, 1), "fine");
    assert_eq!(displaced(5, 1), "8");
    assert_eq!(displaced(3, 0), "8");

    // Whoever was refused made nobody leave.
    let turned_away = [
        came(1, 0, 4),
        came(5, 2, 3),
        refused(5, 2),
        pushed_out(5, 0),
    ];
    assert_eq!(said(&turned_away), "8");
    // What its client has given up may have ended without a word that was seen.
    let given_up = [
        came(1, 0, 4),
        came(2, 1, 4),
        (3, 1, WireWhat::Cancelled),
        came(5, 2, 3),
        pushed_out(5, 0),
    ];
    assert_eq!(said(&given_up), "fine");
}

#[test]
fn priority_is_judged_also_of_what_came_back() {
    let goes = |at, seq| (at, seq, WireWhat::Assigned);
    let back = |at, seq| (at, seq, WireWhat::Returned);
    let queue = [came(1, 0, 4), came(1, 1, 2), came(1, 2, 4), came(1, 3, 2)];
    let after = |rest: &[(u64, u64, WireWhat)]| said(&[&queue[..], rest].concat());
    assert_eq!(
        after(&[goes(2, 1), goes(2, 3), goes(2, 0), goes(2, 2)]),
        "fine"
    );
    // One may be the oldest's turn; the next is not.
    assert_eq!(after(&[goes(2, 0), goes(2, 1), goes(2, 3)]), "fine");
    assert_eq!(after(&[goes(2, 0), goes(2, 2)]), "7");
    // What came back goes by its own importance, neither before the more important nor after the less.
    let came_back = [goes(2, 1), goes(2, 3), goes(2, 0), back(3, 1), back(3, 3)];
    let before = [&came_back[..], &[came(3, 4, 4), goes(4, 2), goes(4, 4)]].concat();
    assert_eq!(after(&before), "7");
    let more_important = [came(3, 5, 1), came(3, 6, 1), goes(4, 1), goes(4, 3)];
    assert_eq!(after(&[&came_back[..], &more_important].concat()), "7");
    // In the same instant nobody knows which was first.
    let at_once = [came(4, 5, 1), came(4, 6, 1), goes(4, 1), goes(4, 3)];
    assert_eq!(after(&[&came_back[..], &at_once].concat()), "fine");
    // While its client is away nobody knows what became of a task.
    let away = [(3, 0, WireWhat::Left), goes(4, 0), goes(4, 2)];
    assert_eq!(after(&away), "fine");
}

#[test]
fn tasks_of_one_turn_are_judged_as_one() {
    let goes = |at, seq| (at, seq, WireWhat::Assigned);
    let queue = [came(1, 0, 4), came(1, 1, 2), came(1, 2, 4), came(1, 3, 4)];
    let judged = |rest: &[(u64, u64, WireWhat)], turn_time| {
        said_in_turns(&[&queue[..], rest].concat(), turn_time)
    };
    // The oldest's turn.
    let passes = [goes(2, 0), goes(2, 2), goes(2, 3)];
    assert_eq!(judged(&passes, 1), "fine");
    assert_eq!(judged(&passes, 0), "7");
    // What is sent out later, or after another, is of another turn.
    assert_eq!(judged(&[goes(2, 0), goes(3, 2)], 1), "7");
    let between = [came(1, 4, 2), goes(2, 0), goes(2, 1), goes(2, 2)];
    assert_eq!(judged(&between, 1), "7");

    let among = |turns: u64| {
        let mut wire = vec![came(1, 0, 7)];
        for turn in 1..=turns {
            let seqs = || [2 * turn, 2 * turn + 1];
            wire.extend(seqs().map(|seq| came(2, seq, 0)));
            wire.extend(seqs().map(|seq| goes(2 + turn, seq)));
        }
        wire.push(goes(99, 0));
        said_in_turns(&wire, 1)
    };
    assert_eq!(among(15), "fine");
    assert_eq!(among(16), "7");
}

#[test]
fn what_may_have_ended_by_itself_is_passed_by_nobody() {
    let goes = |at, seq| (at, seq, WireWhat::Assigned);
    // It waits until the instant 5 at the earliest, so that it may be gone in that instant.
    let queue = [came(1, 0, 4), came_for(1, 1, 2, 4), came(1, 2, 4)];
    let both = |at| said(&[&queue[..], &[goes(at, 0), goes(at, 2)]].concat());
    assert_eq!(both(3), "7");
    assert_eq!(both(5), "fine");
}
