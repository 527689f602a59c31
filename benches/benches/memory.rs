//! What a manager keeps for tasks and connections.

use std::process::ExitCode;

fn main() -> ExitCode {
    argon_benches::bench(argon_benches::Bench::Memory)
}
