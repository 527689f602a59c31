//! Whether what was promised was kept, from what clients, tasks and the maker of the faults have written
//! down. Knows nothing of how Argon does it, and shares no code with it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::faults::{Happened, MACHINE};
use crate::ledger::{Ledger, Outcome, Run, Task};
use crate::plan::Kind;
use crate::processes::host_of;

const SECOND: u64 = 1_000_000_000;
/// How long a fault has effects after it has healed: the longest that anybody waits for somebody who
/// was away, which is the grace after a restart of the manager.
const AFTERMATH: u64 = 3 * SECOND;
/// What stands still for less than half a lease is nobody's reason to repeat anything.
const STOP_UNNOTICED: u64 = SECOND;

/// How often a task may be begun that may be repeated.
const ATTEMPTS: usize = 3;

/// What the judge finds.
pub(crate) struct Verdict {
    /// Each broken promise.
    pub(crate) wrong: Vec<String>,
    /// For people.
    pub(crate) table: String,
}

/// Judges a run that is over.
pub(crate) fn judge(ledger: &Ledger, faults: &[Happened], killed: &[String]) -> Verdict {
    let mut judge = Judge {
        faults,
        wrong: ledger.wrong.clone(),
        duplicates: BTreeMap::new(),
    };
    for (id, task) in &ledger.tasks {
        judge.one(id, task, killed.contains(&task.client));
    }
    let table = judge.table(ledger, killed);
    Verdict {
        wrong: judge.wrong,
        table,
    }
}

struct Judge<'a> {
    faults: &'a [Happened],
    wrong: Vec<String>,
    /// How many second runs each kind of fault excuses.
    duplicates: BTreeMap<String, u64>,
}

impl Judge<'_> {
    fn blame(&mut self, id: &str, task: &Task, what: &str) {
        let Task { outcomes, runs, .. } = task;
        self.wrong.push(format!(
            "{id}: {what} (submitted {} to come to {}{}; outcomes {outcomes:?}; runs {runs:?})",
            task.submitted,
            task.asked,
            if task.once { " at most once" } else { "" },
        ));
    }

    fn one(&mut self, id: &str, task: &Task, client_was_killed: bool) {
        if task.client.is_empty() {
            return self.blame(id, task, "nobody has submitted it");
        }
        match &task.outcomes[..] {
            [] if client_was_killed => {}
            [] => self.blame(id, task, "it has no outcome"),
            [outcome] => self.outcome(id, task, outcome),
            _ => self.blame(id, task, "it has more than one outcome"),
        }
        self.repeated(id, task);
    }

    /// Whether the outcome is one that this task may have, and is true.
    fn outcome(&mut self, id: &str, task: &Task, outcome: &Outcome) {
        let asked = task.asked.as_str();
        let ended = |run: &Run| run.ended && run.name == outcome.said;
        let unrun = task.runs.is_empty();
        let problem = match outcome.word.as_str() {
            "completed" if asked == "error" => Some("it was to fail"),
            "completed" if !task.runs.iter().any(ended) => {
                Some("it has completed, but its result is of no run to the end")
            }
            "raised" if asked != "error" => Some("it was not to fail"),
            "raised" if !task.runs.iter().any(|run| run.ended) => {
                Some("it has failed by itself without a run to the end")
            }
            "expired" | "expired-unrun" if asked != "deadline" => Some("it had no deadline"),
            "cancelled" | "cancelled-unrun" if asked != "cancel" => Some("nobody cancelled it"),
            "expired-unrun" | "cancelled-unrun" | "rejected" if !unrun => {
                Some("its client was told that it never ran, but it has")
            }
            "lost" if !task.once && self.felt(task, outcome, |_| true) < ATTEMPTS => {
                Some("it was lost after fewer faults than it has attempts")
            }
            "rejected" | "lost" if self.felt(task, outcome, |_| true) == 0 => {
                Some("there was no fault that would be a reason")
            }
            "crashed" if self.felt(task, outcome, |kind| kind == Kind::KillPool) == 0 => {
                Some("nobody has killed its process")
            }
            "completed" | "raised" | "expired" | "expired-unrun" | "cancelled"
            | "cancelled-unrun" | "rejected" | "lost" | "crashed" => None,
            _ => Some("there is no such outcome"),
        };
        if let Some(problem) = problem {
            self.blame(id, task, problem);
        }
    }

    /// How many faults of these kinds, at the manager or a worker, could be felt in the task's life.
    fn felt(&self, task: &Task, outcome: &Outcome, of: impl Fn(Kind) -> bool) -> usize {
        let faults = self.faults.iter().filter(|fault| {
            !fault.host.starts_with("client")
                && of(fault.kind)
                && fault.from <= outcome.at
                && fault.to + AFTERMATH >= task.submitted
        });
        faults.count()
    }

    /// Whether every run after the first has its reason.
    fn repeated(&mut self, id: &str, task: &Task) {
        let [first, others @ ..] = &task.runs[..] else {
            return;
        };
        if task.once && !others.is_empty() {
            return self.blame(
                id,
                task,
                "it ran more than once, but was to run at most once",
            );
        }
        for later in others {
            match self.excuse(task, first, later) {
                Some(excuse) => *self.duplicates.entry(excuse).or_default() += 1,
                None => self.blame(id, task, "it ran again, and no fault is a reason"),
            }
        }
    }

    /// The fault that explains a second run: at a worker that ran the task or at the manager, felt
    /// between the first start and this one. Faults at clients never are: their tasks stay with the
    /// manager for far longer than any fault here lasts. Nor is a restart in good order, which waits for
    /// what runs.
    fn excuse(&self, task: &Task, first: &Run, later: &Run) -> Option<String> {
        let felt = |fault: &&Happened| {
            fault.from <= later.started && fault.to + AFTERMATH >= first.started
        };
        let noticed = |fault: &&Happened| match fault.kind {
            Kind::Restart | Kind::Rolling | Kind::Keys => false,
            Kind::Stop | Kind::Freeze => fault.to - fault.from >= STOP_UNNOTICED,
            _ => true,
        };
        let at_worker = |fault: &&Happened| {
            let mut workers = task.runs.iter().map(Run::worker);
            workers.any(|worker| host_of(worker) == fault.host)
        };
        let candidates = || self.faults.iter().filter(felt).filter(noticed);
        let at_manager = |fault: &&Happened| fault.host == "manager";
        let worker = candidates().find(at_worker);
        let manager = || candidates().find(at_manager);
        let machine = || candidates().find(|fault| fault.host == MACHINE);
        let fault = worker.or_else(manager).or_else(machine)?;
        Some(format!("{} of {}", fault.kind.name(), sort(&fault.host)))
    }

    fn table(&self, ledger: &Ledger, killed: &[String]) -> String {
        let mut faults: BTreeMap<String, u64> = BTreeMap::new();
        let (busy, made): (Vec<_>, Vec<_>) =
            (self.faults.iter()).partition(|fault| fault.host == MACHINE);
        for fault in made {
            let name = format!("{} of {}", fault.kind.name(), sort(&fault.host));
            *faults.entry(name).or_default() += 1;
        }
        let mut outcomes: BTreeMap<&str, u64> = BTreeMap::new();
        let mut clients: BTreeMap<&str, u64> = BTreeMap::new();
        let (mut once, mut runs) = (0, 0);
        for task in ledger.tasks.values() {
            *clients.entry(host_of(&task.client)).or_default() += 1;
            once += u64::from(task.once);
            runs += task.runs.len() as u64;
            let word = task.outcomes.first();
            let word = word.map_or("none (client killed)", |outcome| &outcome.word);
            *outcomes.entry(word).or_default() += 1;
        }
        let mut text = String::new();
        section(&mut text, "faults", &faults);
        let restarts = self
            .faults
            .iter()
            .filter(|fault| fault.kind == Kind::Restart);
        let mut slowest: BTreeMap<&str, u64> = BTreeMap::new();
        for fault in restarts {
            let slowest = slowest.entry(sort(&fault.host)).or_default();
            *slowest = (*slowest).max((fault.to - fault.from) / SECOND);
        }
        let _ = writeln!(text, "times that the machine was busy: {}", busy.len());
        let _ = writeln!(text, "slowest restarts, in seconds: {slowest:?}");
        section(&mut text, "tasks, by client", &clients);
        section(&mut text, "outcomes", &outcomes);
        section(&mut text, "runs again, because of", &self.duplicates);
        let _ = writeln!(
            text,
            "{runs} runs; {once} tasks at most once; {} clients killed",
            killed.len()
        );
        text
    }
}

fn sort(host: &str) -> &str {
    host.split('-').next().unwrap_or(host)
}

fn section<K: AsRef<str>>(text: &mut String, head: &str, rows: &BTreeMap<K, u64>) {
    let _ = writeln!(text, "{:<40}{:>8}", head, rows.values().sum::<u64>());
    for (name, count) in rows {
        let _ = writeln!(text, "  {:<38}{count:>8}", name.as_ref());
    }
}
