//! Runs the seeds from the first argument up to the second, and stops at the first that fails.
//!
//! Every mark named after them must have been hit. Without any, says which are hit so often that
//! they should be.

use std::process::ExitCode;

/// A mark that is hit so often in a few seeds is not missed by chance.
const OFTEN: u64 = 25;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize| arguments.get(index).and_then(|text| text.parse::<u64>().ok());
    let (Some(from), Some(until)) = (number(0), number(1)) else {
        return ExitCode::from(2);
    };
    let mut total = sim::Report::default();
    for seed in from..until {
        let report = sim::run_seed(seed);
        if let Some(failure) = &report.failure {
            println!("seed {seed}: {failure}");
            return ExitCode::FAILURE;
        }
        total.add(&report);
    }
    for mark in &arguments[2..] {
        if !total.marks.keys().any(|hit| hit.to_string() == *mark) {
            println!("no seed reaches {mark}");
            return ExitCode::FAILURE;
        }
    }
    if arguments.len() == 2 {
        for (mark, _) in total.marks.iter().filter(|(_, count)| **count >= OFTEN) {
            println!("{mark}");
        }
    }
    ExitCode::SUCCESS
}
