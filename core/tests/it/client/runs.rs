//! A client and runs: it submits in them, and takes outcomes from them, as if one by one.

use argon_core::client::{ClientInput, ClientOutput};
use argon_core::event::CloseReason;
use argon_core::limits::RUN_TASKS_MAX;
use argon_core::link::LinkInput;
use argon_core::machine::Machine as _;
use argon_core::message::*;
use argon_core::name::Name;
use argon_core::payload::{Content, Payload};
use argon_core::protocol_error::ProtocolError;
use argon_core::task::{Outcome, Priority, RejectReason, TaskSpec};
use argon_core::testing::by_manager;
use argon_core::time::Nanos;

use super::bench::*;

fn up() -> Bench {
    let mut bench = Bench::new();
    bench.version = VERSION;
    bench.welcome(1, false);
    bench
}

/// What was submitted: the first number of each message, and of how many tasks it speaks.
fn submitted(sent: &[ToManager]) -> Vec<(u64, usize)> {
    let of = |body: &ToManager| match body {
        ToManager::Client(FromClient::Submit(submit)) => Some((submit.seq, 1)),
        ToManager::Client(FromClient::SubmitRun(run)) => Some((run.first.seq, run.sizes.len())),
        _ => None,
    };
    sent.iter().filter_map(of).collect()
}

fn ends(seq: u64, offsets: &[u16]) -> Message<FromManager<ToClient>> {
    let first = Completed {
        seq,
        waited: Nanos(6),
        charged: 0,
        worker: Name::new("w1").expect("a name"),
    };
    let end = |&offset| End {
        offset,
        ran: 5,
        size: 1,
    };
    let ends = Ends {
        first,
        ends: offsets.iter().map(end).collect(),
    };
    Message {
        body: FromManager::Role(ToClient::OutcomeRun(ends.into())),
        payload: Payload::from(vec![b'r'; offsets.len()]),
    }
}

fn receive(bench: &mut Bench, message: Message<FromManager<ToClient>>) -> Vec<ToManager> {
    let conn = bench.conn.expect("a connection");
    bench.heard += 1;
    bench.link(LinkInput::Received { conn, message })
}

#[test]
fn what_is_submitted_in_one_step_goes_out_in_runs_of_the_same_sort() {
    let mut bench = up();
    for _ in 0..3 {
        bench.submit(task());
    }
    for priority in [Priority::HIGH, Priority::HIGH, Priority::NORMAL] {
        bench.submit(TaskSpec { priority, ..task() });
    }
    let sent = bench.settle();
    // The more important ones first; of the others, one does not follow the rest.
    assert_eq!(submitted(&sent), [(3, 2), (0, 3), (5, 1)]);
    assert_eq!(bench.client.in_flight(), 6);
}

/// What is the same for all of a run is said once, so whatever differs has to part them.
#[test]
fn tasks_that_differ_in_anything_but_number_and_argument_are_not_of_one_run() {
    let differences: [fn(&mut TaskSpec); 7] = [
        |task| task.name = Name::new("other").expect("a name"),
        |task| task.payload = Payload::new(Content::JSON, "{}"),
        |task| task.deadline = Some(MS * 7),
        |task| task.max_wait = Some(MS * 7),
        |task| task.time_limit = Some(MS * 7),
        |task| task.max_attempts = 2,
        |task| task.at_most_once = true,
    ];
    for change in differences {
        let mut bench = up();
        let mut other = task();
        change(&mut other);
        for spec in [task(), other.clone(), other, task()] {
            bench.submit(spec);
        }
        let sent = bench.settle();
        assert_eq!(submitted(&sent), [(0, 1), (1, 2), (3, 1)]);
    }
}

#[test]
fn what_may_have_run_and_what_has_not_are_not_of_one_run() {
    let mut bench = up();
    bench.submit(task());
    bench.settle();
    bench.cut();
    bench.submit(task());
    let sent = bench.welcome(2, false);
    assert_eq!(submitted(&sent), [(0, 1), (1, 1)]);
}

#[test]
fn managers_and_clients_of_before_are_sent_and_send_one_by_one() {
    let old_manager = Bench::up();
    let mut old_client = Bench::with(|config| config.inner.version = Version::FIRST);
    old_client.version = VERSION;
    old_client.welcome(1, false);
    for mut bench in [old_manager, old_client] {
        for _ in 0..3 {
            bench.submit(task());
        }
        let sent = bench.settle();
        assert_eq!(submitted(&sent), [(0, 1), (1, 1), (2, 1)]);
    }
}

#[test]
fn each_outcome_of_a_run_is_delivered_and_acknowledged() {
    let mut bench = up();
    for _ in 0..4 {
        bench.submit(task());
    }
    bench.settle();
    let sent = receive(&mut bench, ends(0, &[2, 0, 1]));
    let expected = [2, 0, 1].map(|seq| (seq, completed()));
    assert_eq!(bench.delivered(), expected);
    assert_eq!(sent, [ack(3)]);
    // Again, after a reconnect: it is known, and acknowledged, and not delivered twice.
    let sent = receive(&mut bench, ends(0, &[0, 1]));
    assert_eq!(bench.delivered(), []);
    assert_eq!(sent, [ack(3)]);
}

#[test]
fn a_run_that_is_none_closes_the_connection() {
    let none: [fn(&mut Message<FromManager<ToClient>>); 4] = [
        |run| run.payload = Payload::from("too long"),
        |run| *run = ends(0, &[0]),
        |run| *run = ends(0, &[0; RUN_TASKS_MAX + 1]),
        |run| *run = ends(u64::MAX, &[0, 1]),
    ];
    for change in none {
        let mut bench = up();
        bench.submit(task());
        bench.submit(task());
        bench.settle();
        let mut run = ends(0, &[0, 1]);
        change(&mut run);
        receive(&mut bench, run);
        let reason = CloseReason::Protocol(ProtocolError::BadRun);
        assert_eq!(bench.closed, [reason]);
        assert!(bench.delivered().is_empty());
    }
}

#[test]
fn a_run_that_ends_what_was_not_submitted_ends_nothing_more() {
    let mut bench = up();
    bench.submit(task());
    bench.settle();
    // A task that waits for its turn was never sent.
    bench.client.submit(bench.now, task()).expect("room");
    receive(&mut bench, ends(0, &[1, 0]));
    let reason = CloseReason::Protocol(ProtocolError::EndedUnsubmitted);
    assert_eq!(bench.closed, [reason]);
    let is_completed = |(_, outcome): &(u64, Outcome)| matches!(outcome, Outcome::Completed(_));
    assert!(!bench.delivered().iter().any(is_completed));
}

#[test]
fn outcomes_of_one_step_are_delivered_together_and_in_their_order() {
    let mut bench = up();
    for _ in 0..4 {
        bench.submit(task());
    }
    bench.settle();
    let conn = bench.conn.expect("a connection");
    bench.heard += 1;
    let message = ends(0, &[1, 0, 3]);
    let input = LinkInput::Received { conn, message };
    bench
        .client
        .handle_input(bench.now, ClientInput::Link(input));
    let output = bench.client.poll_output();
    let Some(ClientOutput::Deliver(deliveries)) = output else {
        panic!("{output:?}");
    };
    let seqs: Vec<u64> = deliveries.iter().map(|delivery| delivery.seq).collect();
    assert_eq!(seqs, [1, 0, 3]);
    assert_eq!(bench.client.held(), 1);
}

fn rejections(first: u64, count: u32) -> Rejections {
    Rejections {
        first,
        count,
        reason: RejectReason::QueueFull,
        retry_after: Nanos(1_000_000),
        may_have_run: false,
    }
}

fn reject_run(rejections: Rejections) -> FromManager<ToClient> {
    FromManager::Role(ToClient::RejectRun(rejections))
}

/// A client that hears of rejections in runs does what one does that hears of them one by one.
#[test]
fn rejections_in_a_run_are_rejections() {
    let script = [
        rejections(3, 9),
        rejections(20, 4),
        Rejections {
            may_have_run: true,
            ..rejections(24, 3)
        },
        Rejections {
            reason: RejectReason::NoRunner,
            ..rejections(40, 5)
        },
        Rejections {
            retry_after: Nanos(9),
            ..rejections(50, 20)
        },
    ];
    let twins = [false, true].map(|in_runs| {
        let mut bench = up();
        for _ in 0..60 {
            bench.submit(task());
        }
        let mut said = bench.settle();
        bench.cancel(5);
        for run in script {
            let run = by_manager(ToClient::RejectRun(run).into());
            let parts = if in_runs { vec![run] } else { run.singles() };
            for part in parts {
                let Said::FromManager(ToPeer::Client(body)) = part.body else {
                    panic!("{part:?}");
                };
                bench.heard += 1;
                let conn = bench.conn.expect("a connection");
                let message = FromManager::Role(body).into();
                let input = ClientInput::Link(LinkInput::Received { conn, message });
                bench.client.handle_input(bench.now, input);
            }
            said.extend(bench.settle());
            said.extend(bench.pass(MS * 7));
        }
        said.extend(bench.pass(MS * 1_500));
        (said, bench.delivered(), bench.events, bench.client.window())
    });
    let [one_by_one, in_runs] = twins;
    assert_eq!(one_by_one, in_runs);
}

#[test]
fn what_was_rejected_in_a_run_is_submitted_again_in_one() {
    let mut bench = up();
    for _ in 0..40 {
        bench.submit(task());
    }
    bench.settle();
    assert_eq!(bench.receive(reject_run(rejections(30, 10))), []);
    for seq in 0..30 {
        bench.receive(outcome(seq));
    }
    assert_eq!(submitted(&bench.pass(MS * 100)), [(30, 10)]);
}

#[test]
fn rejections_that_are_no_run_close_the_connection() {
    let none = [
        rejections(0, 0),
        rejections(0, 1),
        rejections(0, RUN_TASKS_MAX as u32 + 1),
        rejections(u64::MAX, 2),
    ];
    for run in none {
        let mut bench = up();
        bench.submit(task());
        bench.settle();
        bench.receive(reject_run(run));
        let reason = CloseReason::Protocol(ProtocolError::BadRun);
        assert_eq!(bench.closed, [reason]);
    }
}
