//! The property of the twins means nothing unless runs and rows are met in it.

use std::time::Duration;

use argon_core::limits::TURN_TIME;

use super::{Act, Twins, WORKERS, narrow};

/// Tasks that follow each other wait together where no worker takes them.
#[test]
fn what_follows_each_other_waits_as_a_run() {
    let mut twins = Twins::new(narrow(TURN_TIME));
    for worker in 0..WORKERS {
        twins.act(Act::Grant { worker, window: 0 });
    }
    twins.submit(0, 10, 0, 0, 1);
    twins.submit(1, 3, 0, 0, 1);
    let [load, in_runs] = [&twins.one_by_one, &twins.in_runs].map(|told| told.manager.load());
    assert_eq!((load.queued, load.in_runs), (13, 0));
    assert_eq!(
        (in_runs.queued, in_runs.in_runs),
        (13, 10),
        "three are too few"
    );
    twins.act(Act::Cancel { client: 0, seq: 4 });
    assert_eq!(twins.in_runs.manager.load().in_runs, 9);
    twins.act(Act::Grant {
        worker: 0,
        window: 12,
    });
    assert_eq!(twins.in_runs.manager.load().in_runs, 0);
}

/// And go out together, as runs; those of which it is known that they are short, in rows.
#[test]
fn what_follows_each_other_goes_out_as_a_run() {
    let mut twins = Twins::new(narrow(TURN_TIME));
    for worker in 1..WORKERS {
        twins.act(Act::Grant { worker, window: 0 });
    }
    twins.act(Act::Submit {
        client: 0,
        count: 10,
        again: 0,
        flags: 0,
        bytes: 1,
    });
    assert_eq!(twins.in_runs.runs, 2, "the submission, and the assignment");
    assert_eq!(
        twins.in_runs.manager.load().in_rows,
        0,
        "how long they are is not known"
    );
    twins.act(Act::Finish {
        worker: 0,
        count: 10,
        badly: 99,
        end: 0,
    });
    assert_eq!(twins.in_runs.runs, 4, "the ends, and the outcomes");
    assert_eq!(twins.one_by_one.runs, 0);
    assert_eq!(twins.decisions, 20);
    twins.submit(0, 10, 0, 0, 1);
    assert_eq!(
        twins.in_runs.manager.load().in_rows,
        10,
        "two turns of short tasks"
    );
    let finish = |count| Act::Finish {
        worker: 0,
        count,
        badly: 99,
        end: 0,
    };
    twins.act(finish(6));
    assert_eq!(
        twins.in_runs.manager.load().in_rows,
        10,
        "those of the first have ended in it"
    );
    twins.act(finish(3));
    assert_eq!(twins.in_runs.manager.load().in_rows, 7, "three are too few");
    assert_eq!(twins.one_by_one.manager.load().in_rows, 0);
}

/// A worker at which tasks fail is doubted, and is trusted again with the first of a row that does well.
#[test]
fn a_row_that_does_well_pardons_its_worker() {
    let mut twins = Twins::new(narrow(Duration::from_millis(1)));
    let finish = |worker, count, badly, end| Act::Finish {
        worker,
        count,
        badly,
        end,
    };
    for _ in 0..2 {
        twins.submit(0, 20, 0, 0, 1);
        for worker in 0..WORKERS {
            twins.act(finish(worker, 20, usize::MAX, 7));
        }
        let (client, count) = (0, 40);
        twins.act(Act::Ack { client, count });
    }
    twins.submit(0, 20, 0, 0, 1);
    let doubted = |twins: &Twins| {
        twins.compare_status();
        let status = twins.in_runs.manager.status(twins.now, 0);
        status.workers.iter().position(|worker| worker.doubted)
    };
    while doubted(&twins).is_none() {
        let before = twins.in_runs.manager.load();
        twins.act(finish(0, 1, 0, 0));
        assert_ne!(twins.in_runs.manager.load(), before, "one failed");
    }
    assert!(twins.in_runs.manager.load().in_rows > 0);
    twins.act(finish(0, 20, usize::MAX, 7));
    assert_eq!(doubted(&twins), None);
}

/// What does not fit is refused as one, when it first comes and when it comes again.
#[test]
fn what_is_refused_in_a_row_is_told_as_a_run() {
    let mut twins = Twins::new(narrow(TURN_TIME));
    for worker in 0..WORKERS {
        twins.act(Act::Grant { worker, window: 0 });
    }
    twins.submit(0, 40, 0, 0, 1);
    assert_eq!(twins.decisions, 16, "the others wait");
    assert_eq!(twins.in_runs.runs, 2, "the submission, and the rejection");
    // Others of this client are here, before these and after them.
    twins.act(Act::Cancel { client: 0, seq: 2 });
    twins.submit(0, 4, 0, 0, 1);
    let (runs, decisions) = (twins.in_runs.runs, twins.decisions);
    twins.submit(0, 16, 20, 0, 1);
    assert_eq!(twins.in_runs.runs - runs, 2);
    assert_eq!(twins.decisions - decisions, 16);
}

/// A task that needs less room than one that was refused may find it.
#[test]
fn what_is_smaller_than_what_was_refused_is_judged_for_itself() {
    let mut config = narrow(TURN_TIME);
    config.queue_bytes = 20;
    let mut twins = Twins::new(config);
    for worker in 0..WORKERS {
        twins.act(Act::Grant { worker, window: 0 });
    }
    // Of one, three and five bytes in turn.
    twins.submit(0, 20, 0, 0, 2);
    let load = twins.in_runs.manager.load();
    assert_eq!((load.queued, twins.decisions), (8, 12));
}
