//! Random steps of a client against two small model managers that accept, refuse, displace, run,
//! forget, restart, cut and talk nonsense. After each step the invariants hold; at the end the
//! managers behave, and then every task has ended exactly once and honestly.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use argon_core::client::{Client, ClientConfig, ClientInput, ClientOutput, Delivery};
use argon_core::ids::{ConnId, Epoch, PeerId};
use argon_core::link::{LinkInput, LinkOutput};
use argon_core::machine::Machine;
use argon_core::message::{
    Beat, Control, FromClient, FromManager, Hello, Message, Submit, ToClient, ToManager, Version,
    Welcome,
};
use argon_core::name::Name;
use argon_core::rng::Rng;
use argon_core::task::{Completion, LastAttempt, Outcome, Priority, RejectReason, TaskSpec};
use argon_core::time::{Instant, Nanos};
use proptest::prelude::*;

const MANAGERS: usize = 2;
const PAYLOAD_MAX: usize = 64;

#[derive(Clone, Debug)]
enum Step {
    Submit {
        priority: u8,
        deadline_ms: Option<u16>,
        retries: Option<u32>,
        bytes: u8,
    },
    Cancel(u8),
    Pass(u16),
    Open,
    Manage(u8),
    Receive(u8),
    Start(u8),
    Finish(u8),
    Displace(u8),
    Refuse(Option<RejectReason>),
    Cut,
    Forget,
    Restart,
    Nonsense(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let reason = prop_oneof![
        Just(RejectReason::QueueFull),
        Just(RejectReason::ClientFull),
        Just(RejectReason::TooSlow),
        Just(RejectReason::Draining),
        Just(RejectReason::NoWorkers),
        Just(RejectReason::TooLarge),
    ];
    prop_oneof![
        8 => (0..8_u8, prop::option::weighted(0.3, 0..5_000_u16), prop::option::of(0..4_u32),
              0..80_u8)
            .prop_map(|(priority, deadline_ms, retries, bytes)| Step::Submit {
                priority, deadline_ms, retries, bytes,
            }),
        2 => any::<u8>().prop_map(Step::Cancel),
        4 => (0..1_500_u16).prop_map(Step::Pass),
        4 => Just(Step::Open),
        8 => (1..20_u8).prop_map(Step::Manage),
        8 => (1..20_u8).prop_map(Step::Receive),
        5 => any::<u8>().prop_map(Step::Start),
        4 => any::<u8>().prop_map(Step::Finish),
        2 => any::<u8>().prop_map(Step::Displace),
        2 => prop::option::of(reason).prop_map(Step::Refuse),
        2 => Just(Step::Cut),
        1 => Just(Step::Forget),
        1 => Just(Step::Restart),
        1 => any::<u8>().prop_map(Step::Nonsense),
    ]
}

#[derive(Debug)]
struct Known {
    may_have_run: bool,
    outcome: Option<Outcome>,
}

#[derive(Debug)]
struct Manager {
    epoch: u64,
    /// Whether the client has said anything in this session. If not, it may not have read that
    /// an earlier one ended, and must be told again.
    established: bool,
    floor: u64,
    known: BTreeMap<u64, Known>,
    refusing: Option<RejectReason>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Conn {
    None,
    Dialled(ConnId, usize),
    Open(ConnId, usize),
}

struct World {
    client: Client,
    now: Instant,
    managers: Vec<Manager>,
    conn: Conn,
    to_manager: VecDeque<ToManager>,
    to_client: VecDeque<FromManager<ToClient>>,
    received: u64,
    /// Whether the manager has let the client in on this connection.
    greeted: bool,
    epochs: u64,
    accepted: BTreeSet<u64>,
    delivered: BTreeMap<u64, Outcome>,
    /// Every task that ever started anywhere.
    started: BTreeSet<u64>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut config = ClientConfig::new(PeerId(1), Name::new("model").expect("a name"));
        config.addresses = MANAGERS;
        config.tasks = 40;
        config.bytes = 1_000;
        config.retries = Some(3);
        let manager = |epoch| Manager {
            epoch,
            established: false,
            floor: 0,
            known: BTreeMap::new(),
            refusing: None,
        };
        Self {
            client: Client::new(config, Rng::from_seed(seed), Instant::ZERO),
            now: Instant::ZERO,
            managers: (0..MANAGERS as u64).map(manager).collect(),
            conn: Conn::None,
            to_manager: VecDeque::new(),
            to_client: VecDeque::new(),
            received: 0,
            greeted: false,
            epochs: MANAGERS as u64,
            accepted: BTreeSet::new(),
            delivered: BTreeMap::new(),
            started: BTreeSet::new(),
        }
    }

    fn settle(&mut self) {
        self.client.settle(self.now);
        self.client.check_invariants();
        while let Some(output) = self.client.poll_output() {
            match output {
                ClientOutput::Link(LinkOutput::Connect { conn, address }) => {
                    assert_eq!(self.conn, Conn::None, "one connection at a time");
                    self.conn = Conn::Dialled(conn, address);
                }
                ClientOutput::Link(LinkOutput::Send { conn, message }) => {
                    assert!(matches!(self.conn, Conn::Open(ours, _) if ours == conn));
                    self.to_manager.push_back(message.body);
                }
                ClientOutput::Link(LinkOutput::Close { .. }) => self.drop_connection(),
                ClientOutput::Deliver(deliveries) => {
                    for Delivery { seq, outcome, .. } in deliveries {
                        assert!(self.accepted.contains(&seq));
                        let earlier = self.delivered.insert(seq, outcome);
                        assert_eq!(earlier, None, "task {seq} ended twice");
                    }
                }
                ClientOutput::StreamsBegin { .. } | ClientOutput::Stream { .. } => {
                    panic!("no task has streams")
                }
                ClientOutput::Notify(_) => {}
                ClientOutput::Stopped => panic!("nobody asked for it"),
            }
        }
    }

    fn drop_connection(&mut self) {
        self.conn = Conn::None;
        self.greeted = false;
        self.to_manager.clear();
        self.to_client.clear();
    }

    fn link(&mut self, input: LinkInput<ToClient>) {
        self.client.handle_input(self.now, ClientInput::Link(input));
        self.settle();
    }

    fn cut(&mut self) {
        let (Conn::Open(conn, _) | Conn::Dialled(conn, _)) = self.conn else {
            return;
        };
        self.drop_connection();
        self.link(LinkInput::Closed { conn });
    }

    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(next) = self.client.poll_timeout().filter(|next| next.at <= end) {
            self.now = self.now.max(next.at);
            self.client.handle_timeout(self.now);
            self.settle();
            let after = self.client.poll_timeout();
            assert!(after.is_none_or(|after| after.at > self.now), "{after:?}");
        }
        self.now = end;
    }

    fn open(&mut self) {
        if let Conn::Dialled(conn, address) = self.conn {
            self.conn = Conn::Open(conn, address);
            self.received = 0;
            self.link(LinkInput::Connected { conn });
        }
    }

    fn manage(&mut self) {
        let Conn::Open(_, address) = self.conn else {
            return;
        };
        let Some(body) = self.to_manager.pop_front() else {
            return;
        };
        if !matches!(body, ToManager::Hello(_) | ToManager::Ping(_)) {
            self.received += 1;
        }
        let manager = &mut self.managers[address];
        let answers = &mut self.to_client;
        manager.established |= !matches!(body, ToManager::Hello(_));
        match body {
            ToManager::Hello(hello) => {
                self.greeted = true;
                manager.hello(&hello, answers);
            }
            ToManager::Ping(beat) => answers.push_back(FromManager::Control(Control::Pong(Beat {
                nonce: beat.nonce,
                received: self.received,
            }))),
            ToManager::Client(FromClient::Submit(submit)) => manager.submit(&submit, answers),
            ToManager::Client(FromClient::Cancel { seq }) => {
                if let Some(known) = manager.known.get_mut(&seq)
                    && known.outcome.is_none()
                {
                    let outcome = Outcome::Cancelled {
                        may_have_run: known.may_have_run,
                    };
                    known.outcome = Some(outcome.clone());
                    answers.push_back(FromManager::Role(ToClient::Outcome { seq, outcome }));
                }
            }
            ToManager::Client(FromClient::Resume { seqs }) => {
                let known = &manager.known;
                let seqs: Vec<_> = seqs
                    .into_iter()
                    .filter(|seq| !known.contains_key(seq))
                    .collect();
                if !seqs.is_empty() {
                    answers.push_back(FromManager::Role(ToClient::Unknown { seqs }));
                }
            }
            ToManager::Client(FromClient::AckOutcomes { floor, seqs }) => {
                assert!(floor >= manager.floor, "floors rise");
                assert!(seqs.iter().all(|&seq| seq >= floor));
                manager.floor = floor;
                manager.known.retain(|seq, known| {
                    *seq >= floor && !(known.outcome.is_some() && seqs.contains(seq))
                });
            }
            ToManager::Goodbye => manager.forget(),
            other => panic!("a client says {other:?}"),
        }
    }

    fn receive(&mut self) {
        let Conn::Open(conn, _) = self.conn else {
            return;
        };
        if let Some(body) = self.to_client.pop_front() {
            let message = Message::from(body);
            self.link(LinkInput::Received { conn, message });
        }
    }

    /// The n-th task without an outcome, of the manager that `n` picks.
    fn pick(&self, n: u8) -> Option<(usize, u64)> {
        let address = usize::from(n) % MANAGERS;
        let live: Vec<u64> = self.managers[address]
            .known
            .iter()
            .filter(|(_, known)| known.outcome.is_none())
            .map(|(&seq, _)| seq)
            .collect();
        let index = (usize::from(n) / MANAGERS).checked_rem(live.len())?;
        Some((address, live[index]))
    }

    fn tell(&mut self, address: usize, body: FromManager<ToClient>) {
        // Before its welcome a client is told nothing.
        if self.greeted && matches!(self.conn, Conn::Open(_, at) if at == address) {
            self.to_client.push_back(body);
        }
    }

    fn start(&mut self, n: u8) {
        if let Some((address, seq)) = self.pick(n) {
            let known = self.managers[address].known.get_mut(&seq);
            known.expect("picked").may_have_run = true;
            self.started.insert(seq);
        }
    }

    fn finish(&mut self, n: u8) {
        self.start(n);
        if let Some((address, seq)) = self.pick(n) {
            let outcome = Outcome::Completed(Completion {
                last: LastAttempt {
                    ran: Nanos(1),
                    waited: Nanos(1),
                    worker: Name::new("w1").expect("a name"),
                },
                charged: 0,
            });
            let known = self.managers[address].known.get_mut(&seq);
            known.expect("picked").outcome = Some(outcome.clone());
            self.tell(
                address,
                FromManager::Role(ToClient::Outcome { seq, outcome }),
            );
        }
    }

    fn displace(&mut self, n: u8) {
        let Some((address, seq)) = self.pick(n) else {
            return;
        };
        if !self.managers[address].known[&seq].may_have_run {
            self.managers[address].known.remove(&seq);
            self.tell(address, reject(seq, RejectReason::Displaced, false));
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Submit {
                priority,
                deadline_ms,
                retries,
                bytes,
            } => {
                let name = Name::new("noop").expect("a name");
                let mut spec = TaskSpec::new(name, vec![0; usize::from(bytes)]);
                spec.priority = Priority::new(priority).expect("a level");
                spec.deadline = deadline_ms.map(|ms| Duration::from_millis(ms.into()));
                spec.retries = retries;
                if let Ok(id) = self.client.submit(self.now, spec) {
                    assert!(self.accepted.insert(id.seq));
                }
                self.settle();
            }
            Step::Cancel(n) => {
                let seq = self.accepted.len().saturating_sub(usize::from(n) / 8 + 1) as u64;
                self.client
                    .handle_input(self.now, ClientInput::Cancel { seq });
                self.settle();
            }
            Step::Pass(ms) => self.pass(Duration::from_millis(ms.into())),
            Step::Open => self.open(),
            Step::Manage(n) => (0..n).for_each(|_| self.manage()),
            Step::Receive(n) => (0..n).for_each(|_| self.receive()),
            Step::Start(n) => self.start(n),
            Step::Finish(n) => self.finish(n),
            Step::Displace(n) => self.displace(n),
            Step::Refuse(reason) => {
                if let Conn::Open(_, address) = self.conn {
                    self.managers[address].refusing = reason;
                }
            }
            Step::Cut => self.cut(),
            Step::Forget => {
                // A session expires only while its client is away.
                self.cut();
                self.managers.iter_mut().for_each(Manager::forget);
            }
            Step::Restart => {
                self.cut();
                for manager in &mut self.managers {
                    manager.forget();
                    manager.epoch = self.epochs;
                    self.epochs += 1;
                }
            }
            Step::Nonsense(n) => {
                let stranger = 1_000_000 + u64::from(n);
                let body = match n % 6 {
                    0 => FromManager::Misdirected,
                    1 => FromManager::Role(ToClient::Unknown {
                        seqs: vec![stranger],
                    }),
                    2 => reject(stranger, RejectReason::QueueFull, true),
                    3 => FromManager::Role(ToClient::Outcome {
                        seq: stranger,
                        outcome: Outcome::Expired { may_have_run: true },
                    }),
                    4 => FromManager::Control(Control::Pong(Beat {
                        nonce: 1,
                        received: u64::MAX,
                    })),
                    _ => FromManager::Role(ToClient::Unknown { seqs: Vec::new() }),
                };
                if matches!(self.conn, Conn::Open(..)) {
                    self.to_client.push_back(body);
                }
            }
        }
    }

    /// Everybody behaves, and runs what there is.
    fn finish_all(&mut self) {
        for manager in &mut self.managers {
            manager.refusing = None;
        }
        for _ in 0..2_000 {
            if self.client.held() == 0 {
                return;
            }
            self.open();
            while !self.to_manager.is_empty() || !self.to_client.is_empty() {
                (0..self.to_manager.len()).for_each(|_| self.manage());
                (0..self.to_client.len()).for_each(|_| self.receive());
            }
            if let Conn::Open(_, address) = self.conn {
                while self.pick(address as u8).is_some() {
                    self.finish(address as u8);
                }
            }
            (0..self.to_client.len()).for_each(|_| self.receive());
            self.pass(Duration::from_millis(100));
        }
        panic!(
            "{} tasks never ended: {:?}",
            self.client.held(),
            self.client
        );
    }

    fn check_laws(&self) {
        let ended: BTreeSet<u64> = self.delivered.keys().copied().collect();
        assert_eq!(ended, self.accepted, "exactly one outcome for each");
        for (seq, outcome) in &self.delivered {
            let safe = matches!(
                outcome,
                Outcome::Rejected { .. }
                    | Outcome::Expired {
                        may_have_run: false
                    }
                    | Outcome::Cancelled {
                        may_have_run: false
                    }
            );
            let started = self.started.contains(seq);
            assert!(
                !(safe && started),
                "task {seq} ran, but ended as {outcome:?}"
            );
            let done = matches!(outcome, Outcome::Completed(_));
            assert!(started || !done, "task {seq} completed without running");
        }
    }
}

impl Manager {
    fn forget(&mut self) {
        self.established = false;
        self.floor = 0;
        self.known.clear();
    }

    fn hello(&mut self, hello: &Hello, answers: &mut VecDeque<FromManager<ToClient>>) {
        let resumed = self.established && hello.session == Some(Epoch(self.epoch));
        answers.push_back(FromManager::Control(Control::Welcome(Welcome {
            version: Version::FIRST,
            epoch: Epoch(self.epoch),
            resumed,
            lease: Duration::from_secs(2).into(),
            payload_max: PAYLOAD_MAX as u32,
        })));
        for (&seq, known) in &self.known {
            if let Some(outcome) = known.outcome.clone() {
                answers.push_back(FromManager::Role(ToClient::Outcome { seq, outcome }));
            }
        }
    }

    fn submit(&mut self, submit: &Submit, answers: &mut VecDeque<FromManager<ToClient>>) {
        let seq = submit.seq;
        assert!(seq >= self.floor, "finished, but submitted");
        if let Some(known) = self.known.get_mut(&seq) {
            known.may_have_run |= submit.may_have_run;
            return;
        }
        if let Some(reason) = self.refusing {
            answers.push_back(reject(seq, reason, submit.may_have_run));
            return;
        }
        let known = Known {
            may_have_run: submit.may_have_run,
            outcome: None,
        };
        self.known.insert(seq, known);
    }
}

fn reject(seq: u64, reason: RejectReason, may_have_run: bool) -> FromManager<ToClient> {
    FromManager::Role(ToClient::Reject {
        seq,
        reason,
        retry_after: Duration::from_millis(5).into(),
        may_have_run,
        similar: Vec::new(),
    })
}

fn run(seed: u64, steps: Vec<Step>) -> World {
    let mut world = World::new(seed);
    world.pass(Duration::ZERO);
    for step in steps {
        world.take(step);
    }
    world.finish_all();
    world.check_laws();
    world
}

/// Leaving a manager is due by time, and makes deadlines due that only the manager watched: all of
/// it is done in the one wake-up, or the driver would wake up for what is past.
#[test]
fn a_manager_left_long_after_a_deadline_leaves_nothing_overdue() {
    let submit = |deadline_ms| Step::Submit {
        priority: 0,
        deadline_ms,
        retries: None,
        bytes: 0,
    };
    let talk = [Step::Manage(19), Step::Receive(19)];
    let mut steps = vec![Step::Open];
    steps.extend(talk.clone());
    steps.push(submit(Some(1)));
    for _ in 0..3 {
        steps.extend(talk.clone());
        steps.push(Step::Pass(700));
    }
    steps.extend([Step::Refuse(Some(RejectReason::NoWorkers)), submit(None)]);
    steps.extend(talk);
    steps.push(Step::Pass(20));
    run(0, steps);
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(512)
    })]

    #[test]
    fn whatever_happens_every_task_ends_once_and_honestly(
        seed: u64,
        steps in prop::collection::vec(step(), 0..300),
    ) {
        run(seed, steps);
    }

    #[test]
    fn the_same_steps_give_the_same_story(
        seed: u64,
        steps in prop::collection::vec(step(), 0..100),
    ) {
        let first = run(seed, steps.clone());
        let second = run(seed, steps);
        prop_assert_eq!(first.now, second.now);
        prop_assert_eq!(first.delivered, second.delivered);
        prop_assert_eq!(format!("{:?}", first.client), format!("{:?}", second.client));
    }
}
