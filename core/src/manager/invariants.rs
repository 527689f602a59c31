//! What must hold between any two calls.

use super::abilities::NOBODY;
use super::session::{Peer, Purpose};
use super::tasks::State;
use super::{Alarm, Manager, PeerTimer};

impl Manager {
    /// See [`Machine::check_invariants`](crate::Machine::check_invariants).
    pub(super) fn check(&self) {
        self.queue.check_invariants();
        self.check_tasks();
        self.check_clients();
        self.check_workers();
        self.check_connections();
        self.check_classes();
        self.check_trust();
        self.check_idle();
        self.check_nested();
    }

    fn check_classes(&self) {
        self.abilities.check();
        for kind in self.abilities.kinds() {
            let workers = self.workers.iter().map(|(_, session)| session.kind);
            let same = workers.filter(|other| *other == Some(kind)).count();
            assert_eq!(same, self.abilities.workers(kind) as usize);
        }
        assert_eq!(
            self.alarms.get(Alarm::Renew).is_some(),
            self.renewal.is_due(),
            "what workers run takes effect at once, or when the alarm rings"
        );
        // Until then, classes are those of before.
        let waiting = self.queue.iter().filter(|_| !self.renewal.is_due());
        for entry in waiting {
            let name = &self.tasks[entry.task].name;
            assert_eq!(
                self.abilities.look_up(name),
                Some(entry.class),
                "tasks wait in the class of their name"
            );
            assert!(
                entry.class != NOBODY || self.unroutable.contains(name),
                "what nobody can run is watched"
            );
        }
        assert_eq!(
            self.peer_timers.get(PeerTimer::Unroutable).is_some(),
            !self.unroutable.is_empty()
        );
    }

    fn check_tasks(&self) {
        self.tasks.check_invariants();
        let (mut held_in_queue, mut ended, mut queued) = (0, 0, 0);
        for (key, task) in self.tasks.iter() {
            let watched = self.alarms.get(Alarm::Expiry(key)).is_some();
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
                self.peer_timers.get(PeerTimer::Claim(key)).is_some(),
                matches!(task.state, State::Held),
                "claims are awaited for exactly the tasks that are held"
            );
            assert_eq!(
                self.peer_timers.get(PeerTimer::Ending(key)).is_some(),
                matches!(task.state, State::Assigned { .. }) && task.ending.is_some(),
                "an answer is awaited for exactly the assigned tasks whose end was asked for"
            );
            let in_queue = self.queue.contains(key);
            assert_eq!(
                in_queue,
                matches!(task.state, State::Queued),
                "queued means in the queue"
            );
            queued += usize::from(in_queue);
            if matches!(task.state, State::Held) {
                held_in_queue += usize::from(!task.at_most_once);
            }
            if let State::Ended(end) = task.state {
                ended += 1;
                let end = &self.results[end];
                assert_eq!((end.task, end.client), (key, task.client));
                let held = task.payload.len() + end.outcome.text_bytes();
                assert_eq!(held as u64, end.bytes, "all that is held is counted");
            }
            for holder in task.holders() {
                let worker = &self.workers[holder.worker];
                let occupied = worker.attempts.get(holder.attempt);
                assert!(
                    occupied.is_some_and(|occupied| occupied.purpose == Purpose::Live(key)),
                    "an attempt that a task has out occupies its worker"
                );
            }
        }
        assert_eq!(queued, self.queue.len() + self.queue.returning());
        assert_eq!(ended, self.results.len());
        assert!(
            self.queue.len() + held_in_queue <= self.config.queue_tasks,
            "the queue is bounded"
        );
    }

    fn check_clients(&self) {
        self.results.check_invariants();
        assert_eq!(self.clients.len(), self.clients_by_id.len());
        for (key, session) in &self.clients {
            assert_eq!(self.clients_by_id.get(&session.id), Some(&key));
            assert_eq!(
                session.conn.is_none(),
                self.peer_timers.get(PeerTimer::Client(key)).is_some(),
                "a session is either connected or running out"
            );
            if let Some(conn) = session.conn {
                assert_eq!(
                    self.conns.get(conn).map(|conn| conn.peer),
                    Some(Peer::Client(key))
                );
            }
        }
    }

    fn check_workers(&self) {
        assert_eq!(self.workers.len(), self.workers_by_id.len());
        assert!(self.workers_by_name.len() <= self.workers.len());
        let (mut connected, mut capacity) = (0, 0);
        for (key, session) in &self.workers {
            assert_eq!(self.workers_by_id.get(&session.id), Some(&key));
            assert_eq!(
                session.conn.is_none(),
                self.peer_timers.get(PeerTimer::Worker(key)).is_some(),
                "a session is either connected or running out"
            );
            if let Some(conn) = session.conn {
                connected += 1;
                if !session.draining {
                    capacity += u64::from(session.capacity);
                }
                assert_eq!(
                    self.conns.get(conn).map(|conn| conn.peer),
                    Some(Peer::Worker(key))
                );
            }
            if let Some(kind) = session.kind
                && !self.stale_scores.contains(&key)
            {
                assert_eq!(
                    self.abilities.score(kind, key),
                    session.score(self.config.inner.worker_window),
                    "the router knows every score"
                );
            }
            let mut bytes = 0;
            for (attempt, occupied) in session.attempts.iter() {
                bytes += u64::from(occupied.bytes);
                match occupied.purpose {
                    Purpose::Live(task) => assert!(
                        self.tasks[task]
                            .holders()
                            .any(|holder| holder.worker == key && holder.attempt == attempt),
                        "a live attempt is known to its task"
                    ),
                    Purpose::Orphan(id) => {
                        assert!(self.orphans.contains(&(id, key, attempt)));
                    }
                    Purpose::Obsolete => {}
                }
            }
            assert_eq!(bytes, session.bytes);
        }
        assert_eq!(connected, self.connected_workers);
        assert_eq!(capacity, self.capacity);
        for &(id, worker, attempt) in &self.orphans {
            let session = &self.workers[worker];
            let running = session
                .attempts
                .get(attempt)
                .is_some_and(|occupied| occupied.purpose == Purpose::Orphan(id));
            assert!(
                running != (session.results.get(&attempt) == Some(&id)),
                "an orphan is in one place"
            );
            assert!(
                self.peer_timers
                    .get(PeerTimer::Orphan(worker, attempt))
                    .is_some()
            );
            assert!(self.find_task(id).is_none(), "an orphan's task is not here");
        }
    }

    fn check_connections(&self) {
        let count = |peer| self.conns.values().filter(|conn| conn.peer == peer).count();
        assert_eq!(count(Peer::Pending), self.pending);
        assert_eq!(count(Peer::Observer), self.observers);
        for (id, conn) in self.conns.iter() {
            assert!(
                self.peer_timers.get(PeerTimer::Silence(id)).is_some(),
                "every peer is watched"
            );
            match conn.peer {
                Peer::Client(key) => assert_eq!(self.clients[key].conn, Some(id)),
                Peer::Worker(key) => assert_eq!(self.workers[key].conn, Some(id)),
                Peer::Pending | Peer::Observer => {}
            }
        }
    }
}
