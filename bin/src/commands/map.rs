//! `argon map`: one command for each item.

use std::ffi::{OsStr, OsString};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use argon::{Name, command};
use clap::Args;

use crate::cluster::{Cluster, Watch};
use crate::map::engine::{Counts, Engine, Finish, Plan};
use crate::map::halt::Halt;
use crate::map::items::{self, Item, Items};
use crate::map::joblog::{Done, JobLog};
use crate::map::printer::Printer;
use crate::map::progress::Progress;
use crate::map::template::{Template, quoted};
use crate::options::{self, ClusterArgs, CommandArgs, TaskArgs};
use crate::problem::{EXIT_BROKEN_PIPE, EXIT_INTERRUPTED, Problem};
use crate::stop::StopSignals;
use crate::streams::{say, stdout};

/// What separates the command from the items.
const SEPARATOR: &str = ":::";
/// More failures than an exit code can say.
const FAILURES_MAX: u8 = 100;

const HELP: &str = "\
Placeholders, anywhere in any argument:
  {}   the item            {.}  without its extension   {/}  without its directory
  {//} its directory       {/.} neither                 {#}  its number, from 1
Without any, the item is the last argument. No shell takes items apart; where you want one:
  argon map sh -c 'sort \"$1\" | uniq -c' sort {} ::: *.txt

Exit code: 0 if all succeeded, 1 to 100 if so many failed, 101 if more did,
  130 after Ctrl-C, 141 if nobody reads the output any more, 255 if argon itself failed.

Job log: tab separated; seq, item (\\t, \\n, \\\\ and \\xNN escaped), worker, start
  (Unix time; by this machine's clock, the runtime before the outcome came), runtime (s), exit,
  signal, attempts, outcome. `-` where there is nothing.

Examples:
  argon map gzip -9 ::: *.log
  find . -name '*.rs' | argon map --manager 10.0.0.1:8000 sha256sum {}
  find . -name '*.wav' -print0 | argon map -0 --joblog log --resume lame {} {.}.mp3";

/// Run a command for each item, on a cluster or here
#[derive(Debug, Args)]
#[command(after_help = HELP, override_usage = "argon map [OPTIONS] COMMAND [ARGS]... [::: ITEMS...]")]
pub(crate) struct MapArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    #[command(flatten)]
    task: TaskArgs,
    #[command(flatten)]
    command: CommandArgs,
    /// Items on standard input end with a NUL byte instead of a newline
    #[arg(help_heading = "Items and output", short = '0', long = "null")]
    null: bool,
    /// Items in flight: submitted and not ended [default: 4 for each process of the cluster,
    /// at least 64]
    #[arg(help_heading = "Items and output", long, short, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=32_768))]
    jobs: Option<u32>,
    /// Print outputs as they come, not in the order of the items
    #[arg(help_heading = "Items and output", long)]
    unordered: bool,
    /// Start each line of output with the item and a tab
    #[arg(help_heading = "Items and output", long)]
    tag: bool,
    /// Show no progress bar, even on a terminal
    #[arg(help_heading = "Items and output", long)]
    no_progress: bool,
    /// Write a line for each item that ended to this file
    #[arg(help_heading = "Items and output", long, value_name = "FILE")]
    joblog: Option<PathBuf>,
    /// Skip the items that the job log shows as completed with exit code 0
    #[arg(help_heading = "Items and output", long, requires = "joblog")]
    resume: bool,
    /// Print the commands, quoted for a shell, and run nothing
    #[arg(help_heading = "Items and output", long)]
    dry_run: bool,
    /// When failures stop the rest: never; soon (finish what was submitted, see --jobs) or now (cancel
    /// it), at the first failure, or with ,fail=N at the Nth, or with ,fail=P% at that share (and three)
    #[arg(
        help_heading = "Items and output",
        long,
        value_name = "RULE",
        default_value = "never"
    )]
    halt: Halt,
    /// How often an item that a manager rejects is submitted again [default: without end]
    #[arg(help_heading = "Items and output", long, value_name = "N")]
    retries: Option<u32>,
    /// The command, then `:::` and the items; without `:::` they are lines of standard input
    #[arg(
        value_name = "COMMAND",
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    words: Vec<OsString>,
}

/// Runs the command.
pub(crate) async fn run(args: MapArgs) -> Result<u8, Problem> {
    let (command, given) = split(&args.words)?;
    options::check_program("map", &command[0])?;
    let template = Template::new(command.iter().map(|word| word.as_bytes()));
    let items = match given {
        Some(given) => Items::given(given.iter().cloned()),
        None => {
            if io::stdin().is_terminal() {
                say(format_args!(
                    "reading items from the terminal, one a line, to Ctrl-D; \
                     or give them after `:::`"
                ));
            }
            Items::from_stdin(if args.null { 0 } else { b'\n' })
        }
    };
    if args.dry_run {
        return dry_run(&args, &template, items).await;
    }
    let (log, done) = open_log(&args)?;
    let plan = Plan {
        template,
        command: args.command.command()?,
        task: args.task,
        retries: args.retries,
        jobs: args.jobs.map(|jobs| jobs as usize),
        ordered: !args.unordered,
        halt: args.halt,
    };
    let progress = Progress::new(!args.no_progress);
    let printer = Printer {
        tag: args.tag,
        log,
        screen: progress.screen(),
    };
    let mut stop = StopSignals::with_hangup()?;
    let cluster = Cluster::open(&args.cluster, None).await?;
    let watch = Watch::new(
        Name::new(command::RUN)?,
        args.cluster.connect_timeout,
        progress.screen(),
    );
    let mut engine = Engine::new(plan, items, done, progress, printer);
    let finish = engine.run(&cluster, &watch, &mut stop).await;
    drop(engine);
    tokio::select! {
        biased;
        code = stop.next() => return Ok(code),
        () = cluster.close() => {}
    }
    conclude(finish?, args.joblog.is_some())
}

fn items(count: u64) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} item{s}")
}

fn conclude(finish: Finish, logged: bool) -> Result<u8, Problem> {
    let (code, counts, what) = match finish {
        Finish::BrokenPipe => return Ok(EXIT_BROKEN_PIPE),
        Finish::All(counts) => {
            if counts.failed > 0 {
                say(format_args!(
                    "{} of {} failed",
                    counts.failed,
                    items(counts.ended)
                ));
            }
            return Ok(failures(counts));
        }
        Finish::Halted(counts) => (failures(counts), counts, "halted"),
        Finish::Stopped(code, counts) => {
            let what = if code == EXIT_INTERRUPTED {
                "interrupted"
            } else {
                "told to end"
            };
            (code, counts, what)
        }
    };
    let hint = if logged {
        "; --resume does the rest"
    } else {
        ""
    };
    say(format_args!(
        "{what}: {} ended, {} of them failed, {} cancelled{hint}",
        items(counts.ended),
        counts.failed,
        counts.started - counts.ended
    ));
    Ok(code)
}

/// The exit code that says how many failed.
fn failures(counts: Counts) -> u8 {
    u8::try_from(counts.failed)
        .unwrap_or(u8::MAX)
        .min(FAILURES_MAX + 1)
}

/// The command, and the items if they are given.
fn split(words: &[OsString]) -> Result<(&[OsString], Option<&[OsString]>), Problem> {
    let separator = words.iter().position(|word| word == SEPARATOR);
    let (command, items) = match separator {
        None => (words, None),
        Some(at) => (&words[..at], Some(&words[at + 1..])),
    };
    if items.is_some_and(|items| items.iter().any(|item| item == SEPARATOR)) {
        return Err(Problem::new(
            "`:::` is there twice, but combinations of items are not supported; \
             give all items after one `:::`",
        ));
    }
    let Some(program) = command.first() else {
        return Err(Problem::new(
            "there is no command before `:::`; write it like `argon map gzip {} ::: a b`",
        ));
    };
    if command.len() == 1 && is_shell_line(program) {
        return Err(Problem::new(format!(
            "there is no program named `{0}`; leave the quotes out, \
             or have a shell run it, with the item as its argument: \
             argon map sh -c '... \"$1\" ...' sh {{}}",
            program.display()
        )));
    }
    Ok((command, items))
}

/// Whether a single word looks like a line that a shell would take apart.
fn is_shell_line(word: &OsStr) -> bool {
    word.as_bytes().contains(&b' ') && !word.as_bytes().contains(&b'/')
}

fn open_log(args: &MapArgs) -> Result<(Option<JobLog>, Done), Problem> {
    let Some(path) = &args.joblog else {
        return Ok((None, Done::default()));
    };
    let opened = if args.resume {
        JobLog::resume(path)
    } else {
        JobLog::create(path).map(|log| (log, Done::default()))
    };
    match opened {
        Ok((log, done)) => Ok((Some(log), done)),
        Err(error) => Err(Problem::new(format!(
            "cannot use the job log {}: {error}",
            path.display()
        ))),
    }
}

async fn dry_run(args: &MapArgs, template: &Template, mut items: Items) -> Result<u8, Problem> {
    let mut done = match (&args.joblog, args.resume) {
        (Some(path), true) => JobLog::done(path).map_err(|error| {
            Problem::new(format!(
                "cannot read the job log {}: {error}",
                path.display()
            ))
        })?,
        _ => Done::default(),
    };
    let mut out = BufWriter::new(stdout());
    let mut number = 0;
    let mut written = Ok(());
    while written.is_ok() {
        let Some(item) = items.next().await? else {
            break;
        };
        number += 1;
        let item = match item {
            Item::Whole(item) if done.take(&item) => continue,
            Item::Whole(item) => item,
            Item::TooLong(_) => {
                say(format_args!("item {number} is {}", items::too_long()));
                continue;
            }
        };
        let mut line = quoted(&template.expand(&item, number));
        line.push(b'\n');
        written = out.write_all(&line);
    }
    match written.and_then(|()| out.flush()) {
        Ok(()) => Ok(0),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(EXIT_BROKEN_PIPE),
        Err(error) => Err(Problem::stdout(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn the_separator_ends_the_command() {
        let all = words("gzip -9 ::: a b");
        let (command, items) = split(&all).unwrap();
        assert_eq!((command.len(), items.map(<[_]>::len)), (2, Some(2)));
        let all = words("gzip -9");
        assert_eq!(split(&all).unwrap(), (&all[..], None));
        let all = words("gzip :::");
        assert_eq!(split(&all).unwrap().1, Some(&[][..]));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_a_way_out() {
        for (given, hint) in [("::: a b", "gzip {}"), ("a ::: b ::: c", "one `:::`")] {
            let problem = split(&words(given)).unwrap_err().to_string();
            assert!(problem.contains(hint), "{problem}");
        }
        let quoted = [OsString::from("gzip -9 {}")];
        assert!(split(&quoted).unwrap_err().to_string().contains("sh -c"));
    }

    #[test]
    fn the_exit_code_counts_failures() {
        let code = |failed| {
            failures(Counts {
                failed,
                ..Counts::default()
            })
        };
        assert_eq!([0, 1, 100, 101, 5_000].map(code), [0, 1, 100, 101, 101]);
    }
}
