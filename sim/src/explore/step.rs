//! A driver's turn in a small cluster, and what each choice does.

use std::time::Duration;

use argon_core::client::{ClientInput, ClientOutput, Delivery};
use argon_core::event::Event;
use argon_core::ids::ConnId;
use argon_core::link::LinkOutput;
use argon_core::machine::Machine;
use argon_core::manager::ManagerOutput;
use argon_core::task::ExitCause;
use argon_core::time::Instant;
use argon_core::worker::{PoolInput, PoolOutput, RunEnd as SlotEnd, WorkerOutput};

use super::Variant;
use super::choice::Choice;
use super::cluster::{Cluster, Node, Slot};
use super::ledger::{Fault, RunEnd, result_of};
use super::settings::LEASE;
use crate::process::{Fact, for_client, for_manager, for_worker};
use crate::wire::is_beat;
use argon_core::message::Said;
use argon_core::testing::{by_manager, by_peer};

/// Turns at one instant after which a machine counts as going round in circles.
const ROUNDS_MAX: u32 = 100;
/// Heartbeats that one passage of time goes over at most.
const WAKES_MAX: u32 = 200;

/// How long a run says that it took; anything that is not tiny.
const RAN: Duration = Duration::from_secs(1);

pub(crate) enum Output {
    Manager(ManagerOutput),
    Worker(WorkerOutput),
    Client(ClientOutput),
}

/// A message in one line.
pub(crate) fn short(body: &Said) -> String {
    crate::world::short(&format!("{body:?}"))
}

impl Cluster {
    /// Everything that can happen next, in a fixed order.
    pub(crate) fn choices(&self) -> Vec<Choice> {
        let mut choices = Vec::new();
        for (index, link) in self.links.iter().enumerate() {
            if link.dialling {
                choices.push(Choice::Dial(index));
            }
            for side in 0..2 {
                if link.head(side).is_some() {
                    choices.push(Choice::Deliver(index, side));
                }
            }
        }
        for host in self.worker_hosts() {
            let Some(slot) = self.slot(host) else {
                continue;
            };
            if slot.life.is_some() && !slot.ready && !slot.dying {
                choices.push(Choice::Ready(host));
            }
            if slot.running.is_some() {
                choices.push(Choice::Finish(host));
            }
            if slot.dying {
                choices.push(Choice::Exit(host));
            }
        }
        for host in 0..self.hosts.len() {
            if self.process(host).is_none() {
                choices.push(Choice::Restart(host));
            }
        }
        if self.wish_left {
            let worker = self.worker_hosts().start;
            match self.variant {
                Variant::Cancel if self.client_lives() => choices.push(Choice::Cancel),
                Variant::DrainManager if self.process(0).is_some() => {
                    choices.push(Choice::Drain(0));
                }
                Variant::DrainWorker if self.process(worker).is_some() => {
                    choices.push(Choice::Drain(worker));
                }
                _ => {}
            }
        }
        let busy = self.is_busy();
        if self.ticks_left > 0 && !busy {
            choices.push(Choice::Tick);
        }
        if self.faults_left > 0 {
            self.faults(busy, &mut choices);
        }
        choices
    }

    fn faults(&self, busy: bool, choices: &mut Vec<Choice>) {
        for (index, link) in self.links.iter().enumerate() {
            if link.is_whole() {
                choices.push(Choice::Cut(index));
                choices.push(Choice::Silence(index));
            }
        }
        for host in 0..self.hosts.len() {
            if self.process(host).is_some() {
                choices.push(Choice::Crash(host));
            }
        }
        for host in self.worker_hosts() {
            if self.slot(host).is_some_and(|slot| slot.ready) {
                choices.push(Choice::KillChild(host));
            }
        }
        if self.ticks_left > 0 && busy {
            choices.push(Choice::Late);
        }
    }

    /// Lets something happen that [`choices`](Self::choices) offers, and what it entails.
    pub(crate) fn take(&mut self, choice: Choice) -> Result<(), String> {
        self.say(|| format!("-- {choice}"));
        if choice.is_fault() {
            self.faults_left = self.faults_left.saturating_sub(1);
        }
        if choice.passes_time() {
            self.ticks_left = self.ticks_left.saturating_sub(1);
        }
        match choice {
            Choice::Deliver(index, side) => self.deliver(index, side)?,
            Choice::Dial(index) => self.answer(index)?,
            Choice::Ready(host) => {
                if let Some(slot) = self.slot_mut(host) {
                    slot.ready = true;
                }
                self.tell_pool(host, |slot| PoolInput::Ready {
                    slot,
                    capabilities: argon_core::capabilities::Capabilities::anything(),
                })?;
            }
            Choice::Finish(host) => self.finish(host)?,
            Choice::Exit(host) => self.exit(host, RunEnd::Ended)?,
            Choice::KillChild(host) => self.exit(host, RunEnd::Crashed)?,
            Choice::Restart(host) => self.start(host)?,
            Choice::Cancel => {
                self.wish_left = false;
                self.ledger.note_cancel();
                let host = self.client_host();
                self.step(host, Some(Fact::Cancel(0)))?;
            }
            Choice::Drain(host) => {
                self.wish_left = false;
                self.ledger.note_drain(self.now);
                self.step(host, Some(Fact::Drain))?;
            }
            Choice::Tick => self.pass_time()?,
            Choice::Late => {
                self.ledger.note_fault(self.now, Fault::Silence);
                self.pass_time()?;
            }
            Choice::Cut(index) => {
                let peer = self.links[index].sides[0].host;
                self.ledger.note_fault(self.now, Fault::Cut(peer));
                self.cut(index);
            }
            Choice::Silence(index) => {
                self.ledger.note_fault(self.now, Fault::Silence);
                self.silence(index);
            }
            Choice::Crash(host) => self.crash(host),
        }
        self.beats()
    }

    /// Time goes on to the first deadline that makes a machine do more than send a heartbeat, but
    /// a little longer than the lease at most.
    fn pass_time(&mut self) -> Result<(), String> {
        let (noise, until) = (self.noise, self.now + LEASE + LEASE / 4);
        for _ in 0..WAKES_MAX {
            if !self.wake_next(until)? || self.noise != noise {
                break;
            }
        }
        Ok(())
    }

    /// Wakes the machine with the earliest deadline, unless that is after `until`.
    pub(crate) fn wake_next(&mut self, until: u64) -> Result<bool, String> {
        let next = (0..self.hosts.len())
            .filter_map(|host| Some((self.deadline(host)?.at.as_nanos(), host)))
            .min();
        let Some((at, host)) = next.filter(|(at, _)| *at <= until) else {
            self.now = until.max(self.now);
            return Ok(false);
        };
        self.now = at.max(self.now);
        self.step(host, None)?;
        self.beats()?;
        Ok(true)
    }

    fn tell_pool(
        &mut self,
        host: usize,
        input: impl FnOnce(argon_core::worker::SlotLife) -> PoolInput,
    ) -> Result<(), String> {
        match self.slot(host).and_then(|slot| slot.life) {
            Some(life) => self.step(host, Some(Fact::Pool(input(life)))),
            None => Ok(()),
        }
    }

    fn finish(&mut self, host: usize) -> Result<(), String> {
        let life = self.hosts[host].lives;
        let Some((attempt, _)) = self.slot_mut(host).and_then(|slot| slot.running.take()) else {
            return Ok(());
        };
        let name = (attempt, host, life);
        self.ledger.end(name, RunEnd::Completed);
        self.tell_pool(host, |slot| PoolInput::Done {
            slot,
            attempt,
            ran: RAN,
            end: SlotEnd::Completed,
            payload: result_of(name).into(),
        })
    }

    fn exit(&mut self, host: usize, end: RunEnd) -> Result<(), String> {
        let life = self.hosts[host].lives;
        let Some(slot) = self.slot_mut(host) else {
            return Ok(());
        };
        let gone = std::mem::take(slot);
        if let Some((attempt, _)) = gone.running {
            self.ledger.end((attempt, host, life), end);
        }
        let Some(slot) = gone.life else { return Ok(()) };
        let input = PoolInput::Exited {
            slot,
            cause: ExitCause::Signal(9),
            stderr: String::new(),
        };
        self.step(host, Some(Fact::Pool(input)))
    }

    /// A driver's turn: one fact at most goes in, and all that comes out is done.
    pub(crate) fn step(&mut self, host: usize, fact: Option<Fact>) -> Result<(), String> {
        let mut fact = fact;
        for _ in 0..ROUNDS_MAX {
            let outputs = self.batch(host, fact.take());
            let mut left = false;
            for output in outputs {
                left |= self.apply(host, output)?;
            }
            if left {
                self.end_process(host);
                return Ok(());
            }
            let due = self.deadline(host).map(|deadline| deadline.at.as_nanos());
            if due.is_none_or(|at| at > self.now) {
                return Ok(());
            }
        }
        Err(format!(
            "{} asks to be woken at once, for ever",
            self.who(host)
        ))
    }

    fn batch(&mut self, host: usize, fact: Option<Fact>) -> Vec<Output> {
        let now = Instant::from_nanos(self.now);
        let mut outputs = Vec::new();
        match self.node(host) {
            Some(Node::Manager(manager)) => {
                if let Some(input) = fact.and_then(for_manager) {
                    manager.handle_input(now, input);
                }
                end_batch(manager, now, |output| outputs.push(Output::Manager(output)));
            }
            Some(Node::Worker(worker, _)) => {
                if let Some(input) = fact.and_then(for_worker) {
                    worker.handle_input(now, input);
                }
                end_batch(worker, now, |output| outputs.push(Output::Worker(output)));
            }
            Some(Node::Client(client)) => {
                let input = match fact {
                    Some(Fact::Cancel(task)) => Some(ClientInput::Cancel { seq: task as u64 }),
                    other => other.and_then(for_client),
                };
                if let Some(input) = input {
                    client.handle_input(now, input);
                }
                end_batch(client, now, |output| outputs.push(Output::Client(output)));
            }
            None => {}
        }
        outputs
    }

    /// Does one thing that a machine wants done; true if its process ends.
    fn apply(&mut self, host: usize, output: Output) -> Result<bool, String> {
        match output {
            Output::Manager(ManagerOutput::Send { conn, message }) => {
                let message = by_manager(message);
                self.noise += u64::from(!is_beat(&message.body));
                self.send(host, conn, message);
            }
            Output::Manager(ManagerOutput::Close { conn, .. }) => self.close(host, conn),
            Output::Manager(ManagerOutput::Drained)
            | Output::Worker(WorkerOutput::Replaced | WorkerOutput::Stopped)
            | Output::Client(ClientOutput::Stopped) => {
                self.noise += 1;
                // It has left with everything that it knew.
                self.ledger.note_fault(self.now, Fault::Gone);
                return Ok(true);
            }
            Output::Worker(WorkerOutput::Link(link)) | Output::Client(ClientOutput::Link(link)) => {
                self.apply_link(host, link);
            }
            Output::Worker(WorkerOutput::Pool(command)) => {
                for single in command.singles() {
                    self.apply_pool(host, single)?;
                }
            }
            Output::Client(ClientOutput::StreamsBegin { .. } | ClientOutput::Stream { .. }) => {
                return Err("streams of a task that has none".to_owned());
            }
            Output::Client(ClientOutput::Deliver(deliveries)) => {
                for Delivery {
                    seq,
                    outcome,
                    payload,
                } in deliveries
                {
                    self.noise += 1;
                    let who = self.who(host);
                    self.say(|| format!("{who} delivers {seq}: {outcome:?}"));
                    self.ledger.deliver(seq as usize, &outcome, &payload)?;
                }
            }
            Output::Manager(ManagerOutput::Notify(event))
            | Output::Worker(WorkerOutput::Notify(event))
            | Output::Client(ClientOutput::Notify(event)) => self.notice(host, &event),
        }
        Ok(false)
    }

    fn notice(&mut self, host: usize, event: &Event) {
        // Dialling a manager that is away, again and again, is no news.
        self.noise += u64::from(!matches!(event, Event::LinkDown { .. }));
        let who = self.who(host);
        self.say(|| crate::world::short(&format!("{who}: {event:?}")));
    }

    fn apply_link(&mut self, host: usize, output: LinkOutput) {
        match output {
            LinkOutput::Connect { conn, address } => {
                self.noise += u64::from(self.process(address).is_some());
                let index = self.dial(host, conn, address);
                if let Some(process) = self.process_mut(host) {
                    process.conns.insert(conn, index);
                }
            }
            LinkOutput::Send { conn, message } => {
                let message = by_peer(message);
                self.noise += u64::from(!is_beat(&message.body));
                self.send(host, conn, message);
            }
            LinkOutput::Close { conn, .. } => self.close(host, conn),
        }
    }

    fn close(&mut self, host: usize, conn: ConnId) {
        self.noise += 1;
        let Some(process) = self.process_mut(host) else {
            return;
        };
        if let Some(index) = process.conns.remove(&conn) {
            self.close_side(index, host);
        }
    }

    fn apply_pool(&mut self, host: usize, output: PoolOutput) -> Result<(), String> {
        self.noise += 1;
        let who = self.who(host);
        self.say(|| crate::world::short(&format!("{who}: {output:?}")));
        let life = self.hosts[host].lives;
        let (now, careful) = (self.now, self.variant.is_careful());
        let Some(slot) = self.slot_mut(host) else {
            return Ok(());
        };
        match output {
            PoolOutput::RunMany { .. } => return Err("slots: one at a time here".to_owned()),
            PoolOutput::RunStreams { .. } | PoolOutput::Stream { .. } => {
                return Err("slots: streams of a task that has none".to_owned());
            }
            PoolOutput::Spawn { slot: life } => {
                if slot.life.is_some() {
                    return Err("a pool process is started where one lives".to_owned());
                }
                *slot = Slot {
                    life: Some(life),
                    ..Slot::default()
                };
            }
            PoolOutput::Run { slot: life_of, job } => {
                if slot.life != Some(life_of) || !slot.ready || slot.dying {
                    return Err("a run is given to a process that takes none".to_owned());
                }
                if slot.running.is_some() {
                    return Err("slots: a busy process is given another run".to_owned());
                }
                let task = String::from_utf8_lossy(&job.payload).parse::<usize>();
                let task = task.map_err(|_| "a run of something never submitted".to_owned())?;
                slot.running = Some((job.attempt, task));
                let name = (job.attempt, host, life);
                self.ledger.start(now, task, careful && task == 0, name)?;
            }
            PoolOutput::Terminate { slot: life } | PoolOutput::Kill { slot: life } => {
                slot.dying |= slot.life == Some(life);
            }
            PoolOutput::Retire { slot: life } => slot.dying |= slot.life == Some(life),
        }
        Ok(())
    }
}

fn end_batch<M: Machine>(machine: &mut M, now: Instant, mut out: impl FnMut(M::Output)) {
    if machine.poll_timeout().is_some_and(|due| due.at <= now) {
        machine.handle_timeout(now);
    }
    machine.settle(now);
    machine.check_invariants();
    while let Some(output) = machine.poll_output() {
        out(output);
    }
}
