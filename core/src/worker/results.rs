//! Ends of attempts: held until acknowledged, and sent.

use alloc::format;
use alloc::vec::Vec;

use super::attempts::{AttemptKey, AttemptPlace, Entry, Held, HeldResult};
use super::machine::Worker;
use crate::event::Event;
use crate::ids::Attempt;
use crate::message::{
    AttemptEnd, Finished, FromWorker, Message, Report, ReportedAttempt, ToManager,
};
use crate::payload::Payload;
use crate::protocol_error::ProtocolError;
use crate::task::{ErrorKind, TaskError};
use crate::time::{Instant, Nanos};

fn too_large(bytes: usize, limit: usize) -> TaskError {
    let text = format!("a result of {bytes} bytes, where the manager takes at most {limit}");
    TaskError::new(ErrorKind::ResultTooLarge, text)
}

/// The message that says how an attempt ended, to a manager that takes payloads of `payload_max` bytes.
#[inline]
fn finished(entry: &Entry, held: &Held, payload_max: usize) -> Message<ToManager> {
    let bytes = entry.payload.len();
    let fits = bytes <= payload_max;
    let finished = Finished {
        attempt: entry.attempt,
        task: entry.task,
        ran: Nanos::from(held.ran),
        end: match &held.end {
            AttemptEnd::Completed if !fits => {
                AttemptEnd::Failed(too_large(bytes, payload_max).into())
            }
            end @ (AttemptEnd::Completed
            | AttemptEnd::Failed(_)
            | AttemptEnd::Crashed(..)
            | AttemptEnd::Killed
            | AttemptEnd::Expired) => end.clone(),
        },
    };
    Message {
        body: FromWorker::Finished(finished).into(),
        // The manager would close the connection at a longer frame. Another manager may take
        // more, so what is held stays as it is.
        payload: if fits {
            entry.payload.clone()
        } else {
            Payload::empty()
        },
    }
}

impl Worker {
    /// An attempt ended: sends the end if there is somebody to send it to, and holds it.
    pub(super) fn finish(&mut self, now: Instant, key: AttemptKey, mut end: HeldResult) {
        if let AttemptEnd::Failed(error) = &mut end.end {
            error.bound();
        }
        let is_unread = self.attempts.hold(key, end);
        if is_unread && let Some(at) = self.attempts.get(key).deadline {
            // The process is gone; what it wrote has as much time as it had.
            self.expiries.set(key, at);
        }
        self.send_held(now, key);
        let full = self.attempts.held() >= self.config.held_results
            || self.attempts.held_bytes() >= self.config.held_bytes;
        if full && !self.demand.is_full() {
            self.demand.set_full(true);
            self.notify(Event::ResultsFull);
            self.return_waiting();
        }
    }

    /// Sends the held result of an attempt.
    pub(super) fn send_held(&mut self, now: Instant, key: AttemptKey) {
        if !self.link.is_up() {
            return;
        }
        // An answer that speaks of an attempt as started must not come after its end.
        self.flush_returned(now);
        let entry = self.attempts.get(key);
        if let AttemptPlace::Held(held) = &entry.place
            && !held.unread
        {
            let payload_max = self.payload_max;
            let say_too = |last: &mut Message<ToManager>| {
                let ended = ReportedAttempt {
                    attempt: entry.attempt,
                    task: entry.task,
                };
                matches!(held.end, AttemptEnd::Completed)
                    && entry.payload.len() <= payload_max
                    && last.finish_too(ended, Nanos::from(held.ran), &entry.payload)
            };
            let message = || finished(entry, held, payload_max);
            self.link.send_run(now, &mut self.out, say_too, message);
        }
    }

    /// The manager wants to hear an end again.
    pub(super) fn on_resend(&mut self, now: Instant, attempt: Attempt) {
        let Some(key) = self.attempts.find(attempt) else {
            // It was reported as ended and has been acknowledged since. That it never started
            // would be a lie, and its end is gone.
            return self.hang_up(now, ProtocolError::ResendOfAcknowledged);
        };
        let entry = self.attempts.get(key);
        match entry.place {
            AttemptPlace::Held(Held { unread: true, .. }) => self.answers.started(attempt),
            AttemptPlace::Held(_) => self.send_held(now, key),
            AttemptPlace::Waiting | AttemptPlace::Given { .. } if entry.given => {
                self.answers.started(attempt)
            }
            // It waits for its turn; the question is from before it was assigned.
            AttemptPlace::Waiting | AttemptPlace::Given { .. } => {}
        }
    }

    /// The manager has seen to it that these ends are not needed here any more.
    pub(super) fn on_ack_results(&mut self, attempts: impl IntoIterator<Item = Attempt>) {
        for attempt in attempts {
            self.attempts.forget_held(attempt);
        }
        let still_full = self.attempts.held() > self.config.held_results / 2
            || self.attempts.held_bytes() > self.config.held_bytes / 2;
        self.demand.set_full(self.demand.is_full() && still_full);
    }

    /// Tells a manager that let us in all that it must know of: what may have started here, and
    /// what ended.
    pub(super) fn send_report(&mut self, now: Instant) {
        let mut report = Report {
            running: Vec::new(),
            finished: Vec::new(),
            last: false,
        };
        for (_, entry) in self.attempts.iter() {
            let reported = ReportedAttempt {
                attempt: entry.attempt,
                task: entry.task,
            };
            if report.running.len() + report.finished.len() == self.config.inner.ids {
                let part = core::mem::replace(
                    &mut report,
                    Report {
                        running: Vec::new(),
                        finished: Vec::new(),
                        last: false,
                    },
                );
                self.link.send(now, FromWorker::Report(part), &mut self.out);
            }
            match entry.place {
                AttemptPlace::Held(Held { unread: false, .. }) => report.finished.push(reported),
                AttemptPlace::Held(_) | AttemptPlace::Waiting | AttemptPlace::Given { .. } => {
                    report.running.push(reported);
                }
            }
        }
        report.last = true;
        self.link
            .send(now, FromWorker::Report(report), &mut self.out);
    }

    /// Sends the answers about what was and was not started, in parts.
    #[inline]
    pub(super) fn flush_returned(&mut self, now: Instant) {
        if !self.answers.is_empty() {
            self.send_returned(now);
        }
    }

    fn send_returned(&mut self, now: Instant) {
        while let Some((not_started, started)) = self.answers.next_part(self.config.inner.ids) {
            let body = FromWorker::Returned {
                not_started,
                started,
            };
            // Without a connection, the next report says it.
            self.link.send(now, body, &mut self.out);
        }
    }
}
