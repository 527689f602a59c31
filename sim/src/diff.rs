//! Two traces, compared line by line to their first difference.

use std::collections::VecDeque;
use std::fmt;

use crate::plan::Plan;
use crate::report::{Class, Failure, Report};
use crate::trace::Trace;

/// Where two traces stop being the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Divergence {
    /// The first line that differs, counted from 1.
    pub line: usize,
    /// The last lines before it, the same on both sides.
    pub before: Vec<String>,
    /// What the first says from there on; empty if it has ended.
    pub left: Vec<String>,
    /// What the second says from there on; empty if it has ended.
    pub right: Vec<String>,
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "@@ first difference at line {} @@", self.line)?;
        for line in &self.before {
            writeln!(f, "  {line}")?;
        }
        for (sign, lines) in [('-', &self.left), ('+', &self.right)] {
            if lines.is_empty() {
                writeln!(f, "{sign} (ends here)")?;
            }
            for line in lines {
                writeln!(f, "{sign} {line}")?;
            }
        }
        Ok(())
    }
}

/// Finds the first line that differs, with `context` lines on each side of it.
#[must_use]
pub fn first(left: &str, right: &str, context: usize) -> Option<Divergence> {
    let mut before: VecDeque<&str> = VecDeque::new();
    let (mut lefts, mut rights) = (left.lines(), right.lines());
    for line in 1.. {
        let (one, other) = (lefts.next(), rights.next());
        if one != other {
            return Some(Divergence {
                line,
                before: before.into_iter().map(str::to_owned).collect(),
                left: some(one, lefts, context),
                right: some(other, rights, context),
            });
        }
        let same = one?;
        before.push_back(same);
        if before.len() > context {
            before.pop_front();
        }
    }
    None
}

fn some<'t>(first: Option<&'t str>, rest: std::str::Lines<'t>, most: usize) -> Vec<String> {
    let lines = first.into_iter().chain(rest).take(most.max(1));
    lines.map(str::to_owned).collect()
}

/// Runs a plan twice and compares the two traces; gives back the run, with its trace. That the two
/// differ goes before any other failure, since what a changing run says is worth little.
#[must_use]
pub fn twice(plan: &Plan, run: &dyn Fn(&Plan, &mut Trace) -> Report) -> (Report, Trace) {
    let (mut trace, mut again) = (Trace::on(), Trace::on());
    let mut report = run(plan, &mut trace);
    let second = run(plan, &mut again);
    let divergence = first(&trace.render(), &again.render(), 5);
    if let Some(divergence) = divergence {
        report.failure = Some(nondeterminism(&divergence.to_string()));
    } else if report.failure != second.failure {
        let say = |failure: &Option<Failure>| {
            let failure = failure.as_ref();
            failure.map_or("fine".to_owned(), ToString::to_string)
        };
        let (one, other) = (say(&report.failure), say(&second.failure));
        let text = format!("equal traces, but verdicts differ: {one}; {other}");
        report.failure = Some(nondeterminism(&text));
    }
    (report, trace)
}

/// The failure of a run that is not the same when it is run again.
#[must_use]
pub fn nondeterminism(text: &str) -> Failure {
    let promise = "the same plan gives the same trace";
    Failure::new(Class::Nondeterminism, promise, text)
}
