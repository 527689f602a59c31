//! A cluster of real processes on hosts of their own, while hosts are cut off and processes die: what
//! clients get, and what has run, is written down on the way and judged at the end.
//!
//! `cargo test -p argon-cli --test chaos` takes about a minute and needs root, `ip`, and `nft` for
//! cuts. `ARGON_CHAOS_MINUTES=30` goes on for about so long; `ARGON_CHAOS_SEED` repeats the plan of
//! faults that an earlier run has printed (not what comes of them: these are real processes).

#[path = "../end_to_end/common.rs"]
#[allow(dead_code, clippy::unwrap_used)]
mod common;
mod faults;
mod hosts;
mod judge;
mod keys;
mod ledger;
mod load;
mod plan;
mod proc;
mod processes;
mod proof;
mod watch;

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};
use std::{env, process, thread};

use tempfile::TempDir;

use crate::faults::History;
use crate::ledger::Ledger;
use crate::plan::Size;
use crate::processes::Cluster;
use crate::watch::Watch;

/// First argument of this program when it is to be a client.
const CLIENT: &str = "--client";

fn main() -> ExitCode {
    argon::serve_if_pool();
    let args: Vec<String> = env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == CLIENT) {
        load::client(&load::orders(&args[1..])).expect("a client");
        return ExitCode::SUCCESS;
    }
    let tests: [(&str, fn()); 2] = [
        (
            "the_judge_sees_what_is_wrong",
            proof::the_judge_sees_what_is_wrong,
        ),
        (
            "promises_are_kept_under_chaos",
            promises_are_kept_under_chaos,
        ),
    ];
    // As the usual harness: words select tests by their names.
    let words: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    for (name, test) in tests {
        if words.is_empty() || words.iter().any(|word| name.contains(*word)) {
            test();
            println!("test {name} ... ok");
        }
    }
    ExitCode::SUCCESS
}

/// A number from the environment.
fn number<T: std::str::FromStr>(variable: &str) -> Option<T> {
    let text = env::var(variable).ok()?;
    let number = text.parse().ok();
    assert!(number.is_some(), "{variable}={text} is no number");
    number
}

/// Set to keep the logs of a run that went well.
const KEEP: &str = "ARGON_CHAOS_KEEP";

/// Goes away when all went well, and stays to be read otherwise.
struct Logs(Option<TempDir>);

impl Drop for Logs {
    fn drop(&mut self) {
        if (thread::panicking() || env::var_os(KEEP).is_some())
            && let Some(directory) = self.0.take()
        {
            eprintln!("chaos: all logs are kept in {}", directory.keep().display());
        }
    }
}

/// Says that it is over, also when a check has failed.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn promises_are_kept_under_chaos() {
    if let Some(problem) = hosts::missing() {
        eprintln!("SKIPPED: no chaos on real hosts: {problem}");
        return;
    }
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let drawn = u64::from(since.expect("after 1970").subsec_nanos()) ^ u64::from(process::id());
    let seed = number("ARGON_CHAOS_SEED").unwrap_or(drawn);
    let size = number("ARGON_CHAOS_MINUTES").map_or(Size::SHORT, Size::of_minutes);
    let plan = plan::plan(seed, size);
    eprintln!(
        "chaos: ARGON_CHAOS_SEED={seed}, {} rounds of {} faults",
        size.rounds,
        size.faults_a_round * 2
    );
    let directory = tempfile::Builder::new().prefix("argon-chaos-").tempdir();
    let logs = Logs(Some(directory.expect("a directory")));
    let directory = logs.0.as_ref().expect("it is there").path();

    let cluster = Cluster::new(directory);
    let history = History::default();
    cluster.start_all();
    let is_over = AtomicBool::new(false);
    let mut wrong = thread::scope(|scope| {
        scope.spawn(|| faults::watch_the_machine(&cluster, &history, &is_over));
        let _over = Over(&is_over);
        let mut watch = Watch::begin(&cluster);
        for (number, round) in (1..).zip(&plan) {
            faults::carry_out(&cluster, &history, round);
            watch.look(&format!("round {number}"));
            eprintln!("chaos: {} faults in {number} rounds", history.made());
        }
        watch.end()
    });
    wrong.extend(history.unfelt());

    let faults = history.all();
    let ledger = Ledger::read(&cluster.file("ledger"), &cluster.records());
    let verdict = judge::judge(&ledger, &faults, &cluster.killed());
    wrong.extend(verdict.wrong);
    println!("{}", verdict.table);
    assert!(
        wrong.is_empty(),
        "{} promises were broken (ARGON_CHAOS_SEED={seed}):\n{}",
        wrong.len(),
        wrong
            .iter()
            .take(20)
            .cloned()
            .collect::<Vec<_>>()
            .join("\n")
    );
}
