//! More tasks than the cluster can run, and back.

use std::process::ExitCode;

fn main() -> ExitCode {
    argon_benches::bench(argon_benches::Bench::Overload)
}
