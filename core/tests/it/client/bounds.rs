//! Corners of the client: where a bound lies exactly, when it moves on, how it widens its window,
//! and what it tells the log.

use std::time::Duration;

use super::bench::*;
use argon_core::client::{ClientConfig, ClientInput, ClientOutput, SubmitError};
use argon_core::event::{CloseReason, Event};
use argon_core::ids::{PeerId, PoolProcess, SlotId};
use argon_core::limits::{ATTEMPTS_MAX, IDS_MAX, RETRIES_DEFAULT};
use argon_core::link::LinkInput;
use argon_core::machine::Machine as _;
use argon_core::message::{
    Control, FromClient, FromManager, Message, RefuseReason, ToClient, ToManager,
};
use argon_core::name::Name;
use argon_core::protocol_error::ProtocolError;
use argon_core::task::{Outcome, Priority, RejectReason, TaskSpec};
use argon_core::time::Nanos;
use bytes::Bytes;

const SECOND: Duration = Duration::from_secs(1);

/// Lets time pass with a manager that answers heartbeats.
fn pass_alive(bench: &mut Bench, span: Duration) -> Vec<ToManager> {
    let mut sent = Vec::new();
    let mut left = span;
    while !left.is_zero() {
        let step = left.min(MS * 400);
        sent.extend(bench.pass(step));
        sent.extend(bench.pong());
        left -= step;
    }
    sent
}

fn is_goodbye(body: &ToManager) -> bool {
    matches!(body, ToManager::Goodbye)
}

/// Submits plain tasks and sends them.
fn submit_all(bench: &mut Bench, count: usize) -> Vec<(u64, bool)> {
    for _ in 0..count {
        bench.submit(task());
    }
    submitted(&bench.settle())
}

/// A client of two managers that is at the first.
fn of_two() -> Bench {
    let mut bench = Bench::with(|config| config.addresses = 2);
    bench.welcome(1, false);
    bench
}

#[test]
fn a_client_has_one_manager_and_the_usual_retries_unless_told_otherwise() {
    let config = ClientConfig::new(PeerId(1), Name::new("c").unwrap());
    assert_eq!(config.addresses, 1);
    assert_eq!(config.retries, Some(RETRIES_DEFAULT));
}

#[test]
fn submit_takes_what_just_fits() {
    let mut bench = Bench::with(|config| {
        config.bytes = 200;
        config.payload_max = 196;
    });
    let attempts = |max_attempts| TaskSpec {
        max_attempts,
        ..task()
    };
    for bad in [0, ATTEMPTS_MAX + 1] {
        let refused = bench.client.submit(bench.now, attempts(bad));
        assert_eq!(refused, Err(SubmitError::Attempts(bad)));
    }
    bench.submit(attempts(1)); // 4 bytes of name
    bench.submit(attempts(ATTEMPTS_MAX));
    assert_eq!(bench.client.held_bytes(), 8);
    bench.submit(sized(200 - 8 - 4));
    assert_eq!((bench.client.held(), bench.client.held_bytes()), (3, 200));
    bench.stop();
    let mut bench = Bench::with(|config| config.payload_max = 196);
    bench.submit(sized(196));
}

#[test]
fn it_says_whether_it_is_up_and_why_not() {
    let mut bench = Bench::new();
    assert!(!bench.client.is_up());
    assert_eq!(bench.client.last_refusal(), None);
    let conn = bench.conn.unwrap();
    bench.link(LinkInput::Connected { conn });
    let reason = RefuseReason::Full;
    bench.receive(FromManager::Control(Control::Refuse(reason)));
    assert_eq!(bench.client.last_refusal(), Some(reason));
    assert!(bench.events.contains(&Event::LinkRefused { reason }));
    bench.conn = None;
    bench.pass(SECOND);
    bench.welcome(1, false);
    assert!(bench.client.is_up());
    assert_eq!(bench.client.last_refusal(), None);
    let up = |event: &Event| matches!(event, Event::LinkUp { resumed: false, .. });
    assert!(bench.events.iter().any(up));
    bench.cut();
    let down = |event: &Event| matches!(event, Event::LinkDown { .. });
    assert!(bench.events.iter().any(down));
}

#[test]
fn the_log_hears_of_retries() {
    let mut bench = Bench::up();
    submit_all(&mut bench, 1);
    for retries in 1..=2 {
        bench.receive(reject(0, RejectReason::QueueFull));
        let told = bench.events.iter().any(|event| {
            matches!(event, Event::Retrying { task, retries: said, .. }
                if task.seq == 0 && *said == retries)
        });
        assert!(told, "{retries}");
        bench.pass(SECOND);
    }
}

#[test]
fn a_stopped_client_acknowledges_says_goodbye_and_is_quiet() {
    let mut bench = Bench::up();
    submit_all(&mut bench, 2);
    let conn = bench.conn.unwrap();
    let message = Message::from(outcome(1));
    let input = ClientInput::Link(LinkInput::Received { conn, message });
    bench.client.handle_input(bench.now, input);
    let sent = bench.stop();
    assert_eq!(
        sent[0],
        acks(0, &[1]),
        "what was taken in is not sent again"
    );
    assert!(is_goodbye(&sent[1]));
    assert!(bench.stopped);
    assert_eq!(bench.client.poll_timeout(), None);
    let cancelled = Outcome::Cancelled { may_have_run: true };
    assert_eq!(bench.delivered(), [(1, completed()), (0, cancelled)]);
    let message = Message::from(outcome(0));
    bench.link(LinkInput::Received { conn, message });
    bench.now = bench.now + SECOND * 10;
    bench.client.handle_timeout(bench.now);
    assert_eq!(bench.settle(), []);
    assert_eq!(bench.delivered(), []);
}

/// A machine that stood still adds its own lateness to the silence that it bears.
#[test]
fn a_client_that_stood_still_does_not_blame_its_manager() {
    let mut bench = Bench::up();
    pass_alive(&mut bench, SECOND);
    bench.now = bench.now + LEASE * 5;
    bench.client.handle_timeout(bench.now);
    bench.settle();
    assert_eq!(bench.closed, []);
    bench.pong();
    pass_alive(&mut bench, SECOND * 3);
    assert_eq!(bench.closed, []);
}

#[test]
fn what_may_have_run_elsewhere_is_said_with_the_outcome() {
    let mut bench = Bench::up();
    submit_all(&mut bench, 2);
    bench.cut();
    let sent = bench.welcome(2, false);
    assert_eq!(submitted(&sent), [(0, true), (1, true)]);
    let may_have_run = false;
    for (seq, outcome) in [
        (0, Outcome::Expired { may_have_run }),
        (1, Outcome::Cancelled { may_have_run }),
    ] {
        bench.receive(FromManager::Role(ToClient::Outcome { seq, outcome }));
    }
    let may_have_run = true;
    assert_eq!(
        bench.delivered(),
        [
            (0, Outcome::Expired { may_have_run }),
            (1, Outcome::Cancelled { may_have_run })
        ]
    );
}

#[test]
fn a_rejection_is_no_outcome() {
    let mut bench = Bench::up();
    submit_all(&mut bench, 1);
    let outcome = Outcome::Rejected {
        reason: RejectReason::QueueFull,
        retries: 0,
        similar: Vec::new(),
    };
    bench.receive(FromManager::Role(ToClient::Outcome { seq: 0, outcome }));
    assert_eq!(
        bench.closed,
        [CloseReason::Protocol(ProtocolError::RejectionAsOutcome)]
    );
    assert_eq!(bench.delivered(), []);
}

#[test]
fn a_task_that_is_late_when_its_turn_comes_is_not_sent() {
    let mut bench = Bench::new();
    bench.submit(until(MS * 10));
    bench.submit(until(MS * 11));
    // The connection is news at the same moment as the deadline, and news is taken in first.
    bench.now = bench.now + MS * 10;
    let sent = bench.welcome(1, false);
    assert_eq!(submitted(&sent), [(1, false)]);
    let may_have_run = false;
    assert_eq!(bench.delivered(), [(0, Outcome::Expired { may_have_run })]);
}

#[test]
fn a_manager_that_is_there_keeps_the_deadline() {
    let mut bench = Bench::up();
    bench.submit(until(MS * 100));
    bench.settle();
    pass_alive(&mut bench, SECOND * 5);
    assert_eq!(bench.delivered(), []);
}

#[test]
fn many_outcomes_are_acknowledged_in_parts() {
    let mut bench = Bench::up();
    let conn = bench.conn.unwrap();
    for seq in 0..IDS_MAX as u64 + 1 {
        let message = Message::from(outcome(seq + 7));
        let input = ClientInput::Link(LinkInput::Received { conn, message });
        bench.client.handle_input(bench.now, input);
        bench.client.check_invariants();
    }
    let sizes: Vec<usize> = bench
        .settle()
        .iter()
        .filter_map(|body| match body {
            ToManager::Client(FromClient::AckOutcomes { seqs, .. }) => Some(seqs.len()),
            _ => None,
        })
        .collect();
    assert_eq!(sizes, [IDS_MAX, 1]);
}

#[test]
fn so_many_bytes_go_out_at_once_and_the_rest_a_little_later() {
    const MIB: usize = 1 << 20;
    let payload = Bytes::from(vec![0; MIB]);
    let mut bench = Bench::new();
    bench.payload_max = 2 * MIB as u32;
    bench.welcome(1, false);
    for _ in 0..20 {
        bench.submit(TaskSpec::new(Name::new("n").unwrap(), payload.clone()));
    }
    assert_eq!(submitted(&bench.settle()).len(), 16);
    assert_eq!(submitted(&bench.pass(MS)).len(), 4);
    // So it is with those that are sent again.
    bench.cut();
    assert_eq!(submitted(&bench.welcome(2, false)).len(), 16);
    assert_eq!(submitted(&bench.pass(MS)).len(), 4);
}

#[test]
fn so_many_tasks_go_out_at_once_and_the_rest_a_little_later() {
    const AT_ONCE: usize = 4_096;
    let mut bench = Bench::up();
    let mut most = submit_all(&mut bench, 20_000).len();
    // Whatever the manager takes in without refusing widens the window.
    while bench.client.in_flight() < 10_000 {
        let before = bench.client.in_flight();
        let mut sent = bench.pong();
        most = most.max(submitted(&sent).len());
        sent.extend(bench.pass(MS));
        assert!(bench.client.in_flight() > before, "{before}");
    }
    assert_eq!(most, AT_ONCE);
    let in_flight = bench.client.in_flight();
    bench.cut();
    assert_eq!(submitted(&bench.welcome(2, false)).len(), AT_ONCE);
    let rest = submitted(&bench.pass(MS * 2)).len();
    assert!(
        in_flight > 2 * AT_ONCE && rest == in_flight - AT_ONCE,
        "{rest}"
    );
}

#[test]
fn so_many_tasks_that_ended_cut_off_are_cancelled_on_return() {
    let mut bench = Bench::up();
    for _ in 0..20_000 {
        bench.submit(until(SECOND));
    }
    bench.settle();
    while bench.client.in_flight() < IDS_MAX + 10 {
        bench.pong();
        bench.pass(MS);
    }
    bench.cut();
    bench.conn = None;
    bench.pass(SECOND + LEASE);
    let sent = bench.welcome(1, true);
    let cancels = sent
        .iter()
        .filter(|body| matches!(body, ToManager::Client(FromClient::Cancel { .. })));
    assert_eq!(cancels.count(), IDS_MAX);
}

#[test]
fn an_unknown_manager_gets_a_few_and_more_with_each_outcome() {
    let mut bench = Bench::up();
    assert_eq!(submit_all(&mut bench, 100).len(), 64);
    // One for its place, one because it was taken.
    assert_eq!(submitted(&bench.receive(outcome(0))).len(), 2);
    // What it has taken in without a word widens the window as well.
    assert_eq!(bench.client.window(), 65);
    bench.pong();
    assert_eq!(bench.client.window(), 130);
}

#[test]
fn what_a_manager_accepted_says_nothing_of_the_next() {
    let mut bench = Bench::up();
    submit_all(&mut bench, 100);
    bench.receive(reject(0, RejectReason::QueueFull));
    assert_eq!(bench.client.window(), 63 - 63 / 8);
    bench.cut();
    bench.welcome(2, false);
    assert_eq!(bench.client.window(), 64);
}

#[test]
fn what_may_have_run_is_retried_ever_more_slowly() {
    let mut bench = Bench::up();
    submit_all(&mut bench, 1);
    bench.cut();
    bench.welcome(2, false);
    let mut waited = Vec::new();
    for _ in 0..20 {
        bench.receive(reject(0, RejectReason::QueueFull));
        let before = bench.now;
        let mut sent = Vec::new();
        while submitted(&sent).is_empty() {
            sent = pass_alive(&mut bench, MS * 5);
        }
        waited.push(bench.now.since(before));
    }
    let first: Duration = waited[..3].iter().sum();
    let last: Duration = waited[10..].iter().sum();
    assert!(first < MS * (25 + 50 + 100 + 15), "{waited:?}");
    assert!(last > SECOND * 5, "{waited:?}");
}

#[test]
fn a_client_leaves_a_manager_without_workers_for_the_next_soon() {
    let mut bench = of_two();
    let first = bench.address;
    submit_all(&mut bench, 3);
    let hint: Nanos = (SECOND * 30).into();
    let reject = |seq| {
        FromManager::Role(ToClient::Reject {
            seq,
            reason: RejectReason::NoWorkers,
            retry_after: hint,
            may_have_run: false,
            similar: Vec::new(),
        })
    };
    bench.receive(reject(0));
    bench.pass(MS * 15);
    // A second one does not put the move off.
    bench.receive(reject(1));
    bench.submit(task());
    assert_eq!(bench.settle(), [], "nothing is sent there any more");
    // An outcome from before is acknowledged on the way out.
    bench.pass(MS * 4);
    let answers = bench.receive(outcome(77));
    assert!(
        matches!(
            answers[..],
            [ToManager::Client(FromClient::AckOutcomes { .. })]
        ),
        "{answers:?}"
    );
    let goodbyes = bench.pass(MS);
    assert!(matches!(goodbyes[..], [ToManager::Goodbye]), "{goodbyes:?}");
    let left = |event: &Event| matches!(event, Event::LinkDown { .. });
    assert!(bench.events.iter().any(left));
    bench.pass(Duration::ZERO);
    assert_ne!(bench.address, first);
    // What the first one advised is not the second one's advice.
    let sent = bench.welcome(2, false);
    assert_eq!(
        submitted(&sent),
        [(2, true), (0, false), (1, false), (3, false)]
    );
}

#[test]
fn an_outcome_shows_that_there_are_workers() {
    let mut bench = of_two();
    submit_all(&mut bench, 3);
    bench.receive(reject(0, RejectReason::NoWorkers));
    bench.receive(outcome(1));
    let sent = pass_alive(&mut bench, SECOND);
    assert!(!sent.iter().any(is_goodbye));
    // A cut does as well: it is another connection.
    let mut bench = of_two();
    submit_all(&mut bench, 1);
    bench.receive(reject(0, RejectReason::NoWorkers));
    bench.cut();
    bench.welcome(1, true);
    let sent = pass_alive(&mut bench, SECOND);
    assert!(!sent.iter().any(is_goodbye));
}

#[test]
fn only_a_manager_without_workers_is_left_and_only_for_another() {
    let mut bench = of_two();
    submit_all(&mut bench, 2);
    bench.receive(reject(0, RejectReason::QueueFull));
    assert!(!pass_alive(&mut bench, SECOND).iter().any(is_goodbye));
    let mut bench = Bench::up();
    submit_all(&mut bench, 2);
    bench.receive(reject(0, RejectReason::NoWorkers));
    assert!(!pass_alive(&mut bench, SECOND).iter().any(is_goodbye));
}

/// When the current manager turns the last task down, how long it takes until the client leaves.
fn leaves_after(bench: &mut Bench, seq: u64) -> Duration {
    let before = bench.now;
    bench.receive(FromManager::Role(ToClient::Reject {
        seq,
        reason: RejectReason::NoWorkers,
        retry_after: (SECOND * 5).into(),
        may_have_run: false,
        similar: Vec::new(),
    }));
    while !pass_alive(bench, MS).iter().any(is_goodbye) {
        assert!(bench.now.since(before) < SECOND * 5);
    }
    bench.now.since(before)
}

#[test]
fn having_tried_all_it_moves_once_a_second() {
    let mut bench = of_two();
    submit_all(&mut bench, 1);
    assert_eq!(leaves_after(&mut bench, 0), MS * 20);
    bench.welcome(2, false);
    assert_eq!(leaves_after(&mut bench, 0), SECOND, "since the last");
    // Back at the first: its advice still counts, since all were asked.
    let sent = bench.welcome(1, false);
    assert_eq!(submitted(&sent), []);
    // A task that ends shows that there are workers: from then on the next is tried soon.
    pass_alive(&mut bench, SECOND * 10);
    bench.submit(task());
    bench.settle();
    bench.receive(outcome(1));
    bench.submit(task());
    bench.settle();
    assert_eq!(leaves_after(&mut bench, 2), MS * 20);
    // Even right after the last move.
    bench.welcome(2, false);
    bench.receive(outcome(2));
    bench.submit(task());
    bench.settle();
    assert_eq!(leaves_after(&mut bench, 3), MS * 20);
}

#[test]
fn while_some_are_untried_it_moves_on_soon() {
    let mut bench = Bench::with(|config| config.addresses = 3);
    bench.welcome(1, false);
    submit_all(&mut bench, 1);
    for epoch in 2..=3 {
        assert_eq!(leaves_after(&mut bench, 0), MS * 20);
        bench.welcome(epoch, false);
    }
    assert!(leaves_after(&mut bench, 0) > MS * 900);
}

#[test]
fn with_nothing_accepted_no_task_pays_for_all() {
    let mut bench = Bench::with(|config| config.retries = None);
    bench.welcome(1, false);
    let mut rejected = [0_u32; 8];
    let mut open: Vec<u64> = submit_all(&mut bench, 8)
        .iter()
        .map(|(seq, _)| *seq)
        .collect();
    let mut rounds = 0;
    while rounds < 48 {
        for seq in std::mem::take(&mut open) {
            rounds += 1;
            rejected[seq as usize] += 1;
            open.extend(
                submitted(&bench.receive(reject(seq, RejectReason::QueueFull)))
                    .iter()
                    .map(|(seq, _)| *seq),
            );
        }
        open.extend(
            submitted(&pass_alive(&mut bench, MS * 10))
                .iter()
                .map(|(seq, _)| *seq),
        );
    }
    let (least, most) = (
        rejected.iter().min().unwrap(),
        rejected.iter().max().unwrap(),
    );
    assert!(*most <= *least + 2, "{rejected:?}");
}

#[test]
fn while_probing_one_goes_out_and_more_important_ones_go_before_the_pause_is_over() {
    let mut bench = Bench::with(|config| config.retries = None);
    bench.welcome(1, false);
    submit_all(&mut bench, 3);
    for seq in 0..3 {
        bench.receive(reject(seq, RejectReason::QueueFull));
    }
    let important = TaskSpec {
        priority: Priority::HIGH,
        ..task()
    };
    bench.submit(important.clone());
    bench.submit(important);
    assert_eq!(
        submitted(&bench.settle()),
        [(3, false)],
        "and only one of them"
    );
    bench.receive(reject(3, RejectReason::QueueFull));
    let mut sent = Vec::new();
    for _ in 0..100 {
        sent.extend(submitted(&pass_alive(&mut bench, MS * 10)));
    }
    assert_eq!(sent.len(), 1, "{sent:?}");
}

#[test]
fn that_it_has_stopped_is_the_last_that_it_says() {
    let mut bench = Bench::up();
    bench.submit(task());
    bench.submit(task());
    bench.settle();
    bench.client.handle_input(bench.now, ClientInput::Stop);
    bench.client.settle(bench.now);
    let said: Vec<ClientOutput> = std::iter::from_fn(|| bench.client.poll_output())
        .filter(|output| !matches!(output, ClientOutput::Notify(_)))
        .collect();
    assert!(said.len() > 3, "a goodbye, a close, two outcomes");
    assert_eq!(said.last(), Some(&ClientOutput::Stopped));
}

#[test]
fn a_client_in_a_pool_process_says_so_once_in_each_session() {
    let process = PoolProcess {
        worker: PeerId(5),
        slot: SlotId(2),
        life: 9,
    };
    let mut bench = Bench::with(|config| config.within = Some(process));
    let said = |sent: &[ToManager]| {
        sent.iter()
            .filter(|body| **body == ToManager::Client(FromClient::Within(process)))
            .count()
    };
    let first = bench.welcome(1, false);
    assert_eq!(
        (said(&first), &first[0]),
        (1, &ToManager::Client(FromClient::Within(process)))
    );
    bench.cut();
    assert_eq!(said(&bench.welcome(1, true)), 0);
    bench.cut();
    assert_eq!(said(&bench.welcome(2, false)), 1);
}
