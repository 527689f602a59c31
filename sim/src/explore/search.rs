//! The search: depth first, each state once for each number of choices left.

use std::collections::HashMap;
use std::fmt;

use super::Variant;
use super::choice::Choice;
use super::cluster::Cluster;
use crate::run::caught;

/// How far to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most choices in a row.
    pub depth: u32,
    /// Most faults among them.
    pub faults: u32,
    /// Most passages of time among them.
    pub ticks: u32,
}

/// What a search went through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Different states.
    pub states: u64,
    /// Choices taken, also those that led to a known state.
    pub steps: u64,
    /// States from which the end was run out without faults.
    pub leaves: u64,
    /// States that had no choice left before the depth was reached.
    pub dead_ends: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            states,
            steps,
            leaves,
            dead_ends,
        } = self;
        write!(
            f,
            "{states} states, {steps} steps, {leaves} run to their end ({dead_ends} before the \
             depth was reached)"
        )
    }
}

/// A broken promise, and how to get there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The choices, from the start.
    pub path: Vec<Choice>,
    /// What is wrong.
    pub text: String,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path: Vec<String> = self.path.iter().map(ToString::to_string).collect();
        write!(f, "{}\n  after {}", self.text, path.join(","))
    }
}

/// Goes through all that can happen within the limits.
///
/// # Errors
/// The first broken promise, by a path from which no choice can be left out.
pub fn explore(variant: Variant, limits: Limits) -> Result<Counts, Found> {
    let mut search = Search::default();
    let result = guarded(|| {
        let cluster = Cluster::new(variant, limits.faults, limits.ticks, false)?;
        search.go(&cluster, limits.depth)
    });
    match result {
        Ok(()) => {
            search.counts.states = search.seen.len() as u64;
            Ok(search.counts)
        }
        Err(text) => {
            let path = std::mem::take(&mut search.path);
            Err(shorten(variant, Found { path, text }))
        }
    }
}

/// Repeats one path, and runs it to its end. Gives the trace, and what is wrong if anything is.
#[must_use]
pub fn replay(variant: Variant, path: &[Choice]) -> (String, Option<String>) {
    let (cluster, wrong) = walk(variant, path, true);
    let lines = cluster
        .and_then(|cluster| cluster.trace)
        .unwrap_or_default();
    (lines.join("\n"), wrong)
}

#[derive(Default)]
struct Search {
    /// States, and with how many choices left they were gone through.
    seen: HashMap<u64, u32>,
    path: Vec<Choice>,
    counts: Counts,
}

impl Search {
    fn go(&mut self, cluster: &Cluster, left: u32) -> Result<(), String> {
        let choices = if left == 0 {
            Vec::new()
        } else {
            cluster.choices()
        };
        if choices.is_empty() {
            self.counts.leaves += 1;
            self.counts.dead_ends += u64::from(left > 0);
            return cluster.clone().settle();
        }
        for choice in choices {
            self.path.push(choice);
            self.counts.steps += 1;
            let mut next = cluster.clone();
            next.take(choice)?;
            let seen = self.seen.entry(next.print()).or_insert(u32::MAX);
            // Kept as a number that falls, so that a fresh entry is above all.
            let gone_through = *seen != u32::MAX && *seen >= left;
            if !gone_through {
                *seen = left;
                self.go(&next, left - 1)?;
            }
            self.path.pop();
        }
        Ok(())
    }
}

/// Goes one way, and on to its end; what is wrong on it, if anything is.
fn walk(variant: Variant, path: &[Choice], trace: bool) -> (Option<Cluster>, Option<String>) {
    let budget = path.len() as u32;
    let mut cluster = match Cluster::new(variant, budget, budget, trace) {
        Ok(cluster) => cluster,
        Err(text) => return (None, Some(text)),
    };
    for choice in path {
        if !cluster.choices().contains(choice) {
            return (Some(cluster), Some(format!("{choice}{NO_CHOICE}")));
        }
        if let Err(text) = guarded(|| cluster.take(*choice)) {
            return (Some(cluster), Some(text));
        }
    }
    let wrong = guarded(|| cluster.settle()).err();
    (Some(cluster), wrong)
}

/// Ends the text about a path that cannot be gone.
const NO_CHOICE: &str = " is no choice here";

/// Turns a panic of the product into a broken promise.
fn guarded(run: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    caught(run).unwrap_or_else(|failure| Err(format!("panic: {}", failure.text)))
}

/// Leaves out choices for as long as what remains fails in any way.
fn shorten(variant: Variant, found: Found) -> Found {
    let mut best = found;
    let mut index = 0;
    while index < best.path.len() {
        let mut path = best.path.clone();
        path.remove(index);
        match walk(variant, &path, false).1 {
            Some(text) if !text.ends_with(NO_CHOICE) => best = Found { path, text },
            _ => index += 1,
        }
    }
    best
}
