//! Runs the items: takes them in as there is room, and hands on what has ended.

use std::collections::VecDeque;
use std::io;
use std::time::SystemTime;

use argon::command::{self, CommandSpec};
use argon::{Name, SubmitError, TaskSpec};
use tokio::task::{JoinHandle, JoinSet};

use super::halt::{Halt, HaltMode};
use super::items::{self, Item, Items};
use super::joblog::Done;
use super::ordered::{Ordered, Weigh};
use super::printer::{Ended, PrintError, Printer};
use super::progress::Progress;
use super::template::Template;
use crate::cluster::{Cluster, Watch};
use crate::options::TaskArgs;
use crate::outcome::Finished;
use crate::problem::Problem;
use crate::stop::StopSignals;

/// Output that waits for its turn, in bytes; beyond this no further item is started.
const WAITING_BYTES: usize = 256 * 1024 * 1024;
/// Items that ended and wait for their turn, as a multiple of those in flight; beyond this no
/// further item is started.
const WAITING_FACTOR: usize = 16;
/// Items in flight if nothing else is asked for: so many for each attempt that the cluster can run
/// at once, so that the next is there when one ends...
const IN_FLIGHT_FACTOR: u64 = 4;
/// ... and at least so many, since workers may join...
const IN_FLIGHT_MIN: u64 = 64;
/// ... and at most so many, well below what a client may hold.
const IN_FLIGHT_MAX: u64 = 32_768;

/// What is to be done with each item.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) template: Template,
    /// Directory and environment; the words come from the template.
    pub(crate) command: CommandSpec,
    pub(crate) task: TaskArgs,
    pub(crate) retries: Option<u32>,
    pub(crate) jobs: Option<usize>,
    pub(crate) ordered: bool,
    pub(crate) halt: Halt,
}

/// How many items came to what.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) started: u64,
    pub(crate) ended: u64,
    pub(crate) failed: u64,
}

/// How it went.
#[derive(Debug)]
pub(crate) enum Finish {
    /// All items ended.
    All(Counts),
    /// Too many failed.
    Halted(Counts),
    /// A signal came; the exit code that says so.
    Stopped(u8, Counts),
    /// Nobody reads our output.
    BrokenPipe,
}

/// The items under way.
#[derive(Debug)]
pub(crate) struct Engine {
    plan: Plan,
    items: Items,
    /// Whether there may be more items.
    more: bool,
    done: Done,
    /// Items seen.
    number: u64,
    running: JoinSet<Result<(u64, Ended), Problem>>,
    order: Ordered<Ended>,
    /// To be printed.
    ready: VecDeque<Ended>,
    ready_weight: usize,
    /// Away while it prints.
    printer: Option<Printer>,
    printing: Option<JoinHandle<(Printer, Result<(), PrintError>)>>,
    progress: Progress,
    halted: Option<HaltMode>,
    counts: Counts,
}

impl Engine {
    pub(crate) fn new(
        plan: Plan,
        items: Items,
        done: Done,
        progress: Progress,
        printer: Printer,
    ) -> Self {
        Self {
            plan,
            items,
            more: true,
            done,
            number: 0,
            running: JoinSet::new(),
            order: Ordered::default(),
            ready: VecDeque::new(),
            ready_weight: 0,
            printer: Some(printer),
            printing: None,
            progress,
            halted: None,
            counts: Counts::default(),
        }
    }

    /// Until all is done, or something ends it early. Dropping the engine gives up what runs.
    pub(crate) async fn run(
        &mut self,
        cluster: &Cluster,
        watch: &Watch,
        stop: &mut StopSignals,
    ) -> Result<Finish, Problem> {
        let watching = cluster.watch(watch);
        tokio::pin!(watching);
        loop {
            self.print_ready();
            if self.printing.is_none() && self.running.is_empty() && !self.takes_items() {
                return Ok(match self.halted {
                    Some(_) => Finish::Halted(self.counts),
                    None => Finish::All(self.counts),
                });
            }
            let room = self.takes_items() && self.has_room(watch.capacity());
            tokio::select! {
                biased;
                code = stop.next() => {
                    self.print_rest(stop).await?;
                    return Ok(Finish::Stopped(code, self.counts));
                }
                problem = &mut watching => return Err(problem),
                printed = join(&mut self.printing) => match self.printed(printed?) {
                    Ok(()) => {}
                    Err(PrintError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                        return Ok(Finish::BrokenPipe);
                    }
                    Err(error) => return Err(error.into()),
                },
                Some(ended) = self.running.join_next() => {
                    self.take_in(ended??);
                    while let Some(ended) = self.running.try_join_next() {
                        self.take_in(ended??);
                    }
                    watch.heard();
                }
                item = self.items.next(), if room => self.on_item(cluster, item)?,
            }
        }
    }

    /// Told to end: what runs is given up, and what has ended is printed and logged, also out of
    /// order, so that `--resume` does only the rest. Being told once more ends that, too.
    async fn print_rest(&mut self, stop: &mut StopSignals) -> Result<(), Problem> {
        self.running = JoinSet::new();
        while let Some(next) = self.order.take_any() {
            self.make_ready(next);
        }
        loop {
            self.print_ready();
            if self.printing.is_none() {
                return Ok(());
            }
            tokio::select! {
                biased;
                _ = stop.next() => return Ok(()),
                printed = join(&mut self.printing) => match self.printed(printed?) {
                    Err(error @ PrintError::Log(_)) => return Err(error.into()),
                    // There is nobody to print for any more.
                    Ok(()) | Err(PrintError::Output(_)) => {}
                },
            }
        }
    }

    /// Whether another item may be started at all.
    fn takes_items(&self) -> bool {
        self.more && self.halted.is_none()
    }

    fn has_room(&self, capacity: Option<u64>) -> bool {
        let jobs = self.plan.jobs.unwrap_or_else(|| in_flight(capacity));
        self.running.len() < jobs
            && self.order.len() + self.ready.len() < jobs.saturating_mul(WAITING_FACTOR)
            && self.order.weight() + self.ready_weight < WAITING_BYTES
    }

    fn on_item(
        &mut self,
        cluster: &Cluster,
        item: io::Result<Option<Item>>,
    ) -> Result<(), Problem> {
        let item = item.map_err(|error| Problem::new(format!("cannot read the items: {error}")))?;
        let Some(item) = item else {
            self.more = false;
            self.know_total();
            return Ok(());
        };
        self.number += 1;
        self.know_total();
        match item {
            Item::Whole(item) if self.done.take(&item) => self.progress.skip(),
            Item::Whole(item) => self.start(cluster, item),
            Item::TooLong(start) => self.refuse(start),
        }
        Ok(())
    }

    /// An item that no command can be given fails, and stops no other.
    fn refuse(&mut self, start: Vec<u8>) {
        let place = self.place();
        self.counts.started += 1;
        let ended = Ended {
            number: self.number,
            item: start,
            start: SystemTime::now(),
            finished: Finished::refused(items::too_long()),
        };
        self.take_in((place, ended));
    }

    /// Where the next item is among those that are printed in order.
    fn place(&mut self) -> u64 {
        if self.plan.ordered {
            self.order.begin()
        } else {
            0
        }
    }

    fn know_total(&mut self) {
        if self.items.all_known() {
            self.progress
                .set_total(self.number + self.items.known() as u64);
        }
    }

    fn start(&mut self, cluster: &Cluster, item: Vec<u8>) {
        let number = self.number;
        let mut command = self.plan.command.clone();
        command.argv = self.plan.template.expand(&item, number);
        let name = Name::new(command::RUN).expect("the name is a constant");
        let mut spec = TaskSpec::new(name, command.encode());
        self.plan.task.apply(&mut spec);
        spec.retries = self.plan.retries;
        let place = self.place();
        self.counts.started += 1;
        let submitted = SystemTime::now();
        let end = cluster.run(spec);
        self.running.spawn(async move {
            let finished = match end.await {
                Ok((outcome, payload)) => Finished::new(&outcome, &payload),
                Err(error @ SubmitError::TooLarge { .. }) => {
                    Finished::refused(format!("{error}; --max-payload raises that"))
                }
                Err(error) => {
                    let problem = format!("item {number} cannot be submitted: {error}");
                    return Err(Problem::new(problem));
                }
            };
            let start = match finished.label.ran {
                Some(ran) => SystemTime::now() - ran,
                None => submitted,
            };
            let ended = Ended {
                number,
                item,
                start,
                finished,
            };
            Ok((place, ended))
        });
    }

    fn take_in(&mut self, (place, ended): (u64, Ended)) {
        self.counts.ended += 1;
        let failed = !ended.finished.succeeded();
        self.counts.failed += u64::from(failed);
        self.progress.ended(failed);
        if self.plan.ordered {
            self.order.end(place, ended);
            while let Some(next) = self.order.take() {
                self.make_ready(next);
            }
        } else {
            self.make_ready(ended);
        }
        if self.halted.is_none() {
            self.halted = self.plan.halt.judge(self.counts.failed, self.counts.ended);
            if self.halted == Some(HaltMode::Now) {
                self.running = JoinSet::new();
                while let Some(next) = self.order.take_any() {
                    self.make_ready(next);
                }
            }
        }
    }

    fn make_ready(&mut self, ended: Ended) {
        self.ready_weight += ended.weight();
        self.ready.push_back(ended);
    }

    /// Has everything printed that can be, unless printing is under way.
    fn print_ready(&mut self) {
        if self.ready.is_empty() {
            return;
        }
        let Some(mut printer) = self.printer.take() else {
            return;
        };
        let batch: Vec<Ended> = self.ready.drain(..).collect();
        self.ready_weight = 0;
        self.printing = Some(tokio::task::spawn_blocking(move || {
            let printed = printer.print(&batch);
            (printer, printed)
        }));
    }

    fn printed(
        &mut self,
        (printer, printed): (Printer, Result<(), PrintError>),
    ) -> Result<(), PrintError> {
        self.printer = Some(printer);
        self.printing = None;
        printed
    }
}

/// Items in flight for a cluster that runs this many at once.
fn in_flight(capacity: Option<u64>) -> usize {
    let wanted = capacity.unwrap_or(0).saturating_mul(IN_FLIGHT_FACTOR);
    usize::try_from(wanted.clamp(IN_FLIGHT_MIN, IN_FLIGHT_MAX)).unwrap_or(usize::MAX)
}

/// Waits for ever if there is nothing to wait for.
async fn join<T>(handle: &mut Option<JoinHandle<T>>) -> Result<T, tokio::task::JoinError> {
    match handle {
        Some(handle) => handle.await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cluster_is_kept_busy_within_bounds() {
        assert_eq!(in_flight(None), 64);
        assert_eq!(in_flight(Some(2)), 64);
        assert_eq!(in_flight(Some(1_000)), 4_000);
        assert_eq!(in_flight(Some(u64::MAX)), 32_768);
    }
}
