//! Arbitrary steps into each machine: whatever peers, pools and callers do, no panic, and the
//! invariants hold after every step. Bytes choose the steps, so that a fuzzer and a property test
//! go the same ways.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use bincode::Decode;
use bytes::{BufMut, Bytes, BytesMut};

use super::draw::Choices;
use super::heard::{Told, heard};
use super::streams::{self, Streams};
use super::{from_manager, hello, named, to_manager, welcome};
use crate::access::Access;
use crate::capabilities::Capabilities;
use crate::client::{ClientConfig, ClientInput, ClientOutput};
use crate::codec;
use crate::ids::{Attempt, ConnId, Epoch, PeerId, SlotId};
use crate::link::{LinkInput, LinkOutput};
use crate::manager::{ManagerConfig, ManagerInput, ManagerOutput};
use crate::message::{Control, FromManager, Message, Said, Tagged, ToManager, Version};
use crate::name::Name;
use crate::payload::Payload;
use crate::rng::Rng;
use crate::stream::{Direction, StreamId, StreamSpec};
use crate::task::{ErrorKind, ExitCause, Priority, TaskError, TaskSpec};
use crate::time::Instant;
use crate::worker::{
    PoolInput, PoolOutput, RunEnd, SlotLife, WorkerConfig, WorkerInput, WorkerOutput,
};
use crate::{Client, Machine, Manager, Worker};

/// One of the machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driven {
    /// A manager, with peers that do anything.
    Manager,
    /// A worker, with such a manager and such a pool.
    Worker,
    /// A client, with such a manager and such callers.
    Client,
}

/// Runs a machine through the steps that `bytes` choose.
///
/// # Panics
/// If the machine does, or breaks an invariant: that is what this is for.
pub fn drive(driven: Driven, bytes: &[u8]) {
    let mut choices = Choices(bytes);
    match driven {
        Driven::Manager => manager(&mut choices),
        Driven::Worker => worker(&mut choices),
        Driven::Client => client(&mut choices),
    }
}

/// Most outputs between two inputs; more is a machine that talks to itself.
const OUTPUTS_MAX: usize = 100_000;

impl Choices<'_> {
    fn below(&mut self, n: u8) -> u8 {
        self.byte() % n
    }

    /// Small spans and long ones, none above half an hour.
    fn span(&mut self) -> Duration {
        let unit = [1_000, 1_000_000, 50_000_000, 7_000_000_000][usize::from(self.below(4))];
        Duration::from_nanos(unit * u64::from(self.byte()))
    }

    /// A message: as often as not one that makes sense, else whatever the next bytes decode to.
    fn message<B: Decode<()>>(&mut self, make: fn(&mut Self) -> B) -> Option<Message<B>> {
        if self.below(2) == 0 {
            let body = make(self);
            let payload = Payload::from(vec![1; usize::from(self.below(8))]);
            return Some(Message { body, payload });
        }
        let length = usize::from(self.byte()).min(self.0.len());
        let (frame, rest) = self.0.split_at(length);
        self.0 = rest;
        let mut buffer = BytesMut::new();
        buffer.put_u32_le(length as u32);
        buffer.put_slice(frame);
        codec::decode(&mut buffer, codec::frame_max(1_024)).ok()?
    }

    /// What a client, a worker or an observer says.
    fn said_to_manager(&mut self) -> ToManager {
        let (id, index) = (u64::from(self.below(3)), u64::from(self.below(4)));
        if index == 0 {
            let mut hello = hello(self, id, 1);
            if self.below(2) == 0 {
                hello.version = Version::STREAMS;
            }
            return ToManager::Hello(hello);
        }
        if self.below(4) == 0 {
            return streams::to_manager(self, named("x"));
        }
        to_manager(self, id, index)
    }

    /// What a manager says to peers of a sort.
    fn said_by_manager<T: Told>(&mut self) -> FromManager<T> {
        match self.below(8) {
            0 => {
                let mut welcome = welcome(self);
                welcome.version = Version::STREAMS;
                return FromManager::Control(Control::Welcome(welcome));
            }
            1 => return FromManager::Control(Control::Welcome(welcome(self))),
            2..=4 => {
                return heard(Said::FromManager(streams::from_manager(self, named("x"))));
            }
            _ => {}
        }
        let id = u64::from(self.below(3));
        heard(from_manager(self, id))
    }
}

/// Ends a step as a driver does, and returns what the machine wants done.
fn finish<M: Machine>(machine: &mut M, now: Instant) -> Vec<M::Output> {
    machine.settle(now);
    let mut outputs = Vec::new();
    while let Some(output) = machine.poll_output() {
        outputs.push(output);
        assert!(outputs.len() < OUTPUTS_MAX, "a machine that does not stop");
    }
    machine.check_invariants();
    machine.poll_timeout();
    outputs
}

fn time_passes<M: Machine>(machine: &mut M, now: &mut Instant, choices: &mut Choices<'_>) {
    // Half the time exactly to the deadline, where mistakes are.
    match machine.poll_timeout() {
        Some(deadline) if choices.below(2) == 0 => *now = deadline.at.max(*now),
        _ => *now = *now + choices.span(),
    }
    // Time itself ends after 584 years, and with it every wait; no process lives to see that.
    *now = (*now).min(Instant::from_nanos(u64::MAX / 2));
    machine.handle_timeout(*now);
}

fn manager(choices: &mut Choices<'_>) {
    let mut config = ManagerConfig::new(Epoch(7));
    config.queue_tasks = 1 + usize::from(choices.below(8));
    config.in_flight_tasks = 1 + usize::from(choices.below(8));
    config.inner.version = Version::STREAMS;
    let mut now = Instant::ZERO;
    let mut machine = Manager::new(config, now);
    let mut next = 0;
    let mut open: Vec<ConnId> = Vec::new();
    while !choices.is_empty() {
        let at = usize::from(choices.byte()) % open.len().max(1);
        let input = match (choices.below(16), open.get(at).copied()) {
            (0..=1, _) | (_, None) => {
                let conn = ConnId(next);
                next += 1;
                open.push(conn);
                Some(ManagerInput::Accepted {
                    conn,
                    from: None,
                    access: Access::everything(),
                })
            }
            (2, Some(conn)) => {
                open.swap_remove(at);
                Some(ManagerInput::Closed { conn })
            }
            (3, Some(conn)) if choices.below(2) == 0 => Some(ManagerInput::Written { conn }),
            (3, Some(conn)) => Some(ManagerInput::Progress { conn }),
            (4, _) if choices.below(32) == 0 => Some(ManagerInput::Drain),
            (5..=7, _) => None,
            (_, Some(conn)) => choices
                .message(Choices::said_to_manager)
                .map(|message| ManagerInput::Received { conn, message }),
        };
        match input {
            Some(input) => machine.handle_input(now, input),
            None => time_passes(&mut machine, &mut now, choices),
        }
        for output in finish(&mut machine, now) {
            if let ManagerOutput::Close { conn, .. } = output {
                open.retain(|other| *other != conn);
            }
        }
    }
}

/// A fact about the one connection that the machine may have.
fn link_input<T: Tagged + Told>(
    conn: Option<ConnId>,
    choices: &mut Choices<'_>,
) -> Option<LinkInput<T>> {
    let conn = conn?;
    match choices.below(8) {
        0 | 1 => Some(LinkInput::Connected { conn }),
        2 => Some(LinkInput::Closed { conn }),
        3 if choices.below(2) == 0 => Some(LinkInput::Written { conn }),
        3 => Some(LinkInput::Progress { conn }),
        _ => {
            let message = choices.message(Choices::said_by_manager)?;
            Some(LinkInput::Received { conn, message })
        }
    }
}

fn on_link_output(output: &LinkOutput, conn: &mut Option<ConnId>) {
    match output {
        LinkOutput::Connect { conn: new, .. } => *conn = Some(*new),
        LinkOutput::Close { .. } => *conn = None,
        LinkOutput::Send { .. } => {}
    }
}

/// A slot as its executor knows it, so that what is said about it is possible.
struct Slot {
    life: SlotLife,
    ready: bool,
    given: Vec<Attempt>,
    streams: Streams,
}

fn pool_input(slots: &mut Vec<Slot>, choices: &mut Choices<'_>) -> Option<PoolInput> {
    if slots.is_empty() {
        return None;
    }
    let at = usize::from(choices.byte()) % slots.len();
    let slot = slots[at].life;
    if choices.below(2) == 0
        && let Some((of, usage)) = slots[at].streams.usage(choices)
    {
        return Some(PoolInput::Stream { slot, of, usage });
    }
    match choices.below(8) {
        0 => {
            slots.swap_remove(at);
            let cause = [
                ExitCause::Exit(1),
                ExitCause::Signal(9),
                ExitCause::NotStarted,
                ExitCause::Protocol,
                ExitCause::Memory,
            ][usize::from(choices.below(5))];
            let stderr = String::from("tail");
            Some(PoolInput::Exited {
                slot,
                cause,
                stderr,
            })
        }
        1 => Some(PoolInput::Memory {
            slot,
            bytes: u64::from(choices.byte()) << 20,
        }),
        _ if !slots[at].ready => {
            slots[at].ready = true;
            Some(PoolInput::Ready {
                slot,
                capabilities: Capabilities::anything(),
            })
        }
        _ if slots[at].given.is_empty() => None,
        _ => Some(PoolInput::Done {
            slot,
            attempt: slots[at].given.remove(0),
            ran: choices.span(),
            end: if choices.below(2) == 0 {
                RunEnd::Completed
            } else {
                RunEnd::Failed(Box::new(TaskError::new(ErrorKind::BadPayload, "no")))
            },
            payload: Payload::empty(),
        }),
    }
}

fn worker(choices: &mut Choices<'_>) {
    let name = Name::new("w").expect("a name");
    let mut config = WorkerConfig::new(PeerId(1), name, 1 + u32::from(choices.below(4)));
    config.memory_limit = (choices.below(2) == 0).then_some(1 << 26);
    config.held_results = 1 + usize::from(choices.below(8));
    config.inner.version = Version::STREAMS;
    let mut now = Instant::ZERO;
    let mut machine = Worker::new(config, Rng::from_seed(2), now);
    let mut conn = None;
    let mut slots = Vec::new();
    while !choices.is_empty() {
        let input = match choices.below(16) {
            0..=2 => None,
            3 if choices.below(32) == 0 => Some(WorkerInput::Drain),
            4 if choices.below(32) == 0 => Some(WorkerInput::Stop),
            5..=9 => pool_input(&mut slots, choices).map(WorkerInput::Pool),
            _ => link_input(conn, choices).map(WorkerInput::Link),
        };
        if let Some(WorkerInput::Link(LinkInput::Closed { .. })) = input {
            conn = None;
        }
        match input {
            Some(input) => machine.handle_input(now, input),
            None => time_passes(&mut machine, &mut now, choices),
        }
        for output in finish(&mut machine, now) {
            match output {
                WorkerOutput::Link(output) => on_link_output(&output, &mut conn),
                WorkerOutput::Pool(PoolOutput::Spawn { slot: life }) => {
                    let same = |slot: &Slot| slot.life.slot == SlotId(life.slot.0);
                    assert!(!slots.iter().any(same), "a slot with two lives at once");
                    slots.push(Slot {
                        life,
                        ready: false,
                        given: Vec::new(),
                        streams: Streams::default(),
                    });
                }
                WorkerOutput::Pool(PoolOutput::Run { slot: life, job }) => {
                    // A process may have ended with the assignment on its way.
                    if let Some(slot) = slots.iter_mut().find(|slot| slot.life == life) {
                        slot.given.push(job.attempt);
                    }
                }
                WorkerOutput::Pool(PoolOutput::RunStreams {
                    slot: life,
                    job,
                    streams,
                }) => {
                    if let Some(slot) = slots.iter_mut().find(|slot| slot.life == life) {
                        slot.given.push(job.attempt);
                        let is_written = |direction| direction == Direction::FromAttempt;
                        slot.streams.begin(job.attempt, &streams, is_written);
                    }
                }
                WorkerOutput::Pool(PoolOutput::Stream {
                    slot: life,
                    of,
                    event,
                }) => {
                    if let Some(slot) = slots.iter_mut().find(|slot| slot.life == life) {
                        slot.streams.hear(of, &event);
                    }
                }
                WorkerOutput::Pool(PoolOutput::RunMany { slot: life, jobs }) => {
                    if let Some(slot) = slots.iter_mut().find(|slot| slot.life == life) {
                        slot.given.extend(jobs.iter().map(|job| job.attempt));
                    }
                }
                WorkerOutput::Stopped => return,
                WorkerOutput::Pool(_) | WorkerOutput::Notify(_) | WorkerOutput::Replaced => {}
            }
        }
    }
}

fn spec(choices: &mut Choices<'_>) -> TaskSpec {
    let name = Name::new("t").expect("a name");
    let mut spec = TaskSpec::new(name, Bytes::from(vec![0; usize::from(choices.byte())]));
    spec.priority = Priority::new(choices.below(8)).expect("below 8");
    spec.deadline = (choices.below(2) == 0).then(|| choices.span());
    spec.at_most_once = choices.below(2) == 0;
    spec.max_attempts = choices.below(18);
    spec.retries = (choices.below(2) == 0).then(|| u32::from(choices.below(4)));
    spec
}

/// The streams of tasks that have any.
fn stream_specs() -> Vec<StreamSpec> {
    let directions = [Direction::ToAttempt, Direction::FromAttempt];
    let spec = |(id, direction)| StreamSpec {
        id: StreamId(id),
        direction,
        window: 4_096,
    };
    (0..).zip(directions).map(spec).collect()
}

fn client(choices: &mut Choices<'_>) {
    let name = Name::new("c").expect("a name");
    let mut config = ClientConfig::new(PeerId(1), name);
    config.addresses = 1 + usize::from(choices.below(2));
    config.tasks = 1 + usize::from(choices.below(8));
    config.inner.version = Version::STREAMS;
    let mut now = Instant::ZERO;
    let mut streams = Streams::default();
    let mut machine = Client::new(config, Rng::from_seed(3), now);
    let mut conn = None;
    let mut waiting: Vec<u64> = Vec::new();
    while !choices.is_empty() {
        let input = match choices.below(16) {
            0..=2 => {
                time_passes(&mut machine, &mut now, choices);
                None
            }
            3..=6 => {
                let spec = spec(choices);
                let taken = if choices.below(2) == 0 {
                    machine.submit_with_streams(now, spec, stream_specs())
                } else {
                    machine.submit(now, spec)
                };
                if let Ok(task) = taken {
                    waiting.push(task.seq);
                }
                None
            }
            7 => Some(ClientInput::Cancel {
                seq: u64::from(choices.byte()),
            }),
            8 if choices.below(32) == 0 => Some(ClientInput::Stop),
            8..=10 => {
                let usage = streams.usage(choices);
                usage.map(|(of, usage)| ClientInput::Stream { of, usage })
            }
            _ => link_input(conn, choices).map(ClientInput::Link),
        };
        if let Some(ClientInput::Link(LinkInput::Closed { .. })) = input {
            conn = None;
        }
        if let Some(input) = input {
            machine.handle_input(now, input);
        }
        for output in finish(&mut machine, now) {
            match output {
                ClientOutput::Link(output) => on_link_output(&output, &mut conn),
                ClientOutput::Deliver(deliveries) => {
                    for delivery in deliveries {
                        let at = waiting.iter().position(|other| *other == delivery.seq);
                        waiting.swap_remove(at.expect("one outcome for each task"));
                    }
                }
                ClientOutput::Stopped => return,
                ClientOutput::StreamsBegin { attempt, .. } => {
                    let is_written = |direction| direction == Direction::ToAttempt;
                    streams.begin(attempt, &stream_specs(), is_written);
                }
                ClientOutput::Stream { of, event } => streams.hear(of, &event),
                ClientOutput::Notify(_) => {}
            }
        }
    }
}
