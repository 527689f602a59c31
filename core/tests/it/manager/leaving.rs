//! Corners that the manager must not be caught in, each as one short scene: workers that leave
//! for good, that answer some things and not others, and that say too much.

use super::bench::{Bench, name, submit};
use argon_core::Machine as _;
use argon_core::access::{Access, KeyRole};
use argon_core::ids::PeerId;
use argon_core::limits::OBSERVERS_MAX;
use argon_core::manager::ManagerInput;
use argon_core::message::{
    AttemptEnd, Control, Finished, FromWorker, Hello, MAGIC, RefuseReason, Role, ToManager, ToPeer,
    VERSION,
};
use argon_core::time::Nanos;

#[test]
fn observers_are_bounded_and_make_room_when_they_leave() {
    let mut bench = Bench::new();
    let observe = |bench: &mut Bench, peer| bench.hello(peer, 1, Role::Observer, None, "eye");
    let conns: Vec<_> = (0..OBSERVERS_MAX as u64)
        .map(|peer| observe(&mut bench, peer))
        .inspect(|(_, welcome)| assert!(welcome.is_some()))
        .collect();
    let (refused, welcome) = observe(&mut bench, 9_999);
    assert_eq!(welcome, None);
    let full = ToPeer::Control(Control::Refuse(RefuseReason::Full));
    assert_eq!(bench.inbox(refused)[0].body, full);
    bench.close(conns[0].0);
    let (_, welcome) = observe(&mut bench, 10_000);
    assert!(welcome.is_some());
}

/// Those whose keys have not the role of an observer.
#[test]
fn guests_are_bounded_by_half_of_that_and_make_room_when_they_leave() {
    let mut bench = Bench::new();
    let mut peer = 0;
    let mut observe = |bench: &mut Bench| {
        peer += 1;
        let conn = bench.connect_with(Access::new([KeyRole::Submit], None));
        let hello = Hello {
            magic: MAGIC,
            version: VERSION,
            role: Role::Observer,
            peer: PeerId(peer),
            connection: 1,
            session: None,
            name: name("eye"),
        };
        bench.greet(conn, hello).map(|_| conn)
    };
    for _ in 0..2 {
        let guests: Vec<_> = std::iter::from_fn(|| observe(&mut bench)).collect();
        assert_eq!(guests.len(), OBSERVERS_MAX / 2);
        for conn in guests {
            bench.close(conn);
        }
    }
}

#[test]
fn a_worker_may_finish_and_leave_in_one_breath() {
    let mut bench = Bench::new();
    let (worker, other) = (bench.worker(1, 1), bench.worker(2, 1));
    let client = bench.client(3);
    bench.submit(client, submit(0));
    let assign = bench.assigned(worker).remove(0);
    let finished = Finished {
        attempt: assign.attempt,
        task: assign.task,
        ran: Nanos(1),
        end: AttemptEnd::Completed,
    };
    for body in [
        ToManager::Worker(FromWorker::Finished(finished)),
        ToManager::Goodbye,
    ] {
        let (conn, message) = (worker, body.into());
        let input = ManagerInput::Received { conn, message };
        bench.manager.handle_input(bench.now, input);
    }
    bench.submit(client, submit(1));
    assert!(super::bench::completed(&bench.outcomes(client)[0].1));
    assert_eq!(bench.assigned(other).len(), 1);
}
