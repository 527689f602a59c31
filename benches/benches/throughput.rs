//! No-op tasks a second, next to the floor and gearmand.

use std::process::ExitCode;

fn main() -> ExitCode {
    argon_benches::bench(argon_benches::Bench::Throughput)
}
