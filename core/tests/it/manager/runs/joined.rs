//! Messages about one task each, as those about several that say the same.

use argon_core::manager::ManagerInput;
use argon_core::message::*;
use argon_core::time::Nanos;

/// The same facts, with neighbours that may be one run made one.
pub(crate) fn in_runs(batch: &[ManagerInput]) -> Vec<ManagerInput> {
    let mut all: Vec<ManagerInput> = Vec::new();
    for input in batch {
        let joined = match (all.last_mut(), input) {
            (
                Some(ManagerInput::Received { conn, message }),
                ManagerInput::Received {
                    conn: same,
                    message: next,
                },
            ) if conn == same => join(message, next),
            _ => false,
        };
        if !joined {
            all.push(input.clone());
        }
    }
    all
}

/// Makes one run of two messages, if they are neighbours.
fn join(message: &mut Message<ToManager>, next: &Message<ToManager>) -> bool {
    let more = next.payload.len() as u32;
    let size = message.payload.len() as u32;
    match (&mut message.body, &next.body) {
        (
            ToManager::Client(FromClient::SubmitRun(run)),
            ToManager::Client(FromClient::Submit(next)),
        ) if run.first.plus(run.sizes.len() as u64).as_ref() == Some(next) => run.sizes.push(more),
        (
            ToManager::Client(FromClient::Submit(first)),
            ToManager::Client(FromClient::Submit(next)),
        ) if first.plus(1).as_ref() == Some(next) => {
            let run = Run {
                first: first.clone(),
                sizes: vec![size, more],
            };
            message.body = FromClient::SubmitRun(run.into()).into();
        }
        (
            ToManager::Worker(FromWorker::FinishedRun(ends)),
            ToManager::Worker(FromWorker::Finished(next)),
        ) if next.end == AttemptEnd::Completed => match offset(&ends.first, next) {
            Some(offset) => ends.ends.push(end(offset, next.ran, more)),
            None => return false,
        },
        (
            ToManager::Worker(FromWorker::Finished(first)),
            ToManager::Worker(FromWorker::Finished(next)),
        ) if first.end == AttemptEnd::Completed && next.end == AttemptEnd::Completed => {
            let ran = first.ran;
            let first = ReportedAttempt {
                attempt: first.attempt,
                task: first.task,
            };
            let Some(offset) = offset(&first, next) else {
                return false;
            };
            let ends = vec![end(0, ran, size), end(offset, next.ran, more)];
            message.body = FromWorker::FinishedRun(Ends { first, ends }.into()).into();
        }
        _ => return false,
    }
    message.payload.append(&next.payload);
    true
}

fn offset(first: &ReportedAttempt, next: &Finished) -> Option<u16> {
    let offset = next.task.seq.checked_sub(first.task.seq)?;
    let ended = first.plus(offset)?;
    let is_next = (ended.attempt, ended.task) == (next.attempt, next.task);
    u16::try_from(offset).ok().filter(|_| is_next)
}

fn end(offset: u16, ran: Nanos, size: u32) -> End {
    End {
        offset,
        ran: ran.0 as u32,
        size,
    }
}
