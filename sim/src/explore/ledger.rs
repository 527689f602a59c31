//! What pools ran and what the client got, in a small world, and whether that may be.

use argon_core::task::Outcome;

use super::Setup;

/// What became of one task.
#[derive(Clone, Debug, Default)]
struct Entry {
    seq: Option<u64>,
    at_most_once: bool,
    /// Executions that began, and that ended by themselves.
    started: u32,
    finished: u32,
    /// Something has gone wrong since the last execution began: another may.
    excused: bool,
    ended: bool,
}

/// The two ledgers, as far as the verdict needs them.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    tasks: Vec<Entry>,
    /// The first thing that must not be.
    broken: Option<String>,
}

impl Ledger {
    pub(super) fn new(setup: &Setup) -> Self {
        let entry = |shape: &super::Shape| Entry {
            at_most_once: shape.at_most_once,
            ..Entry::default()
        };
        Self {
            tasks: setup.tasks.iter().map(entry).collect(),
            broken: None,
        }
    }

    pub(super) fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    pub(super) fn seq_of(&self, task: usize) -> u64 {
        self.tasks[task].seq.unwrap_or_default()
    }

    /// Whether every task has its outcome.
    pub(super) fn is_over(&self) -> bool {
        self.tasks.iter().all(|task| task.ended)
    }

    /// From now on an execution may be repeated.
    pub(super) fn trouble(&mut self) {
        for task in &mut self.tasks {
            task.excused = true;
        }
    }

    pub(super) fn submitted(&mut self, task: usize, seq: u64) {
        self.tasks[task].seq = Some(seq);
    }

    pub(super) fn started(&mut self, task: usize) {
        let entry = &mut self.tasks[task];
        entry.started += 1;
        let again = entry.started > 1;
        if again && entry.at_most_once {
            self.fail(format!("task {task} started twice, and must not"));
        } else if again && !entry.excused {
            self.fail(format!("task {task} started again without a cause"));
        }
    }

    pub(super) fn finished(&mut self, task: usize) {
        self.tasks[task].finished += 1;
    }

    pub(super) fn delivered(&mut self, seq: u64, outcome: &Outcome) {
        let Some(task) = self.tasks.iter().position(|task| task.seq == Some(seq)) else {
            return self.fail(format!("an outcome of task {seq}, which there is not"));
        };
        let entry = &mut self.tasks[task];
        let twice = std::mem::replace(&mut entry.ended, true);
        let (ran, completed) = (entry.started > 0, entry.finished > 0);
        let honest = match outcome {
            Outcome::Completed(_) => completed,
            Outcome::Failed(_) => ran,
            Outcome::Expired { may_have_run } | Outcome::Cancelled { may_have_run } => {
                *may_have_run || !ran
            }
            Outcome::Lost { .. } => true,
            Outcome::Rejected { .. } => !ran,
        };
        if twice {
            self.fail(format!("task {task} ended twice"));
        } else if !honest {
            self.fail(format!("task {task} ended as {outcome:?}"));
        }
    }

    fn fail(&mut self, text: String) {
        self.broken.get_or_insert(text);
    }
}
