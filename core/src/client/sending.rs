//! What goes out in a settling: acknowledgements, then tasks, as many as the window admits.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

use crate::limits::{SEND_BYTES_MAX, SENDS_MAX};
use crate::message::{FromClient, Message, ToManager};
use crate::name::Name;
use crate::payload::Payload;
use crate::task::{Outcome, RejectReason};
use crate::time::Instant;

use super::Client;

/// How soon sending goes on after it stopped at those.
const MORE_AFTER: Duration = Duration::from_millis(1);

/// Outcomes that are to be acknowledged.
#[derive(Clone, Debug, Default)]
pub(super) struct Acks {
    /// Those taken in since the last acknowledgement.
    pub(super) seqs: Vec<u64>,
    /// One is due although there is nothing new: the last may have been lost.
    pub(super) due: bool,
}

/// Where sending goes on.
#[derive(Clone, Debug, Default)]
pub(super) struct Sending {
    /// When, if a settling stopped at its bound.
    pub(super) more_at: Option<Instant>,
    /// The last task that was sent while one at a time was.
    last_tried: u64,
}

impl Client {
    /// Notes that the outcome of `seq` is delivered, now or earlier.
    pub(super) fn acknowledge(&mut self, now: Instant, seq: u64) {
        self.acks.seqs.push(seq);
        if self.acks.seqs.len() >= self.config.inner.ids {
            self.flush_acks(now);
        }
    }

    pub(super) fn flush_acks(&mut self, now: Instant) {
        if self.acks.seqs.is_empty() && !self.acks.due {
            return;
        }
        self.acks.due = false;
        let floor = self.tasks.floor();
        // Mostly tasks end in about the order they came in, and the floor says it all.
        let seqs: Vec<u64> = self
            .acks
            .seqs
            .drain(..)
            .filter(|&seq| seq >= floor)
            .collect();
        self.send(now, FromClient::AckOutcomes { floor, seqs });
    }

    pub(super) fn send_tasks(&mut self, now: Instant) {
        if self.is_leaving() {
            return;
        }
        let (mut sends, mut bytes) = (0, 0);
        // First what may be running somewhere, so that it is claimed before it is tried again.
        // The manager has had these before, so the window has no say.
        while let Some(seq) = self.tasks.first_recovering() {
            if sends >= SENDS_MAX || bytes >= SEND_BYTES_MAX {
                return self.send_more_later(now);
            }
            sends += 1;
            bytes += self.send_task(now, seq);
        }
        let mut limited = false;
        'lines: while let Some(priority) = self.tasks.first_waiting() {
            // Nothing less important goes out meanwhile, so it stays as it is for the whole line.
            let limit = self.window.limit(priority, self.tasks.sent_below(priority));
            while let Some(first) = self.tasks.first_waiting_at(priority) {
                if self.tasks.sent() >= limit {
                    limited = true;
                    break 'lines;
                }
                if sends >= SENDS_MAX || bytes >= SEND_BYTES_MAX {
                    limited = true;
                    self.send_more_later(now);
                    break 'lines;
                }
                let mut seq = first;
                if self.window.is_restarting() {
                    // Another one each time, so that no task pays for all with its retries.
                    seq = self
                        .tasks
                        .waiting_after(priority, self.sending.last_tried)
                        .unwrap_or(first);
                    self.sending.last_tried = seq;
                }
                sends += 1;
                bytes += self.send_task(now, seq);
            }
        }
        self.window.set_limited(limited);
        if self.window.wants_ack(self.link.sent()) {
            self.link.ping_now(now);
            self.drive_link(now);
        }
    }

    fn send_more_later(&mut self, now: Instant) {
        self.sending.more_at = Some(now + MORE_AFTER);
    }

    /// Sends a waiting task, or ends it if that makes no sense any more; returns its bytes.
    fn send_task(&mut self, now: Instant, seq: u64) -> u64 {
        let limit = self.payload_max();
        let Some(task) = self.tasks.get(seq) else {
            debug_assert!(false, "what waits is live");
            return 0;
        };
        if task.deadline.is_some_and(|at| at <= now) {
            self.expire(seq);
            return 0;
        }
        if task.payload.len() > limit {
            self.end_refused(seq, RejectReason::TooLarge, Vec::new());
            return 0;
        }
        let (bytes, cancelled) = (task.bytes(), task.cancelled);
        if !self.streams.has(seq) {
            let say_too = |last: &mut Message<ToManager>| {
                last.submit_too(seq, &task.payload, |first| task.is_like(first, now))
            };
            let message = || task.message(seq, now);
            self.link.send_run(now, &mut self.outputs, say_too, message);
        } else if self.link.has_streams() {
            let submit = self.streams.submission(seq, task.submission(seq, now));
            let message = Message {
                body: FromClient::SubmitStreams(Box::new(submit)).into(),
                payload: task.payload.clone(),
            };
            self.link.send(now, message, &mut self.outputs);
        } else {
            self.end_refused(seq, RejectReason::NoStreams, Vec::new());
            return 0;
        }
        let number = self.window.on_sent();
        self.tasks.send(seq, number);
        if cancelled {
            self.send(now, FromClient::Cancel { seq });
        }
        bytes
    }

    /// Ends a task that its manager does not take.
    pub(super) fn end_refused(&mut self, seq: u64, reason: RejectReason, similar: Vec<Name>) {
        let Some(task) = self.tasks.get(seq) else {
            return;
        };
        let outcome = if task.may_have_run {
            // `Rejected` would promise that it never ran.
            Outcome::Lost {
                history: Vec::new(),
            }
        } else {
            Outcome::Rejected {
                reason,
                retries: task.retries,
                similar,
            }
        };
        self.end(seq, outcome, Payload::empty());
    }
}
