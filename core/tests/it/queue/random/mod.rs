//! The queue decides like a slow, obvious model of its rules, whatever is done to it.

mod model;

use argon_core::queue::{ClassId, ClientKey, Entry, Push, Queue, Standing, TaskKey};
use argon_core::task::Priority;
use model::{FlowKey, Model};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Push {
        flow: FlowKey,
        bytes: u32,
        standing: Standing,
    },
    /// A task that was taken out earlier comes in again, with the rank that it had.
    PushAgain {
        which: prop::sample::Index,
        standing: Standing,
    },
    Pop {
        class: ClassId,
        charge: u64,
    },
    /// Each task of the turn is charged with the next of these.
    Turn {
        class: ClassId,
        want_oldest: bool,
        charges: Vec<u64>,
    },
    PopReturning {
        class: ClassId,
    },
    /// Room is kept for a task that comes later, or given up.
    Reserve {
        bytes: u64,
    },
    Unreserve {
        which: prop::sample::Index,
    },
    /// An attempt ends.
    Correct {
        which: prop::sample::Index,
        actual: u64,
    },
    Remove {
        which: prop::sample::Index,
    },
    Block {
        client: ClientKey,
        blocked: bool,
    },
    Forget {
        client: ClientKey,
    },
}

fn client() -> impl Strategy<Value = ClientKey> {
    (0u32..5).prop_map(ClientKey)
}

fn flow() -> impl Strategy<Value = FlowKey> {
    let class = prop_oneof![4 => Just(ClassId(0)), 1 => Just(ClassId(3))];
    let priority = prop_oneof![
        4 => Just(Priority::NORMAL),
        2 => Just(Priority::HIGH),
        2 => Just(Priority::LOW),
        1 => (0u8..8).prop_map(|level| Priority::new(level).expect("a level"))
    ];
    (class, priority, client())
}

fn standing() -> impl Strategy<Value = Standing> {
    prop_oneof![
        6 => Just(Standing::Fresh),
        1 => Just(Standing::Resubmitted),
        2 => Just(Standing::Returning)
    ]
}

/// Few different times, so that equal virtual times are common.
fn nanos() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0u64),
        Just(10),
        Just(1_000),
        Just(2_000),
        Just(5_000),
        0u64..20_000
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        12 => (flow(), 0u32..30, standing())
            .prop_map(|(flow, bytes, standing)| Step::Push { flow, bytes, standing }),
        2 => (flow(), 0u32..300, standing())
            .prop_map(|(flow, bytes, standing)| Step::Push { flow, bytes, standing }),
        2 => (index(), standing())
            .prop_map(|(which, standing)| Step::PushAgain { which, standing }),
        7 => (prop_oneof![4 => Just(ClassId(0)), 1 => Just(ClassId(3))], nanos())
            .prop_map(|(class, charge)| Step::Pop { class, charge }),
        5 => (
            prop_oneof![4 => Just(ClassId(0)), 1 => Just(ClassId(3))],
            prop::bool::weighted(0.1),
            prop::collection::vec(nanos(), 1..5),
        )
            .prop_map(|(class, want_oldest, charges)| Step::Turn { class, want_oldest, charges }),
        1 => prop_oneof![Just(ClassId(0)), Just(ClassId(3))]
            .prop_map(|class| Step::PopReturning { class }),
        1 => (0u64..40).prop_map(|bytes| Step::Reserve { bytes }),
        1 => index().prop_map(|which| Step::Unreserve { which }),
        5 => (index(), nanos()).prop_map(|(which, actual)| Step::Correct { which, actual }),
        2 => index().prop_map(|which| Step::Remove { which }),
        1 => (client(), any::<bool>())
            .prop_map(|(client, blocked)| Step::Block { client, blocked }),
        1 => client().prop_map(|client| Step::Forget { client }),
    ]
}

/// Runs both side by side.
struct Pair {
    queue: Queue,
    model: Model,
    tasks: u32,
    order: u64,
    /// Charged and not corrected.
    running: Vec<(FlowKey, u64)>,
    /// Taken out, and may come again.
    away: Vec<Entry>,
}

impl Pair {
    fn new(tasks_max: usize, bytes_max: u64) -> Self {
        Self {
            queue: Queue::new(tasks_max, bytes_max),
            model: Model::new(tasks_max, bytes_max),
            tasks: 0,
            order: 0,
            running: Vec::new(),
            away: Vec::new(),
        }
    }

    fn push(&mut self, entry: Entry) {
        let before = self.model.waiting.clone();
        let pushed = self.queue.push(entry);
        assert_eq!(pushed, self.model.push(entry));
        match pushed {
            Push::Full(_) => assert_ne!(entry.standing, Standing::Returning),
            Push::Queued { displaced } => {
                for task in displaced {
                    let victim = before.iter().find(|e| e.task == task).expect("it waited");
                    assert_eq!(victim.standing, Standing::Fresh);
                    assert!(
                        victim.priority >= entry.priority,
                        "never a more important one"
                    );
                }
            }
        }
    }

    fn turn(&mut self, class: ClassId, want_oldest: bool, charges: &[u64]) {
        let expected = self.model.turn(class, want_oldest, charges.len());
        let turn = self.queue.begin_turn(class, want_oldest);
        assert_eq!(turn.is_some(), !expected.is_empty());
        let Some(mut turn) = turn else { return };
        for (entry, &charge) in expected.iter().zip(charges) {
            let flow = (entry.class, entry.priority, entry.client);
            assert_eq!(self.queue.first_of(&turn), Some(entry.task));
            assert_eq!(self.queue.take_first(&turn), Some(*entry));
            turn.charge(charge);
            self.model.charge(flow, charge);
            self.running.push((flow, charge));
        }
        if expected.len() < charges.len() {
            assert_eq!(self.queue.first_of(&turn), None);
        }
        self.queue.end_turn(turn);
        self.away.extend(expected);
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Push {
                flow: (class, priority, client),
                bytes,
                standing,
            } => {
                self.tasks += 1;
                self.order += 1;
                let task = TaskKey(self.tasks);
                let order = self.order;
                self.push(Entry {
                    task,
                    client,
                    class,
                    priority,
                    bytes,
                    order,
                    standing,
                });
            }
            Step::PushAgain { which, standing } if !self.away.is_empty() => {
                let entry = self.away.swap_remove(which.index(self.away.len()));
                self.push(Entry { standing, ..entry });
            }
            Step::Pop { class, charge } => {
                let popped = self.queue.pop(class);
                assert_eq!(popped, self.model.pop(class));
                if let Some(entry) = popped {
                    let Entry {
                        client,
                        class,
                        priority,
                        ..
                    } = entry;
                    self.queue.charge(client, class, priority, charge);
                    self.model.charge((class, priority, client), charge);
                    self.running.push(((class, priority, client), charge));
                    self.away.push(entry);
                }
            }
            Step::Turn {
                class,
                want_oldest,
                charges,
            } => self.turn(class, want_oldest, &charges),
            Step::PopReturning { class } => {
                let popped = self.queue.pop_returning(class);
                assert_eq!(popped, self.model.pop_returning(class));
                self.away.extend(popped);
            }
            Step::Reserve { bytes } => {
                assert_eq!(self.queue.reserve(bytes), self.model.reserve(bytes));
            }
            Step::Unreserve { which } if !self.model.reserved.is_empty() => {
                let which = which.index(self.model.reserved.len());
                self.queue.unreserve(self.model.reserved.swap_remove(which));
            }
            Step::Correct { which, actual } if !self.running.is_empty() => {
                let which = which.index(self.running.len());
                let (flow, charged) = self.running.swap_remove(which);
                self.queue.correct(flow.2, flow.0, flow.1, charged, actual);
                self.model.correct(flow, charged, actual);
            }
            Step::Remove { which } if !self.model.waiting.is_empty() => {
                let entry = *which.get(&self.model.waiting);
                assert_eq!(self.queue.remove(entry.task), Some(entry));
                assert_eq!(self.queue.remove(entry.task), None);
                assert_eq!(self.model.remove(entry.task), Some(entry));
                self.away.push(entry);
            }
            Step::Block { client, blocked } => {
                self.queue.set_blocked(client, blocked);
                self.model.set_blocked(client, blocked);
            }
            Step::Forget { client } if self.queue.client_len(client) == 0 => {
                self.queue.forget_client(client);
                self.model.forget_client(client);
                self.running.retain(|(flow, _)| flow.2 != client);
            }
            _ => {}
        }
    }

    fn compare(&self) {
        self.queue.check_invariants();
        let (queue, model) = (&self.queue, &self.model);
        assert_eq!(queue.len(), model.len());
        assert_eq!(queue.bytes(), model.bytes());
        assert_eq!(queue.returning(), model.waiting.len() - model.len());
        assert_eq!(queue.is_empty(), model.waiting.is_empty());
        for class in [ClassId(0), ClassId(1), ClassId(3), ClassId(9)] {
            let oldest = model.dispatchable(class).min_by_key(|e| e.order).copied();
            assert_eq!(queue.oldest(class), oldest);
            assert_eq!(queue.has_dispatchable(class), oldest.is_some());
        }
        for client in (0..6).map(ClientKey) {
            let waiting = model.waiting.iter().filter(|e| e.client == client).count();
            assert_eq!(queue.client_len(client), waiting);
        }
        for priority in (0..8).filter_map(Priority::new) {
            let waiting = model
                .waiting
                .iter()
                .filter(|e| e.priority == priority)
                .count();
            assert_eq!(queue.len_at(priority), waiting);
        }
        let sorted = |entries: Vec<&Entry>| {
            let mut tasks = entries.iter().map(|e| e.task).collect::<Vec<_>>();
            tasks.sort();
            tasks
        };
        assert_eq!(
            sorted(queue.iter().collect()),
            sorted(model.waiting.iter().collect())
        );
        assert!(model.waiting.iter().all(|e| queue.contains(e.task)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn decides_like_the_model(
        tasks_max in prop_oneof![0usize..4, 0usize..40],
        bytes_max in prop_oneof![0u64..60, 200u64..800],
        steps in prop::collection::vec(step(), 0..250),
    ) {
        let mut pair = Pair::new(tasks_max, bytes_max);
        for step in steps {
            pair.step(step);
            pair.compare();
        }
        // Whatever was done before, what is left comes out in the model's order.
        for client in (0..5).map(ClientKey) {
            pair.step(Step::Block { client, blocked: false });
        }
        while !pair.model.waiting.is_empty() {
            pair.step(Step::Pop { class: ClassId(0), charge: 3_000 });
            pair.step(Step::Pop { class: ClassId(3), charge: 1_000 });
        }
        pair.compare();
    }
}
