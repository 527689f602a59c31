//! The judge, judged: each thing that can be wrong is shown to it once.

use std::slice;

use crate::faults::{Happened, MACHINE};
use crate::judge::judge;
use crate::ledger::{Ledger, Outcome, Run, Task};
use crate::plan::Kind;

const SECOND: u64 = 1_000_000_000;

fn run(worker: &str, second: u64) -> Run {
    Run {
        name: format!("{worker}/7/{second}"),
        started: second * SECOND,
        ended: true,
    }
}

fn outcome(word: &str, said: &str) -> Outcome {
    Outcome {
        at: 20 * SECOND,
        word: word.to_owned(),
        said: said.to_owned(),
    }
}

/// A task as it should be: it ran once, and its client knows.
fn good() -> Task {
    Task {
        client: "client-rust-1.1".to_owned(),
        submitted: 9 * SECOND,
        once: false,
        asked: "result".to_owned(),
        outcomes: vec![outcome("completed", "worker-rust-1.1/7/10")],
        runs: vec![run("worker-rust-1.1", 10)],
    }
}

fn fault(kind: Kind, host: &str, from: u64, to: u64) -> Happened {
    Happened {
        kind,
        host: host.to_owned(),
        from: from * SECOND,
        to: to * SECOND,
    }
}

/// What the judge says of a task like the good one, but for a change.
fn said(change: impl FnOnce(&mut Task), faults: &[Happened]) -> Vec<String> {
    let mut task = good();
    change(&mut task);
    let tasks = [("a".to_owned(), task)].into();
    let ledger = Ledger {
        tasks,
        ..Ledger::default()
    };
    judge(&ledger, faults, &["client-perl-2.1".to_owned()]).wrong
}

fn is_wrong(what: &str, change: impl FnOnce(&mut Task), faults: &[Happened]) {
    let wrong = said(change, faults);
    assert!(
        wrong.len() == 1 && wrong[0].contains(what),
        "{what}: {wrong:?}"
    );
}

fn is_fine(change: impl FnOnce(&mut Task), faults: &[Happened]) {
    let wrong = said(change, faults);
    assert!(wrong.is_empty(), "{wrong:?}");
}

fn again(task: &mut Task) {
    task.runs.push(run("worker-rust-2.1", 15));
}

fn ends_as(word: &'static str) -> impl FnOnce(&mut Task) {
    move |task| task.outcomes = vec![outcome(word, "")]
}

fn ends_unrun_as(word: &'static str) -> impl FnOnce(&mut Task) {
    move |task| {
        task.outcomes = vec![outcome(word, "")];
        task.runs.clear();
    }
}

pub(crate) fn the_judge_sees_what_is_wrong() {
    is_fine(|_| {}, &[]);
    let kill = fault(Kind::Kill, "worker-rust-1", 12, 13);
    of_outcomes(&kill);
    of_second_runs(&kill);
}

fn of_outcomes(kill: &Happened) {
    is_wrong("no outcome", |task| task.outcomes.clear(), &[]);
    let killed = |task: &mut Task| {
        task.outcomes.clear();
        task.client = "client-perl-2.1".to_owned();
    };
    is_fine(killed, &[]);
    let twice = |task: &mut Task| task.outcomes.push(task.outcomes[0].clone());
    is_wrong("more than one outcome", twice, &[]);
    is_wrong("nobody has submitted", |task| task.client.clear(), &[]);
    is_wrong("no run to the end", |task| task.runs.clear(), &[]);
    is_wrong("no run to the end", |task| task.runs[0].ended = false, &[]);
    let other = |task: &mut Task| task.runs[0].name.push('0');
    is_wrong("no run to the end", other, &[]);
    is_wrong("was to fail", |task| task.asked = "error".to_owned(), &[]);
    is_wrong("not to fail", ends_as("raised"), &[]);
    is_wrong("no deadline", ends_as("expired"), &[]);
    is_wrong("nobody cancelled", ends_as("cancelled"), &[]);
    is_wrong("no such outcome", ends_as("other"), &[]);
    let late = |task: &mut Task| {
        task.asked = "deadline".to_owned();
        ends_as("expired-unrun")(task);
    };
    is_wrong("it never ran, but it has", late, &[]);
    is_wrong(
        "it never ran, but",
        ends_as("rejected"),
        slice::from_ref(kill),
    );
    let at_client = fault(Kind::Cut, "client-rust-1", 12, 13);
    for word in ["lost", "rejected"] {
        let once = move |task: &mut Task| {
            task.once = true;
            ends_unrun_as(word)(task);
        };
        is_wrong("no fault", once, &[]);
        is_wrong("no fault", once, slice::from_ref(&at_client));
        is_fine(once, slice::from_ref(kill));
    }
    let two = [kill.clone(), kill.clone()];
    is_wrong("fewer faults", ends_unrun_as("lost"), &two);
    is_fine(ends_unrun_as("lost"), &[&two[..], &two].concat());
    is_wrong(
        "nobody has killed",
        ends_as("crashed"),
        slice::from_ref(kill),
    );
    let pool = fault(Kind::KillPool, "worker-rust-1", 11, 11);
    is_fine(ends_as("crashed"), &[pool]);
}

fn of_second_runs(kill: &Happened) {
    is_fine(again, slice::from_ref(kill));
    let once = |task: &mut Task| {
        task.once = true;
        again(task);
    };
    is_wrong("at most once", once, slice::from_ref(kill));
    let excuses_nothing = [
        fault(Kind::Kill, "worker-python-1", 12, 13),
        fault(Kind::Cut, "client-rust-1", 8, 16),
        fault(Kind::Kill, "worker-rust-1", 1, 4),
        fault(Kind::Kill, "worker-rust-1", 16, 17),
        fault(Kind::Stop, "worker-rust-1", 12, 12),
        fault(Kind::Restart, "worker-rust-1", 12, 14),
        fault(Kind::Rolling, "worker-rust-1", 12, 14),
        fault(Kind::Restart, "manager", 12, 14),
    ];
    is_wrong("no fault is a reason", again, &[]);
    for fault in excuses_nothing {
        is_wrong("no fault is a reason", again, &[fault]);
    }
    is_fine(again, &[fault(Kind::Stop, "worker-rust-1", 11, 14)]);
    is_fine(again, &[fault(Kind::Kill, "manager", 12, 13)]);
    is_fine(again, &[fault(Kind::Starved, MACHINE, 12, 13)]);
}
