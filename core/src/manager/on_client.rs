//! A client's messages.

use alloc::vec::Vec;

use crate::event::CloseReason;
use crate::ids::ConnId;
use crate::limits::IDS_MAX;
use crate::message::{Body, Message};
use crate::protocol_error::ProtocolError;
use crate::queue::ClientKey;
use crate::steps::step;
use crate::time::Instant;

use super::Manager;
use super::tasks::Ending;

impl Manager {
    pub(super) fn on_client_message(
        &mut self,
        now: Instant,
        conn: ConnId,
        key: ClientKey,
        message: Message,
    ) {
        match message.body {
            Body::Submit(submit) => self.on_submit(now, conn, key, submit, message.payload),
            Body::Cancel { seq } => {
                if let Some(task) = self.tasks.of(key).get(seq) {
                    self.ask_to_end(now, task, Ending::Cancel);
                }
            }
            Body::Resume { seqs } => self.on_resume(now, conn, key, &seqs),
            Body::AckOutcomes { floor, seqs } => self.on_ack_outcomes(now, key, floor, &seqs),
            Body::Goodbye => {
                self.close(now, conn, CloseReason::Done);
                self.end_client(now, key, "said goodbye");
            }
            Body::Within(process) => self.on_within(key, process),
            Body::StatusQuery { page } => self.on_status_query(now, conn, page),
            Body::RunningQuery { page } => self.on_running_query(now, conn, page),
            _ => self.close(now, conn, CloseReason::Protocol(ProtocolError::Misdirected)),
        }
    }

    /// The client asks which of its tasks are still here. Outcomes were sent again when it came
    /// back.
    fn on_resume(&mut self, now: Instant, conn: ConnId, key: ClientKey, seqs: &[u64]) {
        if seqs.len() > IDS_MAX {
            return self.close(now, conn, CloseReason::Protocol(ProtocolError::TooManyIds));
        }
        let account = self.tasks.of(key);
        let unknown: Vec<u64> = seqs
            .iter()
            .copied()
            .inspect(|_| step())
            .filter(|seq| *seq >= account.floor() && account.get(*seq).is_none())
            .collect();
        if !unknown.is_empty() {
            self.send(now, conn, Body::Unknown { seqs: unknown });
        }
    }

    pub(super) fn on_observer_message(&mut self, now: Instant, conn: ConnId, body: &Body) {
        match body {
            Body::StatusQuery { page } => self.on_status_query(now, conn, *page),
            Body::RunningQuery { page } => self.on_running_query(now, conn, *page),
            Body::Goodbye => self.close(now, conn, CloseReason::Done),
            _ => self.close(now, conn, CloseReason::Protocol(ProtocolError::Misdirected)),
        }
    }
}
