//! A client's messages.

use alloc::vec::Vec;

use crate::event::CloseReason;
use crate::ids::ConnId;
use crate::message::{FromClient, Run, Submit, ToClient};
use crate::payload::Payload;
use crate::protocol_error::ProtocolError;
use crate::queue::ClientKey;
use crate::steps::step;
use crate::time::Instant;

use super::Manager;
use super::peers::Peer;
use super::tasks::{Ending, Place};

impl Manager {
    pub(super) fn on_client(
        &mut self,
        now: Instant,
        conn: ConnId,
        key: ClientKey,
        said: FromClient,
        payload: Payload,
    ) {
        match said {
            FromClient::Submit(submit) => {
                self.on_submit(now, conn, key, submit, payload);
            }
            FromClient::SubmitRun(run) => self.on_submit_run(now, conn, key, &run, &payload),
            FromClient::Cancel { seq } => match self.place_of(key, seq) {
                Some(Place::Record(task)) => self.ask_to_end(now, task, Ending::Cancel),
                Some(place @ Place::InRun(run, _)) => {
                    if let Some(task) = self.take_out(place) {
                        self.tidy(run);
                        self.end_asked(now, task, Ending::Cancel);
                    }
                }
                Some(Place::InRow(row, place)) => {
                    if let Some(task) = self.leave_row(row, place) {
                        self.ask_to_end(now, task, Ending::Cancel);
                    }
                }
                None => {}
            },
            FromClient::Resume { seqs } => self.on_resume(now, conn, key, &seqs),
            FromClient::AckOutcomes { floor, seqs } => {
                self.on_ack_outcomes(now, key, floor, &seqs);
            }
            FromClient::SubmitStreams(said) => {
                self.on_submit_streams(now, conn, key, *said, payload);
            }
            FromClient::StreamChunk(said) => {
                self.on_stream_chunk(now, conn, Peer::Client(key), said, payload);
            }
            FromClient::StreamLevel(said) => {
                self.on_stream_level(now, conn, Peer::Client(key), said);
            }
            FromClient::Within(process) => self.on_within(key, process),
        }
    }

    fn on_submit_run(
        &mut self,
        now: Instant,
        conn: ConnId,
        key: ClientKey,
        run: &Run<Submit>,
        payload: &Payload,
    ) {
        let Some(mut parts) = run.parts(payload) else {
            return self.close(now, conn, CloseReason::Protocol(ProtocolError::BadRun));
        };
        parts.leave_out(self.enqueue_run(now, key, run, payload));
        while let Some((submit, argument)) = parts.next() {
            step();
            if self.connections.get(conn).is_none() {
                break;
            }
            let (seq, bytes) = (submit.seq, argument.len());
            let refused = self.on_submit(now, conn, key, submit, argument);
            if let Some(reason) = refused {
                let next = seq.saturating_add(1);
                let sizes = parts.sizes();
                let alike = self.refused_alike(key, &run.first, next, sizes, reason, bytes);
                if alike > 0 {
                    parts.leave_out(alike);
                    self.reject_row(now, key, next, alike as u32, reason, false);
                }
            }
        }
    }

    /// The client asks which of its tasks are still here. Outcomes were sent again when it came
    /// back.
    fn on_resume(&mut self, now: Instant, conn: ConnId, key: ClientKey, seqs: &[u64]) {
        let account = self.tasks.of(key);
        let unknown: Vec<u64> = seqs
            .iter()
            .copied()
            .inspect(|_| step())
            .filter(|seq| *seq >= account.floor() && self.place_of(key, *seq).is_none())
            .collect();
        if !unknown.is_empty() {
            self.send(now, conn, ToClient::Unknown { seqs: unknown });
        }
        self.resume_streams(now, key, seqs);
    }
}
