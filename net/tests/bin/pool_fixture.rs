//! What the tests of process pools run: `guard` and `pool` as the `argon` command has them, a
//! worker that can be killed, and programs that misbehave.

use std::env;
use std::ffi::OsString;
use std::process::ExitCode;

use argon::{guard, runtime};

fn main() -> ExitCode {
    let mut args = env::args_os().skip(1);
    let mode = args.next().unwrap_or_default();
    let rest: Vec<OsString> = args.collect();
    match mode.to_str() {
        Some("guard") => guard::main(rest),
        Some("pool") => runtime::builtin::main(),
        _ => {
            eprintln!("no such mode: {}", mode.display());
            ExitCode::from(2)
        }
    }
}
