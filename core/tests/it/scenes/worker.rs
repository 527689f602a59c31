//! A worker on stage. Its manager is `m`, the process in place 0 that was started there first is
//! `s0.1`; both stand still unless a command says what they do. Commands that end in `+` and the
//! next come at once.

use argon_core::capabilities::Capabilities;
use argon_core::ids::Attempt;
use argon_core::link::{LinkInput, LinkOutput};
use argon_core::machine::Machine as _;
use argon_core::message::{Assign, Control, FromManager, Message, ToManager, ToWorker};
use argon_core::name::Name;
use argon_core::time::Nanos;
use argon_core::worker::{PoolInput, RunEnd, SlotLife, WorkerConfig, WorkerInput, WorkerOutput};

use crate::worker::bench::{MS, Rig, assign, attempt, config, life, payload};

use super::command::Command;
use super::text::{cause, error, short, span, time};

/// A worker with its surroundings.
pub(super) struct Stage {
    rig: Rig,
    /// Events that the log has shown.
    shown: usize,
}

impl super::Stage for Stage {
    const MACHINE: &'static str = "worker";

    fn new(command: &Command<'_>) -> Self {
        if command.verb != Self::MACHINE {
            command.unknown();
        }
        let mut config = config(command.number("slots").unwrap_or(1));
        configure(&mut config, command);
        let rig = if command.says("cold") {
            Rig::new(config)
        } else if command.says("alone") {
            Rig::ready(config)
        } else {
            Rig::up(config)
        };
        let shown = rig.events.len();
        Self { rig, shown }
    }

    fn run(&mut self, command: &Command<'_>) -> Vec<String> {
        let more = command.says("+");
        let mut said = match (command.who, command.verb) {
            (None, "connects") => self.rig.connect(),
            (None, "wait") => {
                let wait = span(command.must());
                if command.says("alone") {
                    self.rig.pass_alone(wait);
                    Vec::new()
                } else {
                    self.rig.pass(wait)
                }
            }
            (None, "settles") => Vec::new(),
            (None, "drains") => self.feed(WorkerInput::Drain),
            (None, "stops") => self.feed(WorkerInput::Stop),
            (None, "wakes") => {
                let next = self.rig.worker.poll_timeout();
                let left = next.map(|next| next.at.as_nanos() - self.rig.now.as_nanos());
                return vec![
                    left.map_or_else(|| "never".to_owned(), |left| format!("in {}", time(left))),
                ];
            }
            (Some("m"), _) => self.manager(command),
            (Some(slot), _) => self.pool(slot, command),
            _ => command.unknown(),
        };
        if !more {
            said.extend(self.rig.step());
        }
        let mut told: Vec<String> = said.iter().map(told).collect();
        let events = &self.rig.events[self.shown..];
        told.extend(events.iter().map(|event| format!("log: {}", short(event))));
        self.shown = self.rig.events.len();
        told
    }
}

impl Stage {
    fn feed(&mut self, input: WorkerInput) -> Vec<WorkerOutput> {
        self.rig.feed(input);
        Vec::new()
    }

    fn manager(&mut self, command: &Command<'_>) -> Vec<WorkerOutput> {
        let attempts = || -> Vec<Attempt> {
            command
                .numbers(command.must())
                .into_iter()
                .map(attempt)
                .collect()
        };
        let said = match command.verb {
            "closes" => {
                let conn = self.rig.conn.take().expect("a connection");
                return self.feed(WorkerInput::Link(LinkInput::Closed { conn }));
            }
            "progresses" => {
                let conn = self.rig.conn.expect("a connection");
                return self.feed(WorkerInput::Link(LinkInput::Progress { conn }));
            }
            "beats" => {
                return self
                    .rig
                    .answer_pings(command.span("after").unwrap_or_default());
            }
            "assigns" => {
                let never = |key| command.span(key).map_or(Nanos::NONE, Nanos::from);
                let (deadline, time_limit) = (never("deadline"), never("time_limit"));
                let name = Name::new(command.option("name").unwrap_or("t")).expect("a name");
                let at_most_once = command.says("at_most_once");
                for number in command.numbers(command.must()) {
                    let (name, once) = (name.clone(), at_most_once);
                    self.rig.assign(Assign {
                        name,
                        at_most_once: once,
                        deadline,
                        time_limit,
                        ..assign(number)
                    });
                }
                return Vec::new();
            }
            "acks" => FromManager::Role(ToWorker::AckResults {
                attempts: attempts(),
            }),
            "recalls" => FromManager::Role(ToWorker::Recall {
                attempts: attempts(),
            }),
            "kills" => FromManager::Role(ToWorker::Kill {
                attempt: attempts()[0],
            }),
            "resends" => FromManager::Role(ToWorker::Resend {
                attempt: attempts()[0],
            }),
            "pauses" => FromManager::Control(Control::Paused),
            "misdirects" => FromManager::Misdirected,
            _ => command.unknown(),
        };
        self.rig.say(Message::from(said));
        Vec::new()
    }

    fn pool(&mut self, slot: &str, command: &Command<'_>) -> Vec<WorkerOutput> {
        let slot = process(command, slot);
        let input = match command.verb {
            "ready" => {
                let names = match command.option("runs") {
                    None => Capabilities::anything(),
                    Some(list) => {
                        let names = list.split(',').map(|text| Name::new(text).expect("a name"));
                        Capabilities::new(names).expect("few names")
                    }
                };
                PoolInput::Ready {
                    slot,
                    capabilities: names,
                }
            }
            "completed" | "failed" => {
                let number = command.read(command.must());
                let end = match command.verb {
                    "completed" => RunEnd::Completed,
                    _ => RunEnd::Failed(error(command).into()),
                };
                let payload = payload(number + 1_000).into();
                let ran = command.span("ran").unwrap_or(MS);
                PoolInput::Done {
                    slot,
                    attempt: attempt(number),
                    ran,
                    end,
                    payload,
                }
            }
            "exits" => PoolInput::Exited {
                slot,
                cause: cause(command),
                stderr: "last words".into(),
            },
            "uses" => PoolInput::Memory {
                slot,
                bytes: command.read(command.must()),
            },
            _ => command.unknown(),
        };
        self.feed(WorkerInput::Pool(input))
    }
}

/// An output in a line.
fn told(output: &WorkerOutput) -> String {
    match output {
        WorkerOutput::Link(LinkOutput::Connect { address, .. }) => {
            format!("dials address {address}")
        }
        WorkerOutput::Link(LinkOutput::Close { reason, .. }) => {
            format!("hangs up: {}", short(reason))
        }
        WorkerOutput::Link(LinkOutput::Send { message, .. }) => sent(message),
        WorkerOutput::Pool(output) => format!("pool: {}", short(output)),
        WorkerOutput::Notify(event) => format!("log: {}", short(event)),
        WorkerOutput::Replaced => "replaced".to_owned(),
        WorkerOutput::Stopped => "stopped".to_owned(),
    }
}

/// What is said to the manager.
pub(super) fn sent(message: &Message<ToManager>) -> String {
    let text = match &message.body {
        ToManager::Client(body) => short(body),
        ToManager::Worker(body) => short(body),
        other => short(other),
    };
    match message.payload.len() {
        0 => format!("m <- {text}"),
        bytes => format!("m <- {text} + {bytes} bytes"),
    }
}

fn configure(config: &mut WorkerConfig, command: &Command<'_>) {
    if let Some(value) = command.number("addresses") {
        config.addresses = value;
    }
    config.max_requests = command.number("max_requests").or(config.max_requests);
    config.time_limit = command.span("time_limit").or(config.time_limit);
    config.memory_limit = command.number("memory_limit").or(config.memory_limit);
    config.kill_grace = command.span("kill_grace").unwrap_or(config.kill_grace);
    config.drain_timeout = command
        .span("drain_timeout")
        .unwrap_or(config.drain_timeout);
    config.held_results = command
        .number("held_results")
        .unwrap_or(config.held_results);
    config.held_bytes = command.number("held_bytes").unwrap_or(config.held_bytes);
    config.inner.ids = command.number("inner.ids").unwrap_or(config.inner.ids);
    let window = command.number("inner.worker_window");
    config.inner.worker_window = window.unwrap_or(config.inner.worker_window);
    let ack = command.span("inner.result_ack");
    config.inner.result_ack = ack.unwrap_or(config.inner.result_ack);
}

/// `s0.1`.
fn process(command: &Command<'_>, text: &str) -> SlotLife {
    let parts = text.strip_prefix('s').and_then(|text| text.split_once('.'));
    match parts {
        Some((slot, number)) => life(command.read(slot), command.read(number)),
        None => command.wrong("a process is written s0.1"),
    }
}
