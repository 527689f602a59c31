//! What the manager says about tasks.

use alloc::vec::Vec;
use core::time::Duration;

use crate::event::Event;
use crate::ids::TaskId;
use crate::message::{Completed, Ends, Rejections, ToClient};
use crate::name::Name;
use crate::payload::Payload;
use crate::protocol_error::ProtocolError;
use crate::retry::{HINT_MAX, Retry};
use crate::task::{Outcome, RejectReason};
use crate::time::Instant;

use super::backoff::Refusal;
use super::{Client, ClientOutput};

impl Client {
    pub(super) fn on_message(&mut self, now: Instant, said: ToClient, payload: Payload) {
        match said {
            ToClient::Outcome { seq, outcome } => self.on_outcome(now, seq, outcome, payload),
            ToClient::OutcomeRun(ends) => self.on_outcomes(now, &ends, &payload),
            ToClient::Reject {
                seq,
                reason,
                retry_after,
                may_have_run,
                similar,
            } => {
                let hint = retry_after.to_duration().unwrap_or(HINT_MAX);
                self.on_reject(now, seq, reason, hint, may_have_run, similar);
            }
            ToClient::RejectRun(rejections) => self.on_rejects(now, &rejections),
            ToClient::StreamAttempt(attempt) => self.on_stream_attempt(now, attempt),
            ToClient::StreamChunk(chunk) => self.on_stream_chunk(now, chunk, payload),
            ToClient::StreamLevel(level) => self.on_stream_level(level),
            ToClient::Unknown { seqs } => {
                for seq in seqs {
                    if !self.link.is_up() {
                        break;
                    }
                    self.on_unknown(now, seq);
                }
            }
        }
    }

    fn on_outcomes(&mut self, now: Instant, ends: &Ends<Completed>, payload: &Payload) {
        let Some(parts) = ends.parts(payload) else {
            return self.close(now, ProtocolError::BadRun);
        };
        let mut left = ends.ends.len();
        for (completed, ran, result) in parts {
            if !self.link.is_up() {
                break;
            }
            let (seq, outcome) = completed.outcome(ran);
            self.on_outcome(now, seq, outcome, result);
            left -= 1;
            if let Some(ClientOutput::Deliver(deliveries)) = self.outputs.back_mut()
                && deliveries.len() == deliveries.capacity()
            {
                deliveries.reserve(left);
            }
        }
    }

    /// The end of a task. Outcomes of tasks that are finished here, or never were, are
    /// acknowledged too: otherwise the manager would keep them for ever.
    fn on_outcome(&mut self, now: Instant, seq: u64, mut outcome: Outcome, payload: Payload) {
        let Some(task) = self.tasks.get(seq) else {
            return self.acknowledge(now, seq);
        };
        if let Outcome::Expired { may_have_run } | Outcome::Cancelled { may_have_run } =
            &mut outcome
        {
            *may_have_run |= task.may_have_run;
        }
        if task.is_unsent() {
            return self.close(now, ProtocolError::EndedUnsubmitted);
        }
        if let Outcome::Rejected { .. } = outcome {
            return self.close(now, ProtocolError::RejectionAsOutcome);
        }
        if task.sent().is_some() {
            self.window.on_outcome();
            self.stay();
        }
        self.end(seq, outcome, payload);
        self.acknowledge(now, seq);
    }

    fn on_rejects(&mut self, now: Instant, rejections: &Rejections) {
        let Some(seqs) = rejections.seqs() else {
            return self.close(now, ProtocolError::BadRun);
        };
        let hint = rejections.retry_after.to_duration().unwrap_or(HINT_MAX);
        let (reason, may_have_run) = (rejections.reason, rejections.may_have_run);
        for seq in seqs {
            self.on_reject(now, seq, reason, hint, may_have_run, Vec::new());
        }
    }

    fn on_reject(
        &mut self,
        now: Instant,
        seq: u64,
        reason: RejectReason,
        hint: Duration,
        may_have_run: bool,
        similar: Vec<Name>,
    ) {
        let held = self.tasks.sent().saturating_sub(1);
        let Some(task) = self.tasks.get_mut(seq) else {
            return;
        };
        let Some(number) = task.sent() else {
            return;
        };
        task.may_have_run |= may_have_run;
        let (uncertain, cancelled) = (task.may_have_run, task.cancelled);
        let (tries, retries) = (task.rejections, task.retries);
        let (allowed, priority) = (task.allowed.or(self.config.retries), task.options.priority);
        task.rejections = task.rejections.saturating_add(1);
        self.window.on_refused(
            now,
            reason,
            number,
            priority,
            held,
            hint,
            &self.retry,
            &mut self.rng,
        );
        if cancelled {
            let outcome = Outcome::Cancelled {
                may_have_run: uncertain,
            };
            return self.end(seq, outcome, Payload::empty());
        }
        if reason.is_final() {
            return self.end_refused(seq, reason, similar);
        }
        if reason == RejectReason::NoWorkers {
            self.want_move(now);
        }
        let retry = Retry {
            allowed,
            ..self.retry
        };
        // What may have run cannot end as `Rejected`, so it is tried until the manager has room.
        if !uncertain && retry.is_used_up(retries) {
            return self.end_refused(seq, reason, Vec::new());
        }
        if !uncertain && let Some(task) = self.tasks.get_mut(seq) {
            task.retries = task.retries.saturating_add(1);
        }
        let refusal = Refusal {
            at: now,
            hint,
            tries: if uncertain { tries } else { retries },
            uncertain,
        };
        let delay = || retry.delay(refusal.tries, hint, &mut self.rng);
        self.tasks.back_off(seq, refusal, may_have_run, delay);
        self.notify(Event::Retrying {
            task: TaskId {
                client: self.config.peer,
                seq,
            },
            reason,
            retries: self.tasks.get(seq).map_or(0, |task| task.retries),
        });
    }
}
