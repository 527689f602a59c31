//! Clients against a manager with a short queue and ten times the load it can serve, in virtual
//! time: the window must keep the queue full, the rejections rare, and nobody out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use argon_core::client::{Client, ClientConfig, ClientInput, ClientOutput, SubmitError};
use argon_core::ids::{ConnId, Epoch, PeerId};
use argon_core::link::{LinkInput, LinkOutput};
use argon_core::machine::Machine;
use argon_core::message::{
    Beat, Control, FromClient, FromManager, Message, ToClient, ToManager, Version, Welcome,
};
use argon_core::name::Name;
use argon_core::rng::Rng;
use argon_core::task::{Completion, LastAttempt, Outcome, RejectReason, TaskSpec};
use argon_core::time::{Instant, Nanos};
use bytes::Bytes;

const LATENCY: Duration = Duration::from_micros(100);

enum Event {
    ToManager(usize, ToManager),
    ToClient(usize, Message<FromManager<ToClient>>),
    Served(usize, u64),
    Wake(usize),
}

/// A manager that displaces among equals as the real one does, in its simplest form.
struct Manager {
    queue_max: usize,
    servers: usize,
    service: Duration,
    queue: VecDeque<(usize, u64)>,
    queued: Vec<usize>,
    running: usize,
    served: u64,
    rejected: u64,
    received: Vec<u64>,
}

#[derive(Default, Debug)]
struct Tally {
    done: u64,
    rejected_for_good: u64,
    backlog: u64,
}

struct World {
    now: Instant,
    order: u64,
    events: BTreeMap<(Instant, u64), Event>,
    clients: Vec<Client>,
    tallies: Vec<Tally>,
    wakes: Vec<Option<Instant>>,
    manager: Manager,
}

impl World {
    fn new(
        clients: usize,
        backlog: u64,
        queue_max: usize,
        servers: usize,
        service: Duration,
    ) -> Self {
        let now = Instant::ZERO;
        let machines = (0..clients as u64)
            .map(|n| {
                let name = Name::new("client").expect("a name");
                let config = ClientConfig::new(PeerId(n), name);
                Client::new(config, Rng::from_seed(n + 1), now)
            })
            .collect();
        let mut world = Self {
            now,
            order: 0,
            events: BTreeMap::new(),
            clients: machines,
            tallies: (0..clients)
                .map(|_| Tally {
                    backlog,
                    ..Tally::default()
                })
                .collect(),
            wakes: vec![None; clients],
            manager: Manager {
                queue_max,
                servers,
                service,
                queue: VecDeque::new(),
                queued: vec![0; clients],
                running: 0,
                served: 0,
                rejected: 0,
                received: vec![0; clients],
            },
        };
        for client in 0..clients {
            world.at(now, Event::Wake(client));
        }
        world
    }

    fn at(&mut self, at: Instant, event: Event) {
        self.order += 1;
        self.events.insert((at, self.order), event);
    }

    /// Keeps the client full, settles it, and carries out what it says.
    fn turn(&mut self, n: usize) {
        let spec = TaskSpec::new(Name::new("noop").expect("a name"), Bytes::new());
        while self.tallies[n].backlog > 0 {
            match self.clients[n].submit(self.now, spec.clone()) {
                Ok(_) => self.tallies[n].backlog -= 1,
                Err(SubmitError::Full) => break,
                Err(error) => panic!("{error}"),
            }
        }
        self.clients[n].settle(self.now);
        while let Some(output) = self.clients[n].poll_output() {
            match output {
                ClientOutput::Link(LinkOutput::Connect { conn, .. }) => {
                    let input = ClientInput::Link(LinkInput::Connected { conn });
                    self.clients[n].handle_input(self.now, input);
                }
                ClientOutput::Link(LinkOutput::Send { message, .. }) => {
                    let at = self.now + LATENCY;
                    self.at(at, Event::ToManager(n, message.body));
                }
                ClientOutput::Link(LinkOutput::Close { reason, .. }) => panic!("{reason:?}"),
                ClientOutput::Deliver(deliveries) => {
                    for delivery in deliveries {
                        match delivery.outcome {
                            Outcome::Completed(_) => self.tallies[n].done += 1,
                            Outcome::Rejected { .. } => self.tallies[n].rejected_for_good += 1,
                            other => panic!("{other:?}"),
                        }
                    }
                }
                ClientOutput::StreamsBegin { .. } | ClientOutput::Stream { .. } => {
                    panic!("no task has streams")
                }
                ClientOutput::Notify(_) | ClientOutput::Stopped => {}
            }
        }
        let next = self.clients[n].poll_timeout().expect("heartbeats").at;
        if self.wakes[n] != Some(next) {
            self.wakes[n] = Some(next);
            self.at(next, Event::Wake(n));
        }
    }

    fn answer(&mut self, n: usize, body: FromManager<ToClient>) {
        let at = self.now + LATENCY;
        self.at(at, Event::ToClient(n, body.into()));
    }

    fn manage(&mut self, n: usize, body: ToManager) {
        if !matches!(body, ToManager::Hello(_) | ToManager::Ping(_)) {
            self.manager.received[n] += 1;
        }
        match body {
            ToManager::Hello(_) => self.answer(
                n,
                FromManager::Control(Control::Welcome(Welcome {
                    version: Version::FIRST,
                    epoch: Epoch(1),
                    resumed: false,
                    lease: Duration::from_secs(2).into(),
                    payload_max: 1 << 20,
                })),
            ),
            ToManager::Ping(beat) => {
                let received = self.manager.received[n];
                self.answer(
                    n,
                    FromManager::Control(Control::Pong(Beat {
                        nonce: beat.nonce,
                        received,
                    })),
                );
            }
            ToManager::Client(FromClient::Submit(submit)) => {
                self.admit(n, submit.seq);
                self.dispatch();
            }
            ToManager::Client(FromClient::AckOutcomes { .. }) => {}
            other => panic!("{other:?}"),
        }
    }

    fn admit(&mut self, n: usize, seq: u64) {
        if self.manager.queue.len() < self.manager.queue_max {
            self.manager.queue.push_back((n, seq));
            self.manager.queued[n] += 1;
            return;
        }
        let (most, &held) = self
            .manager
            .queued
            .iter()
            .enumerate()
            .max_by_key(|&(client, held)| (*held, client))
            .expect("there are clients");
        if held >= self.manager.queued[n] + 2 {
            let index = self.manager.queue.iter().rposition(|&(c, _)| c == most);
            let victim = self
                .manager
                .queue
                .remove(index.expect("it has some"))
                .expect("just found");
            self.manager.queued[most] -= 1;
            self.reject(victim.0, victim.1, RejectReason::Displaced);
            self.manager.queue.push_back((n, seq));
            self.manager.queued[n] += 1;
        } else {
            self.reject(n, seq, RejectReason::QueueFull);
        }
    }

    fn reject(&mut self, n: usize, seq: u64, reason: RejectReason) {
        self.manager.rejected += 1;
        let quarter = self.manager.queue_max as u32 / 4;
        let hint = self.manager.service * quarter / self.manager.servers as u32;
        self.answer(
            n,
            FromManager::Role(ToClient::Reject {
                seq,
                reason,
                retry_after: hint.max(Duration::from_millis(1)).into(),
                may_have_run: false,
                similar: Vec::new(),
            }),
        );
    }

    /// First in, first out.
    fn dispatch(&mut self) {
        while self.manager.running < self.manager.servers {
            let Some((n, seq)) = self.manager.queue.pop_front() else {
                return;
            };
            self.manager.queued[n] -= 1;
            self.manager.running += 1;
            let at = self.now + self.manager.service;
            self.at(at, Event::Served(n, seq));
        }
    }

    fn run_until(&mut self, end: Instant) {
        while let Some(entry) = self.events.first_entry() {
            if entry.key().0 > end {
                break;
            }
            let ((at, _), event) = entry.remove_entry();
            self.now = at;
            match event {
                Event::ToManager(n, body) => self.manage(n, body),
                Event::ToClient(n, message) => {
                    let conn = ConnId(0);
                    let input = ClientInput::Link(LinkInput::Received { conn, message });
                    self.clients[n].handle_input(at, input);
                    self.turn(n);
                }
                Event::Served(n, seq) => {
                    self.manager.running -= 1;
                    self.manager.served += 1;
                    let outcome = Outcome::Completed(Completion {
                        last: LastAttempt {
                            ran: Nanos::ZERO,
                            waited: Nanos::ZERO,
                            worker: Name::new("w1").expect("a name"),
                        },
                        charged: 0,
                    });
                    self.answer(n, FromManager::Role(ToClient::Outcome { seq, outcome }));
                    self.dispatch();
                }
                Event::Wake(n) => {
                    if self.wakes[n].is_some_and(|wake| wake != at) {
                        continue;
                    }
                    self.wakes[n] = None;
                    self.clients[n].handle_timeout(at);
                    self.turn(n);
                    let next = self.clients[n].poll_timeout().expect("heartbeats").at;
                    assert!(next > at, "a deadline that stays is a busy loop");
                }
            }
        }
        self.now = end;
        for client in &self.clients {
            client.check_invariants();
        }
    }
}

fn seconds(n: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(n)
}

/// Served and rejected between two instants.
fn steady(world: &mut World, from: u64, to: u64) -> (u64, u64) {
    world.run_until(seconds(from));
    let before = (world.manager.served, world.manager.rejected);
    world.run_until(seconds(to));
    (
        world.manager.served - before.0,
        world.manager.rejected - before.1,
    )
}

#[test]
fn a_sustained_overload_costs_few_rejections_and_no_goodput() {
    for (clients, servers, service_ms) in [(5, 4, 2), (5, 1, 1), (2, 50, 20), (20, 4, 2)] {
        let service = Duration::from_millis(service_ms);
        let mut world = World::new(clients, u64::MAX, 100, servers, service);
        let (served, rejected) = steady(&mut world, 2, 12);
        let capacity = 10 * 1000 / service_ms * servers as u64;
        assert!(
            served * 100 >= capacity * 98,
            "{clients} clients: {served} of {capacity}"
        );
        assert!(
            rejected * 10 < served,
            "{clients} clients: {rejected} rejections for {served} tasks"
        );
        let fair = served / clients as u64;
        for tally in &world.tallies {
            assert!(tally.done * 2 > fair, "starved: {tally:?}, fair {fair}");
            assert_eq!(tally.rejected_for_good, 0, "{tally:?}");
        }
        println!("{clients} clients: {served} of {capacity}, {rejected} rejections");
    }
}

#[test]
fn fifty_thousand_tasks_pass_a_queue_of_a_hundred() {
    let mut world = World::new(5, 10_000, 100, 4, Duration::from_millis(1));
    world.run_until(seconds(20));
    let done: u64 = world.tallies.iter().map(|tally| tally.done).sum();
    assert_eq!(done, 50_000, "{:?}", world.tallies);
    assert!(world.manager.rejected < 5_000, "{}", world.manager.rejected);
}

#[test]
fn more_clients_than_places_still_all_get_through() {
    let mut world = World::new(200, 50, 100, 4, Duration::from_millis(2));
    world.run_until(seconds(60));
    let done: u64 = world.tallies.iter().map(|tally| tally.done).sum();
    let lost: u64 = world
        .tallies
        .iter()
        .map(|tally| tally.rejected_for_good)
        .sum();
    assert_eq!((done, lost), (10_000, 0), "{}", world.manager.rejected);
    println!("{} rejections", world.manager.rejected);
}

#[test]
fn long_tasks_fill_all_servers_without_waiting_for_outcomes() {
    let mut world = World::new(1, 5_000, 100, 2_000, Duration::from_secs(600));
    world.run_until(seconds(5));
    assert_eq!(world.manager.running, 2_000);
}

#[test]
fn room_that_new_servers_bring_is_found_without_outcomes() {
    let mut world = World::new(1, 5_000, 100, 10, Duration::from_secs(600));
    world.run_until(seconds(5));
    assert_eq!(world.manager.running, 10);
    world.manager.servers = 1_000;
    world.dispatch();
    world.run_until(seconds(20));
    assert_eq!(world.manager.running, 1_000);
    let tried = world.manager.rejected;
    world.run_until(seconds(120));
    let idle = world.manager.rejected - tried;
    assert!(idle < 120, "{idle} tries in 100 s with all servers busy");
    let unused: BTreeSet<u64> = world
        .tallies
        .iter()
        .map(|tally| tally.rejected_for_good)
        .collect();
    assert_eq!(unused, BTreeSet::from([0]));
}
