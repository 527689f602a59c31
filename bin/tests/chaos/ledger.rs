//! What clients and tasks have written down, put together by task.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::load::lines;

/// One time that a task ran.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// Worker, process and time: what the task returns.
    pub(crate) name: String,
    pub(crate) started: u64,
    pub(crate) ended: bool,
}

impl Run {
    /// The worker, with the number of its life.
    pub(crate) fn worker(&self) -> &str {
        self.name.split('/').next().unwrap_or_default()
    }
}

/// What a client was told.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) at: u64,
    pub(crate) word: String,
    /// The run, or why there is none.
    pub(crate) said: String,
}

/// All that is known of a task.
#[derive(Clone, Debug, Default)]
pub(crate) struct Task {
    pub(crate) client: String,
    pub(crate) submitted: u64,
    pub(crate) once: bool,
    /// `result`, `error`, `deadline` or `cancel`.
    pub(crate) asked: String,
    pub(crate) outcomes: Vec<Outcome>,
    /// By their start.
    pub(crate) runs: Vec<Run>,
}

/// Everything that was written down.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) tasks: BTreeMap<String, Task>,
    /// Clients that have all their outcomes.
    pub(crate) finished: Vec<String>,
    /// Lines that make no sense.
    pub(crate) wrong: Vec<String>,
}

impl Ledger {
    /// Reads it all.
    pub(crate) fn read(ledger: &Path, records: &BTreeMap<String, PathBuf>) -> Self {
        let mut read = Self::default();
        for (client, record) in records {
            for line in lines(record) {
                read.note_of_client(client, &line);
            }
        }
        for line in lines(ledger) {
            read.note_of_task(&line);
        }
        for task in read.tasks.values_mut() {
            task.runs.sort_by_key(|run| run.started);
        }
        read
    }

    fn note_of_client(&mut self, client: &str, line: &[String]) {
        let fields: Vec<&str> = line.iter().map(String::as_str).collect();
        match fields[..] {
            ["submitted", id, at, once, asked] => {
                let task = self.tasks.entry(id.to_owned()).or_default();
                if !task.client.is_empty() {
                    self.wrong.push(format!("{id} was submitted twice"));
                }
                client.clone_into(&mut task.client);
                task.submitted = time(at);
                task.once = once == "once";
                asked.clone_into(&mut task.asked);
            }
            ["outcome", id, at, word, said] => {
                self.tasks
                    .entry(id.to_owned())
                    .or_default()
                    .outcomes
                    .push(Outcome {
                        at: time(at),
                        word: word.to_owned(),
                        said: said.to_owned(),
                    });
            }
            ["finished"] => self.finished.push(client.to_owned()),
            _ => self.wrong.push(format!("{client} wrote {line:?}")),
        }
    }

    fn note_of_task(&mut self, line: &[String]) {
        let fields: Vec<&str> = line.iter().map(String::as_str).collect();
        match fields[..] {
            ["start", id, at, run] => {
                let task = self.tasks.entry(id.to_owned()).or_default();
                task.runs.push(Run {
                    name: run.to_owned(),
                    started: time(at),
                    ended: false,
                });
            }
            ["end", id, _, run] => {
                let task = self.tasks.entry(id.to_owned()).or_default();
                match task.runs.iter_mut().find(|known| known.name == run) {
                    Some(run) => run.ended = true,
                    None => self.wrong.push(format!("{id} ended without a start")),
                }
            }
            _ => self.wrong.push(format!("a task wrote {line:?}")),
        }
    }
}

fn time(text: &str) -> u64 {
    text.parse().unwrap_or_default()
}
