//! How soon the tasks of a killed worker run again.

use std::process::ExitCode;

fn main() -> ExitCode {
    argon_benches::bench(argon_benches::Bench::Loss)
}
