//! A client on stage. Its manager is `m`, which answers nothing unless a command says so; the
//! client settles after each command.

use argon_core::client::ClientConfig;
use argon_core::event::Event;
use argon_core::ids::{PeerId, PoolProcess, SlotId};
use argon_core::link::LinkInput;
use argon_core::message::{Control, FromManager, Message, RefuseReason, ToClient, ToManager};
use argon_core::name::Name;
use argon_core::task::{Priority, RejectReason, TaskSpec};
use argon_core::time::Nanos;

use crate::client::bench::{Bench, outcome, sized};

use super::command::Command;
use super::text::{short, span};
use super::worker::sent;

/// A client with its surroundings.
pub(super) struct Stage {
    bench: Bench,
    /// Events, and reasons of closing, that were shown.
    shown: (usize, usize),
    stopped: bool,
}

impl super::Stage for Stage {
    const MACHINE: &'static str = "client";

    fn new(command: &Command<'_>) -> Self {
        if command.verb != Self::MACHINE {
            command.unknown();
        }
        let bench = Bench::with(|config| configure(config, command));
        let mut stage = Self {
            bench,
            shown: (0, 0),
            stopped: false,
        };
        if !command.says("alone") {
            stage.bench.welcome(1, false);
            stage.news();
        }
        stage
    }

    fn run(&mut self, command: &Command<'_>) -> Vec<String> {
        let mut told = Vec::new();
        let said = match (command.who, command.verb) {
            (None, "submits") => {
                for _ in 0..command.number("times").unwrap_or(1) {
                    match self.bench.client.submit(self.bench.now, spec(command)) {
                        Ok(_) => {}
                        Err(error) => told.push(format!("not taken: {}", short(&error))),
                    }
                }
                if command.says("+") {
                    Vec::new()
                } else {
                    self.bench.settle()
                }
            }
            (None, "cancels") => self.bench.cancel(command.read(command.must())),
            (None, "stops") => self.bench.stop(),
            (None, "settles") => self.bench.settle(),
            (None, "wait") => self.bench.pass(span(command.must())),
            (None, "window") => {
                let client = &self.bench.client;
                return vec![format!(
                    "{} of {} in flight",
                    client.in_flight(),
                    client.window()
                )];
            }
            (Some("m"), "welcomes") => {
                let epoch = command.number("epoch").unwrap_or(1);
                self.bench.welcome(epoch, command.says("resumed"))
            }
            (Some("m"), "connects") => {
                let conn = self.bench.conn.expect("a connection");
                self.bench.link(LinkInput::Connected { conn })
            }
            (Some("m"), "closes") => {
                self.bench.cut();
                Vec::new()
            }
            (Some("m"), "progresses") => {
                let conn = self.bench.conn.expect("a connection");
                self.bench.link(LinkInput::Progress { conn })
            }
            (Some("m"), "pongs") => self.bench.pong(),
            (Some("m"), _) => {
                let message = message(command);
                self.bench.receive(message)
            }
            _ => command.unknown(),
        };
        told.extend(
            said.into_iter()
                .map(|body| sent(&Message::<ToManager>::from(body))),
        );
        told.extend(self.news());
        told
    }
}

impl Stage {
    /// What has happened beside what it sent.
    fn news(&mut self) -> Vec<String> {
        let outcome = |(seq, outcome)| format!("{seq} ended: {}", short(&outcome));
        let mut told: Vec<String> = self.bench.delivered().into_iter().map(outcome).collect();
        let (events, closed) = self.shown;
        let closing = |reason| format!("hangs up: {}", short(reason));
        told.extend(self.bench.closed[closed..].iter().map(closing));
        let log = |event: &Event| format!("log: {}", short(event));
        told.extend(self.bench.events[events..].iter().map(log));
        self.shown = (self.bench.events.len(), self.bench.closed.len());
        if self.bench.stopped && !self.stopped {
            self.stopped = true;
            told.push("stopped".to_owned());
        }
        told
    }
}

fn configure(config: &mut ClientConfig, command: &Command<'_>) {
    config.addresses = command.number("addresses").unwrap_or(config.addresses);
    config.tasks = command.number("tasks").unwrap_or(config.tasks);
    config.bytes = command.number("bytes").unwrap_or(config.bytes);
    config.retries = match command.option("retries") {
        Some("forever") => None,
        Some(retries) => Some(command.read(retries)),
        None => config.retries,
    };
    config.payload_max = command.number("payload_max").unwrap_or(config.payload_max);
    if command.says("within") {
        config.within = Some(PoolProcess {
            worker: PeerId(3),
            slot: SlotId(1),
            life: 2,
        });
    }
    config.inner.ids = command.number("inner.ids").unwrap_or(config.inner.ids);
    let window = command.number("inner.outcome_window");
    config.inner.outcome_window = window.unwrap_or(config.inner.outcome_window);
}

fn spec(command: &Command<'_>) -> TaskSpec {
    let plain = sized(command.number("bytes").unwrap_or(0));
    let priority = command
        .number("priority")
        .map(|level| Priority::new(level).expect("a priority"));
    TaskSpec {
        name: command
            .option("name")
            .map_or(plain.name, |text| Name::new(text).expect("a name")),
        priority: priority.unwrap_or(plain.priority),
        max_attempts: command.number("attempts").unwrap_or(plain.max_attempts),
        at_most_once: command.says("at_most_once"),
        deadline: command.span("deadline"),
        max_wait: command.span("max_wait"),
        time_limit: command.span("time_limit"),
        retries: command.number("retries"),
        payload: plain.payload,
    }
}

/// What the manager says.
fn message(command: &Command<'_>) -> FromManager<ToClient> {
    match command.verb {
        "ends" => outcome(command.read(command.must())),
        "rejects" => FromManager::Role(ToClient::Reject {
            seq: command.read(command.must()),
            reason: reason(command),
            retry_after: command.span("after").map_or(Nanos::ZERO, Nanos::from),
            may_have_run: command.says("may_have_run"),
            similar: Vec::new(),
        }),
        "knows_nothing_of" => FromManager::Role(ToClient::Unknown {
            seqs: command.numbers(command.must()),
        }),
        "refuses" => {
            let all = [
                RefuseReason::Full,
                RefuseReason::OldConnection,
                RefuseReason::Replaced,
            ];
            let text = command.must();
            let found = all.into_iter().find(|reason| format!("{reason:?}") == text);
            FromManager::Control(Control::Refuse(found.unwrap_or_else(|| command.unknown())))
        }
        "pauses" => FromManager::Control(Control::Paused),
        "misdirects" => FromManager::Misdirected,
        _ => command.unknown(),
    }
}

fn reason(command: &Command<'_>) -> RejectReason {
    use RejectReason as R;
    let all = [
        R::QueueFull,
        R::QueueBytesFull,
        R::Displaced,
        R::ClientFull,
        R::InFlightFull,
        R::TooSlow,
        R::Draining,
        R::NoWorkers,
        R::TooLarge,
        R::NoRunner,
    ];
    let Some(text) = command.option("reason") else {
        return R::QueueFull;
    };
    let found = all.into_iter().find(|reason| format!("{reason:?}") == text);
    found.unwrap_or_else(|| command.unknown())
}
