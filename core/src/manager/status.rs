//! What an operator sees.

use alloc::boxed::Box;
use alloc::string::ToString as _;
use alloc::vec::Vec;
use core::iter;

use crate::access::KeyRole;
use crate::ids::{ConnId, TaskId};
use crate::limits::{RUNNING_PAGE, STATUS_NAMES, STATUS_PAGE};
use crate::message::{Query, ToObserver, Version};
use crate::name::Name;
use crate::queue::ClientKey;
use crate::router::WorkerKey;
use crate::status::{
    ClientStatus, GroupStatus, ManagerStatus, RunningReport, RunningTask, StatusReport,
    WorkerStatus,
};
use crate::steps::step;
use crate::task::Priority;
use crate::time::{Instant, Nanos};

use super::Manager;
use super::peers::{ClientSession, Purpose, WorkerSession};
use super::placement::NOBODY;
use super::tasks::each;

/// How much a manager holds, cheap enough to be asked at every turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Tasks waiting in the bounded queue.
    pub queued: usize,
    /// Those of them that wait in runs.
    pub in_runs: usize,
    /// Tasks that came back from lost workers and wait, in room of their own.
    pub returning: usize,
    /// Tasks assigned to workers.
    pub assigned: usize,
    /// Tasks in rows: with their worker, or ended.
    pub in_rows: usize,
    /// Outcomes that wait for their client's acknowledgement.
    pub unacknowledged: usize,
}

impl Manager {
    /// What the manager holds now.
    #[must_use]
    pub fn load(&self) -> Load {
        Load {
            queued: self.placement.queue().len(),
            in_runs: self.tasks.in_runs(),
            returning: self.placement.queue().returning(),
            assigned: self.tasks.assigned(),
            in_rows: self.tasks.in_rows(),
            unacknowledged: self.results.len(),
        }
    }

    pub(super) fn on_query(&mut self, now: Instant, conn: ConnId, query: Query) {
        let access = self.connections.get(conn).map(|known| &known.access);
        let sees_all = access.is_some_and(|access| access.allows(KeyRole::Observe));
        let answer = match query {
            Query::StatusQuery { page } if sees_all => {
                ToObserver::Status(Box::new(self.status(now, page)))
            }
            Query::StatusQuery { page } => ToObserver::Status(Box::new(StatusReport {
                manager: self.summary(now),
                workers: Vec::new(),
                clients: Vec::new(),
                groups: self.groups_on(page),
                more: false,
            })),
            Query::RunningQuery { page } if sees_all => {
                ToObserver::Running(Box::new(self.running(now, page)))
            }
            Query::RunningQuery { .. } => ToObserver::Running(Box::new(RunningReport {
                tasks: Vec::new(),
                more: false,
            })),
        };
        self.send(now, conn, answer);
    }

    /// A page of the manager's state: the whole, and up to 256 workers and clients each.
    #[must_use]
    pub fn status(&self, now: Instant, page: u32) -> StatusReport {
        let skip = (page as usize).saturating_mul(STATUS_PAGE);
        let workers = self.workers.iter().inspect(|_| step());
        let workers = workers.skip(skip).take(STATUS_PAGE);
        let clients = self.clients.iter().inspect(|_| step());
        let clients = clients.skip(skip).take(STATUS_PAGE);
        StatusReport {
            manager: self.summary(now),
            workers: workers
                .map(|(key, session)| self.worker_status(now, key, session))
                .collect(),
            clients: clients
                .map(|(key, session)| self.client_status(now, key, session))
                .collect(),
            groups: self.groups_on(page),
            more: self.workers.len().max(self.clients.len()) > skip.saturating_add(STATUS_PAGE),
        }
    }

    /// A page of the attempts that are with workers.
    #[must_use]
    pub fn running(&self, now: Instant, page: u32) -> RunningReport {
        let mut skip = (page as usize).saturating_mul(RUNNING_PAGE);
        let mut left = RUNNING_PAGE;
        let mut tasks = Vec::new();
        let mut more = false;
        // Pages are of attempts, whatever they are for, so that whole workers can be passed over.
        for (_, session) in self.workers.iter() {
            step();
            let attempts = session.outstanding() as usize;
            if skip >= attempts {
                skip -= attempts;
                continue;
            }
            let shown = self.attempts_at(session).inspect(|_| step()).skip(skip);
            for (task, name, at) in shown.take(left).flatten() {
                tasks.push(RunningTask {
                    task,
                    name: name.clone(),
                    worker: session.peer.name.clone(),
                    age: now.since(at).into(),
                });
            }
            let rest = attempts - skip;
            skip = 0;
            if rest > left {
                more = true;
                break;
            }
            left -= rest;
        }
        RunningReport { tasks, more }
    }

    /// The attempts of a worker, oldest first: what each is at, and since when; nothing for those that are
    /// for no task that is here.
    fn attempts_at<'a>(
        &'a self,
        session: &'a WorkerSession,
    ) -> impl Iterator<Item = Option<(TaskId, &'a Name, Instant)>> {
        let alone = session.attempts.iter().map(|(attempt, occupied)| {
            let Purpose::Live(task) = occupied.purpose else {
                return (attempt, None);
            };
            let task = &self.tasks[task];
            (attempt, Some((task.id, &task.name, occupied.at)))
        });
        let in_rows = session.rows().flat_map(|row| {
            let row = self.tasks.row(row);
            let at = row.assigned.at;
            each(row.with_worker())
                .map(move |place| (row.attempt(place), Some((row.task(place), &row.name, at))))
        });
        let (mut alone, mut in_rows) = (alone.peekable(), in_rows.peekable());
        iter::from_fn(move || {
            let (_, task) = match (alone.peek(), in_rows.peek()) {
                (Some((one, _)), Some((other, _))) if other < one => in_rows.next(),
                (None, _) => in_rows.next(),
                (Some(_), _) => alone.next(),
            }?;
            Some(task)
        })
    }

    fn summary(&self, now: Instant) -> ManagerStatus {
        let mut queued_by_priority = [0; Priority::LEVELS];
        for (level, queued) in queued_by_priority.iter_mut().enumerate() {
            if let Some(priority) = Priority::new(level as u8) {
                *queued = self.placement.queue().len_at(priority) as u64;
            }
        }
        let oldest = self
            .placement
            .queue()
            .classes()
            .inspect(|_| step())
            .filter_map(|class| self.placement.queue().oldest(class))
            .min_by_key(|entry| entry.order);
        let oldest_wait = oldest.map_or(Nanos::ZERO, |entry| {
            now.since(self.tasks.accepted_at(entry.item)).into()
        });
        ManagerStatus {
            epoch: self.config.epoch,
            uptime: now.since(self.stage.started).into(),
            draining: self.stage.draining,
            queued: self.placement.queue().len() as u64,
            queued_by_priority,
            queued_bytes: self.placement.queue().bytes(),
            queue_size: self.config.queue_tasks as u64,
            queue_bytes: self.config.queue_bytes,
            returning: self.placement.queue().returning() as u64,
            unroutable: self.placement.queue().class_len(NOBODY) as u64,
            unclaimed: self.tasks.unclaimed() as u64,
            assigned: self.tasks.assigned() as u64,
            unacknowledged: self.results.len() as u64,
            orphans: self.orphans.len() as u64,
            waiting: self.nested.waiting(),
            oldest_wait,
            estimated_wait: self.estimated_wait(self.placement.queue().len()).into(),
            capacity: self.workers.capacity(),
            workers: self.workers.connected() as u64,
            clients: self.clients.len() as u64,
            accepted: self.totals.accepted,
            rejected: self.totals.rejected,
            displaced: self.totals.displaced,
            completed: self.totals.completed,
            not_completed: self.totals.not_completed,
            attempts_lost: self.totals.attempts_lost,
            rate: self.placement.rate(now),
        }
    }

    /// What workers run, which only the first page says.
    fn groups_on(&self, page: u32) -> Vec<GroupStatus> {
        if page > 0 {
            return Vec::new();
        }
        let mut room = STATUS_NAMES;
        let groups = self.placement.groups().keys();
        groups
            .map(|group| {
                let patterns = self.placement.groups().capabilities(group).patterns();
                let shown = &patterns[..patterns.len().min(room)];
                room -= shown.len();
                GroupStatus {
                    workers: self.placement.groups().workers(group).into(),
                    names: shown.to_vec(),
                    more: (patterns.len() - shown.len()) as u64,
                }
            })
            .collect()
    }

    fn at_the_other_end(&self, conn: Option<ConnId>) -> (Option<Name>, Option<Version>) {
        let Some(known) = conn.and_then(|conn| self.connections.get(conn)) else {
            return (None, None);
        };
        let address = known
            .from
            .and_then(|from| Name::new(&from.to_string()).ok());
        (address, Some(known.version))
    }

    fn worker_status(&self, now: Instant, key: WorkerKey, session: &WorkerSession) -> WorkerStatus {
        let candidate = self.placement.candidate(key);
        let (address, version) = self.at_the_other_end(session.peer.conn);
        let alone = session.attempts.iter().next();
        let alone = alone.map(|(attempt, occupied)| (attempt, occupied.at));
        let in_row = session.rows().next().and_then(|row| {
            let row = self.tasks.row(row);
            let place = each(row.with_worker()).next()?;
            Some((row.attempt(place), row.assigned.at))
        });
        // They are kept in order of assignment.
        let oldest = alone.into_iter().chain(in_row).min().map(|(_, at)| at);
        WorkerStatus {
            id: session.peer.id,
            name: session.peer.name.clone(),
            holder: session.peer.holder.clone(),
            connected: session.peer.conn.is_some(),
            address,
            version,
            draining: session.draining,
            doubted: candidate.is_doubted(),
            capacity: session.capacity,
            window: session.window,
            assigned: session.outstanding(),
            oldest: oldest.map_or(Nanos::ZERO, |at| now.since(at).into()),
            finished: session.finished,
            failed: session.failed,
            average: Nanos(candidate.speed().average()),
            slowness: candidate.speed().slowness_millis(),
            last_heard: self.schedule.awake(now).since(session.peer.heard).into(),
        }
    }

    fn client_status(&self, now: Instant, key: ClientKey, session: &ClientSession) -> ClientStatus {
        let (address, version) = self.at_the_other_end(session.peer.conn);
        ClientStatus {
            id: session.peer.id,
            name: session.peer.name.clone(),
            holder: session.peer.holder.clone(),
            connected: session.peer.conn.is_some(),
            address,
            version,
            queued: self.placement.queue().client_len(key) as u64,
            assigned: u64::from(self.tasks.of(key).assigned()),
            unacknowledged: self.results.of(key).unacknowledged() as u64,
            finished: self.results.of(key).finished(),
            rejected: session.rejected,
            last_heard: self.schedule.awake(now).since(session.peer.heard).into(),
        }
    }
}
