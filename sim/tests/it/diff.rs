//! Comparing runs: the first difference of two traces, and runs that are not the same twice.

use std::cell::Cell;
use std::process::{Command, Output};

use sim::{Class, Plan, Trace, diff, run};

fn sim(arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_sim");
    let output = Command::new(program).args(arguments).output();
    output.expect("the simulator's program can be started")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A file of this test's own.
fn file(name: &str, text: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, text).expect("it can be written");
    path.to_str().expect("its path is plain").to_owned()
}

fn trace_of(seed: u64) -> String {
    let mut trace = Trace::on();
    let _verdict = run(&Plan::from_seed(seed), &mut trace);
    trace.render()
}

#[test]
fn the_first_difference_is_found_where_it_was_made() {
    let left = trace_of(3);
    let mut lines: Vec<String> = left.lines().map(str::to_owned).collect();
    assert!(lines.len() > 60);
    lines[41].push_str(" (changed)");
    lines.remove(50);
    let right = lines.join("\n");
    let found = diff::first(&left, &right, 4).expect("they differ");
    assert_eq!(found.line, 42);
    let same: Vec<&str> = left.lines().skip(37).take(4).collect();
    assert_eq!(found.before, same);
    assert_eq!(found.left[0], left.lines().nth(41).unwrap());
    assert!(found.right[0].ends_with(" (changed)"));
    assert_eq!((found.left.len(), found.right.len()), (4, 4));
}

#[test]
fn equal_traces_have_no_difference_and_a_shorter_one_ends() {
    assert_eq!(diff::first("a\nb\n", "a\nb\n", 3), None);
    assert_eq!(diff::first("", "", 3), None);
    let found = diff::first("a\nb\n", "a\nb\nc\n", 3).expect("they differ");
    assert_eq!((found.line, found.left.len()), (3, 0));
    assert!(found.to_string().contains("- (ends here)\n+ c\n"));
}

#[test]
fn diff_takes_seeds_plans_and_traces_and_says_by_its_exit_code_if_they_differ() {
    let plan = serde_json::to_string(&Plan::from_seed(3)).unwrap();
    let plan = file("diff-plan.json", &plan);
    let trace = file("diff-trace.txt", &trace_of(3));
    for other in [plan.as_str(), trace.as_str(), "3"] {
        let output = sim(&["diff", "3", other]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    }
    let output = sim(&["diff", "3", "4", "--context", "2"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("@@ first difference at line "));
    let output = sim(&["diff", "3", "no such file"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_run_that_is_not_the_same_twice_is_a_failure_of_its_own() {
    let plan = Plan::from_seed(3);
    let (report, _) = diff::twice(&plan, &|plan, trace| run(plan, trace));
    assert_eq!(report.failure, None);
    // A run that something outside of the plan gets into.
    let runs = Cell::new(0);
    let (report, _) = diff::twice(&plan, &|plan, trace| {
        runs.set(runs.get() + 1);
        let mut plan = plan.clone();
        plan.seed += runs.get();
        run(&plan, trace)
    });
    let failure = report.failure.expect("it is noticed");
    assert_eq!(failure.class, Class::Nondeterminism);
    assert_eq!(failure.class.exit_code(), 14);
    assert!(failure.text.contains("first difference at line 1 "));
}

#[test]
fn replay_twice_also_compares_with_another_process() {
    for level in ["fast", "turmoil"] {
        let output = sim(&["replay", "5", "--twice", "--level", level]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        assert!(said(&output).starts_with("three runs, two of them in one process: "));
    }
}

#[test]
fn what_cannot_be_done_is_said() {
    let output = sim(&["replay", "3", "--level", "slow"]);
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("`fast` or `turmoil`"), "{error}");
}
