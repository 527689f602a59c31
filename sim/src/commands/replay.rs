//! `sim replay`: one run again.

use std::process::ExitCode;

use clap::Args;
use sim::diff;
use sim::minimise::minimise_by;
use sim::picture::picture;
use sim::run_watched;
use sim::timeline::timeline;
use sim::{Failure, Level, Plan, Report, Trace};

/// What to run, and what to show of it.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A seed, or a file with a plan.
    what: String,
    /// What is simulated: `fast` or `turmoil`.
    #[arg(long, default_value = "fast", value_parser = super::level)]
    level: Level,
    /// Print every line of the trace.
    #[arg(long)]
    trace: bool,
    /// Print a log with a column for each node, and what machines count
    #[arg(long)]
    timeline: bool,
    /// Draw the run into this HTML file; of the fast level only
    #[arg(long, value_name = "FILE")]
    picture: Option<String>,
    /// Of the timeline, only what is about this task and the faults; in the picture, this task first
    #[arg(long, value_name = "NUMBER")]
    task: Option<usize>,
    /// Leave out faults and tasks for as long as the run fails alike.
    #[arg(long)]
    minimise: bool,
    /// Write the plan to this file.
    #[arg(long, value_name = "FILE")]
    save: Option<String>,
    /// Write the trace to this file; `sim diff` takes it.
    #[arg(long, value_name = "FILE")]
    save_trace: Option<String>,
    /// Run it twice here and once in another process, and compare the traces.
    #[arg(long)]
    twice: bool,
    /// Print the hash of the trace and nothing else.
    #[arg(long)]
    hash: bool,
}

/// Exits with the code of the failure, if there is one.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, String> {
    let level = arguments.level;
    let mut plan = super::plan(&arguments.what, level)?;
    if arguments.hash {
        let mut trace = Trace::on();
        let _verdict = level.run(&plan, &mut trace);
        println!("{:016x}", trace.hash());
        return Ok(ExitCode::SUCCESS);
    }
    let (mut report, mut trace) = if arguments.twice {
        twice(arguments, &plan)?
    } else {
        once(level, &plan)
    };
    if let Some(failure) = &report.failure
        && arguments.minimise
    {
        plan = minimise_by(&plan, failure, &|plan| level.run(plan, &mut Trace::off()));
        (report, trace) = once(level, &plan);
    }
    if let Some(file) = &arguments.save {
        let text = serde_json::to_string(&plan).map_err(|error| error.to_string())?;
        super::write(file, &(text + "\n"))?;
    }
    if let Some(file) = &arguments.save_trace {
        super::write(file, &trace.render())?;
    }
    if let Some(file) = &arguments.picture {
        if level != Level::Fast {
            return Err("--picture: there are pictures of the fast level only".to_owned());
        }
        // Once more, since only this way of running keeps the history.
        let mut trace = Trace::on();
        let (report, history) = run_watched(&plan, &mut trace);
        let failure = report.failure.as_ref();
        super::write(
            file,
            &picture(&plan, &history, &trace, failure, arguments.task),
        )?;
    }
    if arguments.timeline {
        super::show(&timeline(&plan, &trace, arguments.task));
    }
    if arguments.trace {
        super::show(&trace.render());
    }
    let Some(failure) = &report.failure else {
        println!("{}", super::summary(&report, 1));
        return Ok(ExitCode::SUCCESS);
    };
    let told = arguments.trace || arguments.timeline || is_nondeterministic(&report);
    let around = !told;
    println!("{}", explain(level, &plan, failure, &trace, around));
    Ok(ExitCode::from(failure.class.exit_code()))
}

fn once(level: Level, plan: &Plan) -> (Report, Trace) {
    let mut trace = Trace::on();
    let report = level.run(plan, &mut trace);
    (report, trace)
}

/// Another process has other addresses, another hash seed and another environment.
fn twice(arguments: &Arguments, plan: &Plan) -> Result<(Report, Trace), String> {
    let level = arguments.level;
    let (mut report, trace) = diff::twice(plan, &|plan, trace| level.run(plan, trace));
    let here = std::env::current_exe().map_err(|error| format!("own program: {error}"))?;
    let other = std::process::Command::new(here)
        .args(["replay", &arguments.what, "--level", level.name(), "--hash"])
        .output()
        .map_err(|error| format!("cannot start another process: {error}"))?;
    if !other.status.success() {
        let said = String::from_utf8_lossy(&other.stderr);
        return Err(format!("the other process: {}: {said}", other.status));
    }
    let theirs = String::from_utf8_lossy(&other.stdout).trim().to_owned();
    let ours = format!("{:016x}", trace.hash());
    let lines = trace.lines().len();
    if theirs == ours {
        println!("three runs, two of them in one process: {lines} lines, trace {ours}");
    } else if !is_nondeterministic(&report) {
        let text = format!("trace {ours} in this process, {theirs} in another");
        report.failure = Some(diff::nondeterminism(&text));
    }
    Ok((report, trace))
}

fn is_nondeterministic(report: &Report) -> bool {
    let class = report.failure.as_ref().map(|failure| failure.class);
    class == Some(sim::Class::Nondeterminism)
}

fn explain(level: Level, plan: &Plan, failure: &Failure, trace: &Trace, timeline: bool) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    if timeline {
        let _ = writeln!(text, "{}", trace.around(failure.task, 60));
    }
    let _ = writeln!(text, "seed {}: {failure}", plan.seed);
    let _ = writeln!(
        text,
        "  {} faults, {} tasks; {:?}",
        plan.faults.len(),
        plan.tasks.len(),
        plan.options
    );
    let _ = write!(
        text,
        "  replay: cargo run -p sim -- replay {} --level {} --trace",
        plan.seed,
        level.name()
    );
    text
}
