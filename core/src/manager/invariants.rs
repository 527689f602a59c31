//! What must hold between any two calls: each owner's own, and what two of them say of the same.

use crate::ids::TaskId;

use super::Manager;
use super::peers::{Peer, Purpose};
use super::schedule::{Alarm, PeerTimer};
use super::tasks::{TaskState, each};

impl Manager {
    /// See [`Machine::check_invariants`](crate::Machine::check_invariants).
    pub(super) fn check(&self) {
        self.connections.check_invariants();
        self.clients
            .check_invariants(|client| self.tasks.of(client).count() == 0);
        let in_row = |row| {
            let row = self.tasks.row(row);
            let bytes = each(row.with_worker()).map(|place| u64::from(row.bytes(place)));
            (row.with_worker().count_ones(), bytes.sum())
        };
        self.workers
            .check_invariants(|worker| self.orphans.results_at(worker) > 0, in_row);
        let queue = self.placement.queue();
        self.tasks
            .check_invariants(|run| queue.places(run).map(|(offset, _)| offset).collect());
        self.results.check_invariants();
        self.orphans.check_invariants();
        self.placement.check_invariants(&self.tasks, &self.workers);
        self.nested.check_invariants(&self.clients);
        let is_here = |id: TaskId| self.find_task(id).is_some();
        let is_open = |conn| self.connections.get(conn).is_some();
        self.streams.check_invariants(is_here, is_open);
        self.check_tasks();
        self.check_rows();
        self.check_clients();
        self.check_workers();
        self.check_orphans();
        self.check_connections();
        assert_eq!(
            self.schedule.alarms.get(Alarm::Renew).is_some(),
            self.placement.is_renewal_due(),
            "what workers run takes effect at once, or when the alarm rings"
        );
        assert_eq!(
            self.schedule.peers.get(PeerTimer::Unroutable).is_some(),
            self.placement.next_unroutable().is_some(),
            "what nobody can run is watched"
        );
    }

    fn check_tasks(&self) {
        let (mut held_in_queue, mut ended, mut queued) = (0, 0, 0);
        for (key, task) in self.tasks.iter() {
            let ranked = task.ranked(key);
            let watched = self.schedule.alarms.get(Alarm::Expiry(ranked)).is_some();
            let due = task.deadline().is_some() && !task.is_ended();
            assert!(
                due || !watched,
                "only deadlines of living tasks are watched"
            );
            assert!(
                !due || watched || task.ending.is_some(),
                "every such deadline is watched"
            );
            assert_eq!(
                self.schedule.peers.get(PeerTimer::Claim(ranked)).is_some(),
                matches!(task.state, TaskState::Unclaimed),
                "claims are awaited for exactly the tasks that wait for one"
            );
            assert_eq!(
                self.schedule.peers.get(PeerTimer::Ending(ranked)).is_some(),
                matches!(task.state, TaskState::Assigned { .. }) && task.ending.is_some(),
                "an answer is awaited for exactly the assigned tasks whose end was asked for"
            );
            let in_queue = self.placement.queue().contains(key);
            assert_eq!(
                in_queue,
                matches!(task.state, TaskState::Queued),
                "queued means in the queue"
            );
            queued += usize::from(in_queue);
            if matches!(task.state, TaskState::Unclaimed) {
                held_in_queue += usize::from(!task.options.at_most_once);
            }
            if let TaskState::Ended(end) = task.state {
                ended += 1;
                let end = &self.results[end];
                assert_eq!((end.task, end.client), (key, task.client));
                let held = task.payload.len() + end.outcome.text_bytes();
                assert_eq!(held as u64, end.bytes, "all that is held is counted");
            }
            for assignee in task.assignees() {
                let worker = &self.workers[assignee.worker];
                let occupied = worker.attempts.get(assignee.attempt);
                assert!(
                    occupied.is_some_and(|occupied| occupied.purpose == Purpose::Live(key)),
                    "an attempt that a task has out occupies its worker"
                );
            }
        }
        assert_eq!(
            queued + self.tasks.in_runs(),
            self.placement.queue().len() + self.placement.queue().returning()
        );
        let in_rows = self.tasks.all_rows().map(|(_, row)| row.ended());
        ended += in_rows
            .map(|places| places.count_ones() as usize)
            .sum::<usize>();
        assert_eq!(ended, self.results.len());
        assert!(
            self.placement.queue().len() + held_in_queue <= self.config.queue_tasks,
            "the queue is bounded"
        );
    }

    fn check_rows(&self) {
        let mut with_workers = 0;
        for (key, row) in self.tasks.all_rows() {
            let with = row.ended.iter().map(|(places, with)| (*places, *with));
            for (places, with) in with {
                assert_eq!(
                    places,
                    self.results.left_in_row(with),
                    "a row knows its outcomes"
                );
            }
            if row.with_worker() != 0 {
                with_workers += 1;
                let worker = &self.workers[row.assigned.first.worker];
                let found = worker.row_around(row.assigned.first.attempt);
                assert_eq!(found, Some((key, 0)), "a worker knows its rows");
            }
        }
        let rows = self
            .workers
            .iter()
            .map(|(_, session)| session.rows().count());
        assert_eq!(with_workers, rows.sum::<usize>());
    }

    fn check_clients(&self) {
        for (key, session) in self.clients.iter() {
            assert_eq!(
                session.peer.conn.is_none(),
                self.schedule.peers.get(PeerTimer::Client(key)).is_some(),
                "a session is either connected or running out"
            );
            if let Some(conn) = session.peer.conn {
                let there = self.connections.get(conn).map(|conn| conn.peer);
                assert_eq!(there, Some(Peer::Client(key)));
            }
        }
    }

    fn check_workers(&self) {
        for (key, session) in self.workers.iter() {
            assert_eq!(
                session.peer.conn.is_none(),
                self.schedule.peers.get(PeerTimer::Worker(key)).is_some(),
                "a session is either connected or running out"
            );
            assert_eq!(
                self.placement.is_resting(key),
                self.schedule.alarms.get(Alarm::Trial(key)).is_some(),
                "a worker that gets nothing is tried again"
            );
            if let Some(conn) = session.peer.conn {
                let there = self.connections.get(conn).map(|conn| conn.peer);
                assert_eq!(there, Some(Peer::Worker(key)));
            }
            for (attempt, occupied) in session.attempts.iter() {
                if let Purpose::Live(task) = occupied.purpose {
                    assert!(
                        self.tasks[task]
                            .assignees()
                            .any(|assignee| assignee.worker == key && assignee.attempt == attempt),
                        "a live attempt is known to its task"
                    );
                }
            }
        }
    }

    fn check_orphans(&self) {
        let mut running = 0;
        for (id, assignee) in self.orphans.iter() {
            let attempts = &self.workers[assignee.worker].attempts;
            let occupied = attempts.get(assignee.attempt);
            let is_running =
                occupied.is_some_and(|occupied| occupied.purpose == Purpose::Orphan(id));
            assert!(
                is_running != self.orphans.has_result(assignee),
                "an orphan is in one place"
            );
            running += usize::from(is_running);
            let timer = PeerTimer::Orphan(assignee.worker, assignee.attempt);
            assert!(self.schedule.peers.get(timer).is_some());
            let is_here = self.find_task(id).is_some();
            assert!(!is_here, "an orphan's task is not here");
        }
        let attempts = self
            .workers
            .iter()
            .flat_map(|(_, session)| session.attempts.values());
        let marked = attempts.filter(|occupied| matches!(occupied.purpose, Purpose::Orphan(_)));
        assert_eq!(marked.count(), running, "every orphan is known");
    }

    fn check_connections(&self) {
        for (id, conn) in self.connections.iter() {
            assert!(
                self.schedule.peers.get(PeerTimer::Silence(id)).is_some(),
                "every peer is watched"
            );
            match conn.peer {
                Peer::Client(key) => assert_eq!(self.clients[key].peer.conn, Some(id)),
                Peer::Worker(key) => assert_eq!(self.workers[key].peer.conn, Some(id)),
                Peer::Pending | Peer::Observer => {}
            }
        }
    }
}
