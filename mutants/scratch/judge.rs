//! Runs the seeds from the first argument up to the second, stops at the first that fails.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<u64>());
    let (Some(Ok(from)), Some(Ok(until))) = (numbers.next(), numbers.next()) else {
        return ExitCode::from(2);
    };
    for seed in from..until {
        if let Some(failure) = sim::run_seed(seed).failure {
            println!("seed {seed}: {failure}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
