//! Runs taken apart, for those who listen to both sides.

use alloc::vec;
use alloc::vec::Vec;

use crate::message::{
    FromClient, FromWorker, Message, Rejections, Said, ToClient, ToManager, ToPeer, ToWorker,
};
use crate::payload::Payload;

impl Message<Said> {
    /// What a run says of each task alone; itself if it is none.
    #[must_use]
    pub fn singles(&self) -> Vec<Self> {
        fn of<T>(
            parts: Option<impl Iterator<Item = (T, Payload)>>,
            say: impl Fn(T) -> Said,
        ) -> Vec<Message<Said>> {
            let messages = parts.into_iter().flatten().map(|(part, payload)| Message {
                body: say(part),
                payload,
            });
            messages.collect()
        }
        let payload = &self.payload;
        match &self.body {
            Said::ToManager(ToManager::Client(FromClient::SubmitRun(run))) => {
                of(run.parts(payload), |submit| {
                    FromClient::Submit(submit).into()
                })
            }
            Said::FromManager(ToPeer::Worker(ToWorker::AssignRun(run))) => {
                of(run.parts(payload), |assign| ToWorker::Assign(assign).into())
            }
            Said::ToManager(ToManager::Worker(FromWorker::FinishedRun(ends))) => {
                let parts = ends.parts(payload);
                let parts = parts.map(|parts| parts.map(|(of, ran, result)| ((of, ran), result)));
                of(parts, |(ended, ran)| {
                    FromWorker::Finished(ended.completed(ran)).into()
                })
            }
            Said::FromManager(ToPeer::Client(ToClient::OutcomeRun(ends))) => {
                let parts = ends.parts(payload);
                let parts = parts.map(|parts| parts.map(|(of, ran, result)| ((of, ran), result)));
                of(parts, |(completed, ran)| {
                    let (seq, outcome) = completed.outcome(ran);
                    ToClient::Outcome { seq, outcome }.into()
                })
            }
            Said::FromManager(ToPeer::Client(ToClient::RejectRun(rejections))) => {
                let Rejections {
                    reason,
                    retry_after,
                    may_have_run,
                    ..
                } = *rejections;
                let reject = |seq| {
                    let similar = Vec::new();
                    Message::from(Said::from(ToClient::Reject {
                        seq,
                        reason,
                        retry_after,
                        may_have_run,
                        similar,
                    }))
                };
                rejections
                    .seqs()
                    .into_iter()
                    .flatten()
                    .map(reject)
                    .collect()
            }
            Said::FromManager(ToPeer::Worker(ToWorker::AckResultRuns { rows })) => {
                let attempts = rows.iter().flat_map(|row| row.attempts()).collect();
                vec![Message::from(Said::from(ToWorker::AckResults { attempts }))]
            }
            Said::ToManager(_) | Said::FromManager(_) => vec![self.clone()],
        }
    }
}
