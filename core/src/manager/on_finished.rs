//! The ends of attempts, as workers report them.

use alloc::format;

use crate::event::{CloseReason, Event};
use crate::ids::{ConnId, TaskId};
use crate::limits::ERROR_TEXT_MAX;
use crate::message::{AttemptEnd, Ends, Finished, ReportedAttempt};
use crate::payload::Payload;
use crate::protocol_error::ProtocolError;
use crate::queue::TaskKey;
use crate::router::WorkerKey;
use crate::steps::step;
use crate::task::{
    AttemptLoss, Completion, ErrorKind, ExitCause, Failure, LastAttempt, Outcome, TaskError,
    keep_end,
};
use crate::time::Instant;

use super::Manager;
use super::keys::Assignee;
use super::peers::Purpose;
use super::rows::Finishes;
use super::tasks::{Place, TaskState};

impl Manager {
    pub(super) fn on_finished_run(
        &mut self,
        now: Instant,
        conn: ConnId,
        key: WorkerKey,
        ends: &Ends<ReportedAttempt>,
        payload: &Payload,
    ) {
        if ends.parts(payload).is_none() {
            return self.close(now, conn, CloseReason::Protocol(ProtocolError::BadRun));
        }
        let (mut from, mut start) = (0, 0);
        while from < ends.ends.len() {
            step();
            if self.connections.get(conn).is_none() {
                break;
            }
            let said = Finishes {
                first: ends.first,
                content: payload.content(),
                ends: &ends.ends[from..],
                results: payload.get(start..).unwrap_or_default(),
            };
            let in_row = self.finish_in_row(now, key, said);
            if in_row == 0
                && let Some((ended, ran, result)) = said.alone()
            {
                self.on_finished(now, key, ended.completed(ran), result);
            }
            let taken = &said.ends[..in_row.max(1)];
            start += taken.iter().map(|end| end.size as usize).sum::<usize>();
            from += taken.len();
        }
    }

    /// An attempt ended. Whatever it was for, its slot is free; what it means for its task
    /// depends on whether that still waits for an outcome.
    pub(super) fn on_finished(
        &mut self,
        now: Instant,
        key: WorkerKey,
        finished: Finished,
        payload: Payload,
    ) {
        let attempt = finished.attempt;
        let assignee = Assignee {
            worker: key,
            attempt,
        };
        if self.orphans.has_result(assignee) {
            // Nobody asked for it yet: the worker goes on holding it for its client.
            let task = finished.task;
            return self.notify(Event::StaleIgnored { task, attempt });
        }
        self.leave_row_of(key, attempt);
        let occupied = self.workers.vacate(assignee);
        if let Some(occupied) = &occupied {
            self.workers.progressed(now, key);
            if let Purpose::Live(task) = occupied.purpose {
                self.observe(now, key, task, &finished);
            }
            self.placement.rescore_later(key);
        }
        match occupied.map(|occupied| occupied.purpose) {
            Some(Purpose::Live(task)) => self.conclude(now, task, assignee, finished, payload),
            // It stays at the worker until its client returns.
            Some(Purpose::Orphan(id)) => self.orphans.add_result(id, assignee),
            Some(Purpose::Obsolete) => {
                let task = finished.task;
                self.notify(Event::StaleIgnored { task, attempt });
                self.ack(assignee);
            }
            None => {
                if self.is_result_of(finished.task, assignee) {
                    return;
                }
                // Whoever was given the attempt has it until it says how it ended, once.
                if let Some(conn) = self.workers[key].peer.conn {
                    let reason = CloseReason::Protocol(ProtocolError::EndedUnassigned);
                    self.close(now, conn, reason);
                }
            }
        }
    }

    fn conclude(
        &mut self,
        now: Instant,
        task: TaskKey,
        assignee: Assignee,
        finished: Finished,
        payload: Payload,
    ) {
        let attempt = assignee.attempt;
        if matches!(&finished.end, AttemptEnd::Failed(error) if error.kind == ErrorKind::Unavailable)
        {
            return self.on_unavailable(now, task, assignee);
        }
        self.tasks.drop_superseded(task, assignee);
        let record = &self.tasks[task];
        let is_current = record.assignee() == Some(assignee);
        let assigned_at = match record.state {
            TaskState::Assigned { at, .. } if is_current => at,
            TaskState::Queued
            | TaskState::Unclaimed
            | TaskState::Detached
            | TaskState::Assigned { .. }
            | TaskState::Ended(_) => {
                Instant::from_nanos(now.as_nanos().saturating_sub(finished.ran.0))
            }
        };
        let waited = assigned_at.since(record.times.accepted_at);
        let last = LastAttempt {
            ran: finished.ran,
            waited: waited.into(),
            worker: self.workers[assignee.worker].peer.name.clone(),
        };
        match finished.end {
            AttemptEnd::Completed => {
                self.tasks.refund(task, attempt);
                let completion = Completion {
                    last,
                    charged: self.tasks[task].charged(),
                };
                if is_current {
                    self.unassign(task, finished.ran.0.max(1));
                }
                self.end(
                    now,
                    task,
                    Outcome::Completed(completion),
                    payload,
                    Some(assignee),
                );
            }
            AttemptEnd::Failed(mut error) => {
                error.bound();
                self.tasks.refund(task, attempt);
                let failure = Failure {
                    error: *error,
                    last,
                    history: self.tasks[task].history(),
                };
                let outcome = Outcome::Failed(alloc::boxed::Box::new(failure));
                if is_current {
                    self.unassign(task, finished.ran.0.max(1));
                }
                self.end(now, task, outcome, payload, Some(assignee));
            }
            AttemptEnd::Crashed(..) | AttemptEnd::Killed | AttemptEnd::Expired if !is_current => {
                // Not the attempt that the task waits for, so its end decides nothing.
                self.tasks.ran_earlier(task);
                self.notify(Event::StaleIgnored {
                    task: finished.task,
                    attempt,
                });
                self.ack(assignee);
            }
            AttemptEnd::Crashed(cause, mut stderr) => {
                keep_end(&mut stderr, ERROR_TEXT_MAX);
                self.ack(assignee);
                self.unassign(task, finished.ran.0.max(1));
                self.on_crash(now, task, assignee, last, cause, stderr);
            }
            AttemptEnd::Killed => {
                self.ack(assignee);
                self.on_killed(now, task, assignee);
            }
            AttemptEnd::Expired => {
                self.ack(assignee);
                self.on_expired(now, task, assignee);
            }
        }
    }

    /// The pool process died under the attempt.
    fn on_crash(
        &mut self,
        now: Instant,
        task: TaskKey,
        assignee: Assignee,
        last: LastAttempt,
        cause: ExitCause,
        stderr: alloc::string::String,
    ) {
        if let Some(ending) = self.tasks[task].ending {
            return self.end_asked(now, task, ending);
        }
        self.charge_loss(task, assignee, AttemptLoss::ChildCrashed(cause));
        let record = &self.tasks[task];
        let charged = record.charged();
        if !record.options.at_most_once && charged < record.options.max_attempts {
            return self.requeue(now, task);
        }
        let history = record.history();
        let id = record.id;
        let workers = worker_list(&history);
        let message = if charged > 1 {
            format!("its pool process {cause}; {charged} attempts ended so, on {workers}")
        } else {
            format!("its pool process on {workers} {cause}")
        };
        let mut error = TaskError::new(ErrorKind::Crashed(cause), message);
        error.stderr = stderr;
        if charged > 1 {
            self.notify(Event::PoisonStopped { task: id });
        }
        let failure = alloc::boxed::Box::new(Failure {
            error,
            last,
            history,
        });
        self.end(now, task, Outcome::Failed(failure), Payload::empty(), None);
    }

    /// Learns from an attempt's end how fast the worker and the task's name are.
    fn observe(&mut self, now: Instant, key: WorkerKey, task: TaskKey, finished: &Finished) {
        let ran = finished.ran.0;
        let record = &self.tasks[task];
        let name = record.name_key;
        let completed = matches!(finished.end, AttemptEnd::Completed);
        self.workers.finished(key, completed);
        match &finished.end {
            AttemptEnd::Completed => {
                self.placement.completed(key, name, ran);
                if self.placement.trust(key, name) {
                    self.pardon(key);
                }
            }
            AttemptEnd::Failed(error) if error.kind == ErrorKind::Unavailable => {
                // Says nothing about tasks of this name.
                self.placement.failed(key, name, ran);
            }
            AttemptEnd::Failed(_) | AttemptEnd::Crashed(..) => {
                self.placement.failed(key, name, ran);
                if let TaskState::Assigned { class, .. } = record.state {
                    self.doubt(now, key, task, class);
                }
            }
            AttemptEnd::Killed | AttemptEnd::Expired => {}
        }
    }

    /// Whether the task has ended with the result of this attempt, which is not acknowledged yet.
    fn is_result_of(&self, id: TaskId, assignee: Assignee) -> bool {
        match self.find_task(id) {
            Some(Place::Record(task)) => match self.tasks[task].state {
                TaskState::Ended(end) => self.results[end].release == Some(assignee),
                TaskState::Queued
                | TaskState::Unclaimed
                | TaskState::Detached
                | TaskState::Assigned { .. } => false,
            },
            Some(place) => self.holder_in_row(place) == Some(assignee),
            None => false,
        }
    }

    /// Where the task is that a worker speaks of, if it is here.
    pub(super) fn find_task(&self, id: TaskId) -> Option<Place> {
        let client = self.clients.find(id.client)?;
        self.place_of(client, id.seq)
    }
}

/// The workers of `history` by name, each once, in order of first mention.
fn worker_list(history: &[crate::task::AttemptRecord]) -> alloc::string::String {
    let mut names: alloc::vec::Vec<&str> = alloc::vec::Vec::new();
    for record in history {
        if !names.contains(&record.worker.as_str()) {
            names.push(record.worker.as_str());
        }
    }
    names.join(", ")
}
