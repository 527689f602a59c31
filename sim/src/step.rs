//! A driver's turn: everything that waits goes into the machine, and what it wants done is done.

use argon_core::Machine;
use argon_core::client::ClientOutput;
use argon_core::ids::ConnId;
use argon_core::link::LinkOutput;
use argon_core::manager::ManagerOutput;
use argon_core::message::{FromClient, FromWorker, Message, ToClient, ToManager, ToPeer, ToWorker};
use argon_core::status::ManagerStatus;
use argon_core::task::{ErrorKind, Outcome, Priority, RejectReason, TaskSpec};
use argon_core::time::Instant;
use argon_core::worker::WorkerOutput;
use std::time::Duration;

use crate::history::{Delivery, End, FailedWhy, RejectedWhy, Submit, Wire, WireWhat};
use crate::names::name;
use crate::network::Packet;
use crate::options::{Host, MS};
use crate::process::{Fact, Node, Process, for_client, for_manager, for_worker};
use crate::report::{Class, Failure};
use crate::rng::{Draw, stream};
use crate::wire::{encoded, submitted, task_of, through_codec};
use crate::world::{Event, World, short};
use argon_core::message::Said;
use argon_core::testing::{by_manager, by_peer};

enum Output {
    Manager(ManagerOutput),
    Worker(WorkerOutput),
    Client(ClientOutput),
}

/// Turns at one instant after which a machine counts as going round in circles.
const ROUNDS_MAX: u32 = 10_000;

impl World<'_> {
    pub(crate) fn step_process(&mut self, host: Host, life: usize) {
        let Some(mut process) = self.hosts[usize::from(host)].process.take() else {
            return;
        };
        if process.life != life || process.paused > 0 {
            if process.life == life {
                process.step_due = false;
            }
            self.hosts[usize::from(host)].process = Some(process);
            return;
        }
        process.step_due = false;
        let local = process.clock.read(self.now);
        let mut left = false;
        let mut due = None;
        for round in 0.. {
            self.one_batch(host, &mut process, local);
            while let Some(output) = poll_output(&mut process.node) {
                left |= self.apply(host, &mut process, output);
            }
            due = deadline(&process);
            if left || (due.is_none_or(|at| at > local) && process.inbox.is_empty()) {
                break;
            }
            if round >= ROUNDS_MAX {
                self.busy_loop(host);
                break;
            }
        }
        let wake_at = due.map(|at| process.clock.when(at));
        if wake_at != process.wake_at {
            process.wake_at = wake_at;
            if let Some(at) = wake_at {
                self.at(at, Event::Wake(host, life));
            }
        }
        self.count(host, &process);
        self.hosts[usize::from(host)].process = Some(process);
        if left {
            self.end_process(host, true, "it has left");
            let delay = stream(self.plan.seed, &[16, u64::from(host), life as u64])
                .between(10 * MS, 1_000 * MS);
            self.after(delay, Event::Start(host));
        }
    }

    /// Looks at what the machine counts after a turn.
    fn count(&mut self, host: Host, process: &Process) {
        if let Node::Manager(manager) = &process.node {
            let load = manager.load();
            self.most_queued = self.most_queued.max(load.queued);
            if load.in_runs > 0 {
                *self.report.marks.entry("waiting-run").or_default() += 1;
            }
            if load.in_rows > 0 {
                *self.report.marks.entry("row").or_default() += 1;
            }
        }
        if self.trace.is_on() {
            self.trace.counts(self.now, host, process.node.counts());
        }
    }

    fn one_batch(&mut self, host: Host, process: &mut Process, local: Instant) {
        process.steps += 1;
        let check = process
            .steps
            .is_multiple_of(self.options().check_every.max(1));
        // A call before its time does nothing, so now and then there is one.
        let early = process.steps.is_multiple_of(8);
        let batch = (self.options().batch.max(1) as usize).min(process.inbox.len());
        for _ in 0..batch {
            let Some(fact) = process.inbox.pop_front() else {
                break;
            };
            self.note_received(process, &fact);
            match &mut process.node {
                Node::Manager(manager) => {
                    if let Some(input) = for_manager(fact) {
                        manager.handle_input(local, input);
                    }
                }
                Node::Worker(worker, _) => {
                    if let Some(input) = for_worker(fact) {
                        worker.handle_input(local, input);
                    }
                }
                Node::Client(_) => self.client_fact(host, process, local, fact),
            }
        }
        match &mut process.node {
            Node::Manager(manager) => {
                finish(manager.as_mut(), local, early, check);
                if check {
                    let status = manager.status(local, u32::MAX).manager;
                    self.check_bounds(host, &status);
                }
            }
            Node::Worker(worker, _) => finish(worker.as_mut(), local, early, check),
            Node::Client(client) => finish(client.as_mut(), local, early, check),
        }
    }

    /// Promise 5: what a manager says of itself is within what it was told.
    fn check_bounds(&mut self, host: Host, status: &ManagerStatus) {
        let options = self.options();
        let tasks = status.queued > options.queue_tasks;
        let bytes = status.queued_bytes > options.queue_bytes;
        if tasks || bytes {
            let (tasks, bytes) = (status.queued, status.queued_bytes);
            let text = format!(
                "{tasks} tasks of {bytes} bytes in the queue of {}",
                self.who(host)
            );
            self.fail(Failure::new(Class::Safety, "5 (bounds)", text));
        }
    }

    fn client_fact(&mut self, host: Host, process: &mut Process, local: Instant, fact: Fact) {
        let Node::Client(client) = &mut process.node else {
            return;
        };
        match fact {
            Fact::Submit(task) => {
                let Some(plan) = self.book.task(task) else {
                    return;
                };
                let mut spec = TaskSpec::new(name(&format!("t{}", plan.name)), plan.argument(task));
                let span = |nanos: Option<u64>| nanos.map(Duration::from_nanos);
                spec.priority = Priority::new(plan.priority).unwrap_or_default();
                spec.deadline = span(plan.deadline);
                spec.max_wait = span(plan.max_wait);
                spec.time_limit = span(plan.time_limit);
                spec.max_attempts = plan.max_attempts;
                spec.at_most_once = plan.at_most_once;
                spec.retries = plan.retries;
                match client.submit(local, spec) {
                    Ok(id) => {
                        self.report.submitted += 1;
                        process.numbers.insert(task, id.seq);
                        self.open[usize::from(host)] += 1;
                        self.history.submits.push(Submit {
                            task,
                            at: self.now,
                            life: process.life,
                            seq: id.seq,
                        });
                        if let Some(after) = plan.cancel_after {
                            self.after(after, Event::Cancel(task));
                        }
                        self.say(host, Some(task), || {
                            format!("submits task {task}: {plan:?}")
                        });
                    }
                    Err(error) => {
                        *self.report.marks.entry("submit-refused").or_default() += 1;
                        self.history.turned_away.push(task);
                        self.say(host, Some(task), || {
                            format!("cannot submit {task}: {error}")
                        });
                    }
                }
            }
            Fact::Cancel(task) => {
                if let Some(&seq) = process.numbers.get(&task) {
                    self.say(host, Some(task), || format!("cancels task {task}"));
                    client.handle_input(local, argon_core::client::ClientInput::Cancel { seq });
                }
            }
            other => {
                if let Some(input) = for_client(other) {
                    client.handle_input(local, input);
                }
            }
        }
    }

    /// Does one thing that a machine wants done; true if its process is to end.
    fn apply(&mut self, host: Host, process: &mut Process, output: Output) -> bool {
        match output {
            Output::Manager(ManagerOutput::Send { conn, message }) => {
                let message = by_manager(message);
                for single in message.singles() {
                    self.note_sent(process, conn, &single.body);
                }
                self.send_message(host, process, conn, message);
            }
            Output::Manager(ManagerOutput::Close { conn, reason }) => {
                self.say(host, None, || format!("closes {conn}: {reason:?}"));
                self.close_conn(host, process, conn);
            }
            Output::Manager(ManagerOutput::Drained) => return true,
            Output::Worker(WorkerOutput::Link(link)) | Output::Client(ClientOutput::Link(link)) => {
                self.apply_link(host, process, link);
            }
            Output::Worker(WorkerOutput::Pool(command)) => {
                if let Node::Worker(_, pool) = &mut process.node {
                    let text = self.trace.is_on().then(|| short(&format!("{command:?}")));
                    if let Some(text) = text {
                        self.say(host, None, || text);
                    }
                    let (now, book) = (self.now, self.book);
                    let effects = pool.command(now, command, book, &mut self.history);
                    self.apply_pool(host, process.life, effects);
                }
            }
            Output::Client(ClientOutput::StreamsBegin { .. } | ClientOutput::Stream { .. }) => {
                unreachable!("no task has streams")
            }
            // What the host it runs on has started since is another process.
            Output::Worker(WorkerOutput::Replaced) => {}
            Output::Worker(WorkerOutput::Stopped) | Output::Client(ClientOutput::Stopped) => {
                return true;
            }
            Output::Client(ClientOutput::Deliver(deliveries)) => {
                for it in deliveries {
                    self.delivered(host, process, it.seq, &it.outcome, it.payload.to_vec());
                }
            }
            Output::Manager(ManagerOutput::Notify(event))
            | Output::Worker(WorkerOutput::Notify(event))
            | Output::Client(ClientOutput::Notify(event)) => self.notice(host, &event),
        }
        false
    }

    fn apply_link(&mut self, host: Host, process: &mut Process, output: LinkOutput) {
        match output {
            LinkOutput::Connect { conn, address } => {
                let index = self.dial(host, process.life, process.count, conn, address as Host);
                process.conns.insert(conn, index);
            }
            LinkOutput::Send { conn, message } => {
                self.send_message(host, process, conn, by_peer(message))
            }
            LinkOutput::Close { conn, reason } => {
                self.say(host, None, || format!("closes {conn}: {reason:?}"));
                self.close_conn(host, process, conn);
            }
        }
    }

    fn send_message(
        &mut self,
        host: Host,
        process: &Process,
        conn: ConnId,
        message: Message<Said>,
    ) {
        // A driver drops what is for a connection that is gone; its machine is told soon.
        let Some(&index) = process.conns.get(&conn) else {
            return;
        };
        let side = self.side(process.life, index);
        let message = if self.options().codec {
            through_codec(&message)
        } else {
            message
        };
        let sent = [self.now, index as u64, side as u64];
        self.trace.frame(sent, || encoded(&message));
        let hop = self.say_message(host, index, side, "->", &message.body);
        self.send(index, side, Packet::Message(message, hop));
    }

    fn close_conn(&mut self, host: Host, process: &mut Process, conn: ConnId) {
        self.note_left(process, conn);
        process.peers.remove(&conn);
        process.hostile.remove(&conn);
        if let Some(index) = process.conns.remove(&conn) {
            self.close(host, process.life, index);
        }
    }

    fn delivered(
        &mut self,
        host: Host,
        process: &Process,
        seq: u64,
        outcome: &Outcome,
        payload: Vec<u8>,
    ) {
        let end = in_own_words(outcome);
        *self.report.outcomes.entry(end.name()).or_default() += 1;
        if self.trace.is_on() {
            let mut numbers = process.numbers.iter();
            let task = numbers.find_map(|(task, number)| (*number == seq).then_some(*task));
            self.say(host, task, || {
                short(&format!("delivers {seq}: {outcome:?}"))
            });
        }
        self.open[usize::from(host)] = self.open[usize::from(host)].saturating_sub(1);
        self.history.deliveries.push(Delivery {
            at: self.now,
            life: process.life,
            seq,
            end,
            payload,
        });
    }

    // ---- what order is judged by ----

    fn note_received(&mut self, process: &mut Process, fact: &Fact) {
        if let Fact::Drain = fact {
            self.history.drains.push((self.now, process.life));
        }
        if let (Node::Manager(_), Fact::Closed(conn)) = (&process.node, fact) {
            self.note_left(process, *conn);
        }
        if let (Node::Manager(_), Fact::Received(conn, message)) = (&process.node, fact) {
            for single in message.singles() {
                self.note_heard(process, *conn, &single.body);
            }
        }
    }

    fn note_heard(&mut self, process: &mut Process, conn: ConnId, body: &Said) {
        match body {
            Said::ToManager(ToManager::Hello(hello)) => {
                process.peers.insert(conn, hello.peer.0);
                self.note_left(process, conn);
            }
            Said::ToManager(ToManager::Worker(FromWorker::Returned { not_started, .. })) => {
                for attempt in not_started {
                    if let Some(&(client, seq)) = process.assigned.get(attempt) {
                        self.note_task(process.life, client, seq, WireWhat::Returned);
                    }
                }
            }
            Said::ToManager(ToManager::Client(FromClient::Submit(submit))) => {
                self.note_wire(process, conn, body, submitted(submit));
            }
            Said::ToManager(ToManager::Client(FromClient::Cancel { .. })) => {
                self.note_wire(process, conn, body, WireWhat::Cancelled);
            }
            _ => {}
        }
    }

    fn note_sent(&mut self, process: &mut Process, conn: ConnId, body: &Said) {
        let what = match body {
            Said::FromManager(ToPeer::Worker(ToWorker::Assign(assign))) => {
                let task = (assign.task.client.0, assign.task.seq);
                if let Some(before) = process.last_attempts.insert(task, assign.attempt) {
                    process.assigned.remove(&before);
                }
                process.assigned.insert(assign.attempt, task);
                WireWhat::Assigned
            }
            Said::FromManager(ToPeer::Client(ToClient::Reject {
                reason,
                retry_after,
                ..
            })) => WireWhat::Rejected {
                displaced: *reason == RejectReason::Displaced,
                after: retry_after.0,
            },
            Said::FromManager(ToPeer::Client(ToClient::Outcome { .. })) => WireWhat::Ended,
            _ => return,
        };
        self.note_wire(process, conn, body, what);
    }

    fn note_wire(&mut self, process: &Process, conn: ConnId, body: &Said, what: WireWhat) {
        let peer = process.peers.get(&conn).copied();
        if let Some((client, seq)) = task_of(body, peer) {
            self.note_task(process.life, client, seq, what);
        }
    }

    fn note_left(&mut self, process: &Process, conn: ConnId) {
        if let Some(client) = process.peers.get(&conn) {
            self.note_task(process.life, *client, 0, WireWhat::Left);
        }
    }

    fn note_task(&mut self, life: usize, client: u64, seq: u64, what: WireWhat) {
        self.history.wire.push(Wire {
            at: self.now,
            life,
            client,
            seq,
            what,
        });
    }
}

fn poll_output(node: &mut Node) -> Option<Output> {
    match node {
        Node::Manager(manager) => manager.poll_output().map(Output::Manager),
        Node::Worker(worker, _) => worker.poll_output().map(Output::Worker),
        Node::Client(client) => client.poll_output().map(Output::Client),
    }
}

fn deadline(process: &Process) -> Option<Instant> {
    let deadline = match &process.node {
        Node::Manager(manager) => manager.poll_timeout(),
        Node::Worker(worker, _) => worker.poll_timeout(),
        Node::Client(client) => client.poll_timeout(),
    };
    deadline.map(|deadline| deadline.at)
}

fn finish<M: Machine>(machine: &mut M, local: Instant, early: bool, check: bool) {
    if early || machine.poll_timeout().is_some_and(|due| due.at <= local) {
        machine.handle_timeout(local);
    }
    machine.settle(local);
    if check {
        machine.check_invariants();
    }
}

/// An outcome in the checker's words.
pub(crate) fn in_own_words(outcome: &Outcome) -> End {
    match outcome {
        Outcome::Completed(completion) => End::Completed {
            charged: completion.charged,
        },
        Outcome::Failed(failure) => End::Failed {
            why: match &failure.error.kind {
                ErrorKind::Raised(_) => FailedWhy::Raised(failure.error.message.clone()),
                ErrorKind::TimeLimit => FailedWhy::TimeLimit,
                ErrorKind::ResultTooLarge => FailedWhy::ResultTooLarge,
                ErrorKind::MemoryLimit => FailedWhy::MemoryLimit,
                ErrorKind::Crashed(_) => FailedWhy::Crashed,
                other => FailedWhy::Other(format!("{other:?}")),
            },
            history: failure.history.len(),
        },
        Outcome::Expired { may_have_run } => End::Expired {
            may_have_run: *may_have_run,
        },
        Outcome::Cancelled { may_have_run } => End::Cancelled {
            may_have_run: *may_have_run,
        },
        Outcome::Lost { history } => End::Lost {
            history: history.len(),
        },
        Outcome::Rejected {
            reason, retries, ..
        } => End::Rejected {
            retries: *retries,
            why: match reason {
                RejectReason::TooLarge => RejectedWhy::TooLarge,
                RejectReason::NoRunner => RejectedWhy::NoRunner,
                _ => RejectedWhy::Retries,
            },
        },
    }
}
