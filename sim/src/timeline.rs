//! A run as a text log: a column a node, one line a transition, and what machines count at each
//! line that changes it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::options::Host;
use crate::plan::Plan;
use crate::trace::{Counts, Gauge, Line, Trace};

/// The width of a node's column.
const COLUMN: usize = 12;
/// Longer texts end in an ellipsis.
const TEXT: usize = 120;

/// Writes the log of a run; only what is about `task`, with all faults, if there is one.
///
/// In a node's column: `|` it lives, `.` it does not, `*` it does what the text says, or what it
/// counts from now on: `q` queued, `o` out at workers or the manager, `w` waiting, `r` running, `h`
/// held until it is acknowledged, `0` nothing of all this. An arrow is a message.
#[must_use]
pub fn timeline(plan: &Plan, trace: &Trace, task: Option<usize>) -> String {
    let mut log = Log {
        hosts: plan.options.hosts(),
        alive: BTreeMap::new(),
        text: String::new(),
    };
    log.head(plan);
    let lines = trace.lines();
    let mut gauges = trace.gauges().iter().peekable();
    for (index, line) in lines.iter().enumerate() {
        let host = host_of(&line.who);
        // The counts of a turn stand at its last line.
        let mut counts = BTreeMap::new();
        while let Some(gauge) = gauges.next_if(|gauge| gauge.lines <= index + 1) {
            let here = Some(gauge.host) == host && gauge.at == line.at;
            if here || task.is_none() {
                counts.insert(gauge.host, gauge);
            }
        }
        let own = host.and_then(|host| counts.remove(&host));
        let wanted = task.is_none() || line.task == task || line.who == "fault";
        log.live(host, line);
        if wanted {
            log.line(line, host, own);
        }
        for gauge in counts.into_values() {
            log.row(
                gauge.at,
                &log.cells(Some((gauge.host, &short(&gauge.counts)))),
                "",
            );
        }
    }
    log.text
}

/// The host of a name like `w1.2`.
fn host_of(who: &str) -> Option<Host> {
    let number = who.strip_prefix(['m', 'w', 'c'])?;
    number.split('.').next()?.parse().ok()
}

fn short(counts: &Counts) -> String {
    let parts = counts.iter().filter(|(_, count)| *count > 0);
    let parts: Vec<String> = parts
        .map(|(name, count)| format!("{}{count}", &name[..1]))
        .collect();
    match parts.is_empty() {
        true => "0".to_owned(),
        false => parts.join(" "),
    }
}

struct Log {
    hosts: Host,
    alive: BTreeMap<Host, bool>,
    text: String,
}

impl Log {
    fn head(&mut self, plan: &Plan) {
        let options = &plan.options;
        let mut names = String::new();
        for host in 0..options.hosts() {
            let letter = match host {
                host if host < options.managers => 'm',
                host if options.worker_hosts().contains(&host) => 'w',
                _ => 'c',
            };
            let _ = write!(names, "{:<COLUMN$}", format!("{letter}{host}"));
        }
        let _ = writeln!(self.text, "{:>14}  {names}", "time");
    }

    fn live(&mut self, host: Option<Host>, line: &Line) {
        if let Some(host) = host {
            if line.text.starts_with("starts, id") {
                self.alive.insert(host, true);
            } else if line.text.starts_with("ends: ") {
                self.alive.insert(host, false);
            }
        }
    }

    /// All columns, with one of them filled in.
    fn cells(&self, own: Option<(Host, &str)>) -> String {
        let mut cells = String::new();
        for host in 0..self.hosts {
            let cell = match own {
                Some((own, text)) if own == host => text,
                _ if self.alive.get(&host) == Some(&true) => "|",
                _ => ".",
            };
            let _ = write!(cells, "{cell:<COLUMN$}");
        }
        cells
    }

    fn row(&mut self, at: u64, cells: &str, text: &str) {
        let (seconds, rest) = (at / 1_000_000_000, at % 1_000_000_000);
        let row = format!("{seconds:>4}.{rest:09}  {cells}{text}");
        self.text.push_str(row.trim_end());
        self.text.push('\n');
    }

    fn line(&mut self, line: &Line, host: Option<Host>, gauge: Option<&Gauge>) {
        let text = match line.text.char_indices().nth(TEXT) {
            Some((end, _)) => format!("{}…", &line.text[..end]),
            None => line.text.clone(),
        };
        let Some(host) = host else {
            let cells = "=".repeat(usize::from(self.hosts) * COLUMN - 2);
            self.row(
                line.at,
                &format!("{cells}  "),
                &format!("{}: {text}", line.who),
            );
            return;
        };
        let counts = gauge.map(|gauge| short(&gauge.counts));
        let mut cells = self.cells(Some((host, counts.as_deref().unwrap_or("*"))));
        if let Some(other) = other_end(&text) {
            cells = arrow(
                &cells,
                host,
                other,
                text.starts_with("->"),
                counts.as_deref(),
            );
        }
        let _ = write!(cells, "{} ", line.who);
        self.row(line.at, &cells, &text);
    }
}

/// The host at the other end of a message.
fn other_end(text: &str) -> Option<Host> {
    let rest = text.strip_prefix("-> ").or(text.strip_prefix("<- "))?;
    host_of(rest.split(':').next()?)
}

/// Draws a message through the columns between its ends.
fn arrow(cells: &str, host: Host, other: Host, leaves: bool, counts: Option<&str>) -> String {
    let mut cells: Vec<char> = cells.chars().collect();
    let (own, far) = (usize::from(host) * COLUMN, usize::from(other) * COLUMN);
    let (low, high) = (own.min(far), own.max(far));
    if high >= cells.len() {
        return cells.into_iter().collect();
    }
    // What this node counts is left to be read.
    let used = counts.map_or(1, |counts| counts.chars().count() + 1);
    let from = if own == low { own + used } else { far + 1 };
    for cell in &mut cells[from..high] {
        *cell = '-';
    }
    let towards_far = leaves;
    let tip = if (own < far) == towards_far { '>' } else { '<' };
    let place = match (own < far, towards_far) {
        (true, true) => far - 1,
        (true, false) => from,
        (false, true) => far + 1,
        (false, false) => own - 1,
    };
    cells[place] = tip;
    cells.into_iter().collect()
}
