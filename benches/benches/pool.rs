//! Commands and pool processes, next to xargs, GNU parallel and the floor.

use std::process::ExitCode;

fn main() -> ExitCode {
    argon_benches::bench(argon_benches::Bench::Pool)
}
