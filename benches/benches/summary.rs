//! All benchmarks of the whole, and the figures that matter in one table.

use std::process::ExitCode;

fn main() -> ExitCode {
    argon_benches::bench(argon_benches::Bench::Summary)
}
