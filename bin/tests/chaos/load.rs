//! What runs on the hosts of clients and workers besides Argon: a client that submits without end and
//! writes down what it gets, and a task that writes down that it ran. `load/` has the same in Python
//! and Perl; all follow the same rules, so that one judge can read what they leave.
//!
//! A client appends to its own file, a line at once, fields between tabs:
//! `submitted ID TIME ONCE ASKED`, before it submits, where ONCE is `once` or `again` and ASKED is
//! what the task is to come to: `result`, `error`, `deadline` or `cancel`; then
//! `outcome ID TIME OUTCOME RUN`, where RUN is what the task returned, or why there is nothing; and
//! `finished` when it was told to stop and has all its outcomes.
//!
//! A task appends to the ledger: `start ID TIME RUN` and, at its end, `end ID TIME RUN`. RUN names
//! this one run: worker, process and time. It is also the task's result.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{env, fs};

use argon::blocking::{Client, Deferred};
use argon::command::{CommandOutput, CommandSpec, RUN};
use argon::{Call, Error, ErrorKind, Payload};

/// Where tasks write.
pub(crate) const LEDGER: &str = "CHAOS_LEDGER";
/// Which worker a task runs at.
pub(crate) const WORKER: &str = "CHAOS_WORKER";
/// How long tasks take, in milliseconds, one after the other.
const SPANS: [u64; 8] = [5, 20, 60, 150, 300, 20, 60, 1_200];
/// Of every so many tasks, one is asked for each unusual end.
const UNUSUAL_EVERY: u64 = 16;
/// Some tasks with a deadline make it, others do not.
const DEADLINE: Duration = Duration::from_millis(1_500);
/// Between looks at what has ended.
const LOOK: Duration = Duration::from_millis(10);
/// As `load/entries.py` and `load/lib/Chaos/Entry.pm`, in shell.
const SCRIPT: &str = r#"
started=$(date +%s%N); run="$CHAOS_WORKER/$$/$started"
printf 'start\t%s\t%s\t%s\n' "$1" "$started" "$run" >>"$CHAOS_LEDGER"
sleep "$2"
printf 'end\t%s\t%s\t%s\n' "$1" "$(date +%s%N)" "$run" >>"$CHAOS_LEDGER"
[ "$3" != error ] || exit 3
printf %s "$run"
"#;

/// Nanoseconds of the clock that all processes here share.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.expect("after 1970").as_nanos()).expect("before 2554")
}

/// One line at once, after whatever others append.
pub(crate) fn append(file: &Path, fields: &[&str]) {
    let line = format!("{}\n", fields.join("\t"));
    let file = OpenOptions::new().append(true).create(true).open(file);
    file.and_then(|mut file| file.write_all(line.as_bytes()))
        .expect("a file that can be appended to");
}

/// The task.
#[argon::task(name = "chaos-entry")]
fn entry(id: &str, span_ms: u64, asked: &str) -> Result<String, String> {
    let started = now().to_string();
    let (ledger, worker) = (env::var(LEDGER), env::var(WORKER));
    let ledger = PathBuf::from(ledger.map_err(|error| error.to_string())?);
    let worker = worker.map_err(|error| error.to_string())?;
    let run = format!("{worker}/{}/{started}", process::id());
    append(&ledger, &["start", id, &started, &run]);
    thread::sleep(Duration::from_millis(span_ms));
    append(&ledger, &["end", id, &now().to_string(), &run]);
    if asked == "error" {
        return Err("as asked".to_owned());
    }
    Ok(run)
}

/// The same as a command.
fn command(id: &str, span_ms: u64, asked: &str) -> Call<Payload> {
    let seconds = format!("{}.{:03}", span_ms / 1_000, span_ms % 1_000);
    let spec = CommandSpec::new(["sh", "-c", SCRIPT, "sh", id, &seconds, asked]);
    Call::raw(RUN, spec.encode())
}

/// What is under way.
struct UnderWay {
    id: String,
    waits: Waits,
}

enum Waits {
    Function(Deferred<String>),
    Command(Deferred<Payload>),
}

impl UnderWay {
    fn is_finished(&self) -> bool {
        match &self.waits {
            Waits::Function(deferred) => deferred.is_finished(),
            Waits::Command(deferred) => deferred.is_finished(),
        }
    }

    fn cancel(&self) {
        match &self.waits {
            Waits::Function(deferred) => deferred.cancel(),
            Waits::Command(deferred) => deferred.cancel(),
        }
    }

    /// The outcome in one word, and the run or the reason.
    fn outcome(self) -> (&'static str, String) {
        let result = match self.waits {
            Waits::Function(deferred) => deferred.wait(),
            Waits::Command(deferred) => deferred.wait().map(|payload| {
                CommandOutput::decode(&payload).map_or_else(
                    |error| error.to_string(),
                    |output| String::from_utf8_lossy(&output.stdout).into_owned(),
                )
            }),
        };
        let error = match result {
            Ok(run) => return ("completed", run),
            Err(error) => error,
        };
        let word = match &error {
            Error::Failed(failed) => match failed.kind {
                ErrorKind::Raised(_) | ErrorKind::Exit(3) => "raised",
                ErrorKind::Crashed(_) => "crashed",
                _ => "other",
            },
            Error::Rejected { .. } => "rejected",
            Error::Expired { may_have_run, .. } => either("expired", *may_have_run),
            Error::Cancelled { may_have_run, .. } => either("cancelled", *may_have_run),
            Error::Lost { .. } => "lost",
            _ => "other",
        };
        (word, error.to_string())
    }
}

fn either(word: &str, may_have_run: bool) -> &'static str {
    match (word, may_have_run) {
        ("expired", true) => "expired",
        ("expired", false) => "expired-unrun",
        (_, true) => "cancelled",
        (_, false) => "cancelled-unrun",
    }
}

/// What a client is told on its command line, in every language.
pub(crate) struct Orders {
    /// `HOST:PORT` of the manager.
    pub(crate) manager: String,
    /// What its ids begin with.
    pub(crate) name: String,
    /// Its own file.
    pub(crate) record: PathBuf,
    /// It submits until this file is there.
    pub(crate) stop: PathBuf,
    /// How many tasks it keeps under way.
    pub(crate) in_flight: usize,
}

/// The client.
pub(crate) fn client(orders: &Orders) -> Result<(), Error> {
    let client = Client::connect_when_there(&orders.manager, &orders.name)?;
    let note = |fields: &[&str]| append(&orders.record, fields);
    let mut under_way: Vec<UnderWay> = Vec::new();
    let mut number = 0;
    loop {
        let stopping = orders.stop.exists();
        while !stopping && under_way.len() < orders.in_flight {
            let task = submit(&client, orders, number);
            // A moment for it to be at any stage, which depends on what else goes on.
            if asked(number) == "cancel" {
                thread::sleep(LOOK);
                task.cancel();
            }
            under_way.push(task);
            number += 1;
        }
        let (ended, rest): (Vec<_>, Vec<_>) =
            under_way.into_iter().partition(UnderWay::is_finished);
        under_way = rest;
        for task in ended {
            let id = task.id.clone();
            let (word, run) = task.outcome();
            note(&["outcome", &id, &now().to_string(), word, &in_line(&run)]);
        }
        if stopping && under_way.is_empty() {
            break;
        }
        thread::sleep(LOOK);
    }
    note(&["finished"]);
    client.close();
    Ok(())
}

fn in_line(text: &str) -> String {
    text.replace(['\t', '\n'], " ")
}

fn asked(number: u64) -> &'static str {
    match number % UNUSUAL_EVERY {
        5 => "error",
        7 => "deadline",
        11 => "cancel",
        _ => "result",
    }
}

fn submit(client: &Client, orders: &Orders, number: u64) -> UnderWay {
    let id = format!("{}-{number}", orders.name);
    let span = SPANS[usize::try_from(number % 8).expect("small")];
    let (once, asked) = (number % 4 < 2, asked(number));
    let word = if once { "once" } else { "again" };
    append(
        &orders.record,
        &["submitted", &id, &now().to_string(), word, asked],
    );
    let waits = if number.is_multiple_of(2) {
        let call = treated(entry(&id, span, asked), once, asked);
        Waits::Function(client.defer(call))
    } else {
        let call = treated(command(&id, span, asked), once, asked);
        Waits::Command(client.defer(call))
    };
    UnderWay { id, waits }
}

fn treated<T>(call: Call<T>, once: bool, asked: &str) -> Call<T> {
    let call = if once { call.at_most_once() } else { call };
    if asked == "deadline" {
        call.deadline(DEADLINE)
    } else {
        call
    }
}

/// Waits for the manager for as long as it takes: there may be a fault right now.
trait WhenThere: Sized {
    fn connect_when_there(manager: &str, name: &str) -> Result<Self, Error>;
}

impl WhenThere for Client {
    fn connect_when_there(manager: &str, name: &str) -> Result<Self, Error> {
        let builder = argon::Client::builder().managers(manager).name(name)?;
        builder.connect_timeout(None).connect_blocking()
    }
}

/// The orders in the arguments after the first.
pub(crate) fn orders(args: &[String]) -> Orders {
    let [manager, name, record, stop, in_flight] = args else {
        panic!("MANAGER NAME RECORD STOP IN-FLIGHT, not {args:?}");
    };
    Orders {
        manager: manager.clone(),
        name: name.clone(),
        record: record.into(),
        stop: stop.into(),
        in_flight: in_flight.parse().expect("a number"),
    }
}

impl Orders {
    /// The same as arguments.
    pub(crate) fn args(&self) -> Vec<String> {
        let path = |path: &Path| path.to_str().expect("UTF-8").to_owned();
        vec![
            self.manager.clone(),
            self.name.clone(),
            path(&self.record),
            path(&self.stop),
            self.in_flight.to_string(),
        ]
    }
}

/// The lines of a file so far, as fields. The last line of one that is being written may be missing.
pub(crate) fn lines(file: &Path) -> Vec<Vec<String>> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let fields = |line: &str| line.split('\t').map(str::to_owned).collect();
    whole.lines().map(fields).collect()
}
