//! The processes that benchmarks start. Not for people.

use std::process::ExitCode;

fn main() -> ExitCode {
    argon_benches::parts()
}
