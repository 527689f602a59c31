//! Throughput over ideal as workers are added, real and simulated.

use std::process::ExitCode;

fn main() -> ExitCode {
    argon_benches::bench(argon_benches::Bench::Scaling)
}
