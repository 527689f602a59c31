//! The pool processes of a small world.

use std::collections::VecDeque;
use std::time::Duration;

use argon_core::offer::Offer;
use argon_core::payload::Payload;
use argon_core::task::ExitCause;
use argon_core::worker::{PoolInput, PoolOutput, RunEnd, WorkerInput};

use super::world::{Child, World};

impl World<'_> {
    pub(super) fn ready(&mut self, worker: usize) {
        if let Some(child) = &mut self.children[worker] {
            child.ready = true;
            let slot = child.life;
            let offer = Offer::anything();
            self.tell_worker(worker, WorkerInput::Pool(PoolInput::Ready { slot, offer }));
        }
    }

    pub(super) fn finish(&mut self, worker: usize) {
        let Some(child) = &mut self.children[worker] else {
            return;
        };
        let slot = child.life;
        let Some(job) = child.jobs.pop_front() else {
            return;
        };
        if let Some(next) = child.jobs.front() {
            self.ledger.started(usize::from(next.payload[0]));
        }
        let task = usize::from(job.payload[0]);
        self.ledger.finished(task);
        self.tell_worker(
            worker,
            WorkerInput::Pool(PoolInput::Done {
                slot,
                attempt: job.attempt,
                ran: Duration::from_micros(1_500),
                end: RunEnd::Completed,
                payload: Payload::from(vec![job.payload[0]]),
            }),
        );
    }

    pub(super) fn exit(&mut self, worker: usize, cause: ExitCause) {
        if let Some(child) = self.children[worker].take() {
            let exited = PoolInput::Exited {
                slot: child.life,
                cause,
                stderr: String::new(),
            };
            self.tell_worker(worker, WorkerInput::Pool(exited));
        }
    }

    pub(super) fn on_pool(&mut self, worker: usize, output: PoolOutput) {
        let child = &mut self.children[worker];
        match output {
            PoolOutput::Spawn { slot } => {
                assert!(child.is_none(), "one process a slot");
                *child = Some(Child {
                    life: slot,
                    ready: false,
                    dying: false,
                    jobs: VecDeque::new(),
                });
            }
            PoolOutput::Run { slot, job } => {
                let Some(child) = child.as_mut().filter(|child| child.life == slot) else {
                    return;
                };
                assert!(
                    child.ready && !child.dying,
                    "given to a process that takes it"
                );
                if child.jobs.is_empty() {
                    self.ledger.started(usize::from(job.payload[0]));
                }
                child.jobs.push_back(job);
            }
            PoolOutput::Terminate { slot }
            | PoolOutput::Kill { slot }
            | PoolOutput::Retire { slot } => {
                if let Some(child) = child.as_mut().filter(|child| child.life == slot) {
                    child.dying = true;
                }
            }
        }
    }
}
