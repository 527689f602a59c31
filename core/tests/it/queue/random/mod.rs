//! The queue decides like a slow, obvious model of its rules, whatever is done to it.

mod model;

use std::collections::BTreeMap;
use std::{iter, mem};

use argon_core::queue::{
    ClassId, ClientKey, Entry, First, Item, NewRun, Push, Queue, RunKey, Standing, Taken,
    TakenOfRun, TakenRow, TaskKey,
};
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
    /// Tasks of so many bytes come together.
    PushRun {
        flow: FlowKey,
        sizes: Vec<u32>,
    },
    /// All that waits in a class is in the other one now.
    SetClass {
        which: prop::sample::Index,
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
        5 => (flow(), prop::collection::vec(0u32..30, 1..25))
            .prop_map(|(flow, sizes)| Step::PushRun { flow, sizes }),
        1 => index().prop_map(|which| Step::SetClass { which }),
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
    /// The tasks of each run that waits, and the payloads of those that are left.
    runs: BTreeMap<RunKey, (Vec<Entry>, Vec<u8>)>,
}

/// Runs of fewer tasks are dissolved.
const FEW: usize = 3;
/// What each task takes of the bound in bytes beside its payload.
const BESIDE: u32 = 2;

impl Pair {
    fn new(tasks_max: usize, bytes_max: u64) -> Self {
        Self {
            queue: Queue::new(tasks_max, bytes_max),
            model: Model::new(tasks_max, bytes_max),
            tasks: 0,
            order: 0,
            running: Vec::new(),
            away: Vec::new(),
            runs: BTreeMap::new(),
        }
    }

    /// Which task was taken out. One of a run is told by its payload too.
    fn resolve(&mut self, taken: Taken) -> Entry {
        match taken {
            Taken::Task(entry) => entry,
            Taken::OfRun(taken) => self.resolve_of_run(&taken),
        }
    }

    fn resolve_of_run(&mut self, taken: &TakenOfRun) -> Entry {
        let (entries, payload) = &self.runs[&taken.run];
        let entry = entries[usize::from(taken.offset)];
        assert_eq!(taken.order, entry.order);
        let own = vec![entry.task.0 as u8; (entry.bytes - BESIDE) as usize];
        assert_eq!(payload[taken.payload.clone()], own);
        if taken.is_over {
            self.runs.remove(&taken.run);
        }
        entry
    }

    /// Which tasks were taken out together.
    fn resolve_row(&mut self, taken: &TakenRow) -> Vec<Entry> {
        let sizes = taken.sizes();
        let mut start = taken.first.payload.start;
        let each = (0..).zip(&sizes).map(|(by, size)| {
            let end = start + *size as usize;
            TakenOfRun {
                offset: taken.first.offset + by,
                order: taken.first.order + u64::from(by),
                payload: mem::replace(&mut start, end)..end,
                is_over: taken.first.is_over && usize::from(by) + 1 == sizes.len(),
                ..taken.first.clone()
            }
        });
        let each: Vec<TakenOfRun> = each.collect();
        assert_eq!(start, taken.first.payload.end);
        each.iter()
            .map(|taken| self.resolve_of_run(taken))
            .collect()
    }

    /// Every run takes no more than so many times what is in it, and has so many tasks.
    fn tidy(&mut self) {
        let runs: Vec<RunKey> = self.runs.keys().copied().collect();
        for run in runs {
            if let Some(rest) = self.queue.rest_of(run, FEW) {
                let rest = rest.iter().map(|taken| self.resolve_of_run(taken).task);
                let tasks: Vec<TaskKey> = rest.collect();
                self.queue.dissolve(run, &tasks);
            }
        }
        for (run, (entries, payload)) in &mut self.runs {
            if let Some(kept) = self.queue.pack(*run) {
                let kept = kept.into_iter().map(|part| &payload[part]);
                *payload = kept.flatten().copied().collect();
            }
            let left = self.queue.places(*run);
            let left = left.map(|(offset, _)| entries[usize::from(offset)].bytes - BESIDE);
            let left: u32 = left.sum();
            assert!(payload.len() <= (2 * left as usize).max(256));
        }
    }

    fn push_run(&mut self, (class, priority, client): FlowKey, sizes: &[u32]) {
        let fits = self.queue.room_for(BESIDE, sizes);
        let mut entries = Vec::new();
        let mut payload = Vec::new();
        let mut ends = Vec::new();
        let order = self.order + 1;
        for size in &sizes[..fits] {
            self.tasks += 1;
            self.order += 1;
            let entry = Entry {
                task: TaskKey(self.tasks),
                client,
                class,
                priority,
                bytes: size + BESIDE,
                order: self.order,
                standing: Standing::Fresh,
            };
            assert_eq!(self.model.push(entry), Ok(Vec::new()), "it has room");
            payload.extend(vec![self.tasks as u8; *size as usize]);
            ends.push(payload.len() as u32);
            entries.push(entry);
        }
        if let Some(size) = sizes.get(fits) {
            let next = u64::from(size + BESIDE);
            assert!(!self.queue.has_room(next) || !entries.is_empty());
        }
        if entries.is_empty() {
            return;
        }
        let new = NewRun {
            client,
            class,
            priority,
            order,
            beside: BESIDE,
            ends,
        };
        let run = self.queue.push_run(new);
        let before = self.runs.insert(run, (entries, payload));
        assert!(before.is_none());
    }

    fn push(&mut self, entry: Entry) {
        let expected = self.model.push(entry);
        match self.queue.push(entry) {
            Push::Full(reason) => {
                assert_eq!(expected, Err(reason));
                assert_ne!(entry.standing, Standing::Returning);
            }
            Push::Queued { displaced } => {
                let victims: Vec<Entry> = displaced
                    .into_iter()
                    .map(|taken| self.resolve(taken))
                    .collect();
                assert_eq!(expected, Ok(victims.clone()));
                for victim in victims {
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
        let mut left = expected.iter().zip(charges);
        while let Some((entry, &charge)) = left.next() {
            let flow = (entry.class, entry.priority, entry.client);
            match self.queue.first_of(&turn) {
                Some(First::Task(task)) => assert_eq!(task, entry.task),
                // Many go together as well as one after the other.
                Some(First::OfRun(run, _)) if charge % 2 == 0 => {
                    let tasks = self.queue.row_of(run, 1 + left.len()).1.len();
                    let taken = self.queue.take_row(&turn, run, tasks).expect("they wait");
                    turn.charge_row(charge, tasks as u32);
                    let others = left.by_ref().take(tasks - 1).map(|(entry, _)| entry);
                    let entries: Vec<Entry> = iter::once(entry).chain(others).copied().collect();
                    assert_eq!(self.resolve_row(&taken), entries);
                    for _ in entries {
                        self.model.charge(flow, charge);
                        self.running.push((flow, charge));
                    }
                    continue;
                }
                Some(First::OfRun(_, bytes)) => assert_eq!(bytes, entry.bytes),
                None => panic!("{entry:?} waits"),
            }
            let taken = self.queue.take_first(&turn).expect("it waits");
            assert_eq!(self.resolve(taken), *entry);
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
            Step::PushRun { flow, sizes } => self.push_run(flow, &sizes),
            Step::SetClass { which } if !self.model.waiting.is_empty() => {
                let entry = *which.get(&self.model.waiting);
                self.set_class(entry, ClassId(3 - entry.class.0));
            }
            Step::PushAgain { which, standing } if !self.away.is_empty() => {
                let entry = self.away.swap_remove(which.index(self.away.len()));
                self.push(Entry { standing, ..entry });
            }
            Step::Pop { class, charge } => {
                self.turn(class, false, &[charge]);
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
                assert_eq!(self.remove(entry), Some(entry));
                assert_eq!(self.remove(entry), None);
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

    /// The run in which it waits, and its offset.
    fn run_of(&self, entry: Entry) -> Option<(RunKey, u16)> {
        let mut runs = self.runs.iter();
        runs.find_map(|(run, (entries, _))| {
            let offset = entries.iter().position(|e| e.task == entry.task)? as u16;
            let is_left = self.queue.has_of_run(*run, offset);
            is_left.then_some((*run, offset))
        })
    }

    fn remove(&mut self, entry: Entry) -> Option<Entry> {
        let Some((run, offset)) = self.run_of(entry) else {
            return self.queue.remove(entry.task);
        };
        let taken = self.queue.remove_of_run(run, offset)?;
        Some(self.resolve_of_run(&taken))
    }

    /// Who can run it has changed, and with it who can run the others of its run.
    fn set_class(&mut self, entry: Entry, class: ClassId) {
        let Some((run, _)) = self.run_of(entry) else {
            self.queue
                .set_class(Item::Task(entry.task, entry.standing), class);
            return self.model.set_class(entry.task, class);
        };
        self.queue.set_class(Item::Run(run), class);
        let left: Vec<u16> = self.queue.places(run).map(|(offset, _)| offset).collect();
        let (entries, _) = self.runs.get_mut(&run).expect("it waits");
        for offset in left {
            let entry = &mut entries[usize::from(offset)];
            entry.class = class;
            self.model.set_class(entry.task, class);
        }
    }

    fn compare(&mut self) {
        self.tidy();
        self.queue.check_invariants();
        let (queue, model) = (&self.queue, &self.model);
        assert_eq!(queue.len(), model.len());
        assert_eq!(queue.bytes(), model.bytes());
        assert_eq!(queue.returning(), model.waiting.len() - model.len());
        assert_eq!(queue.is_empty(), model.waiting.is_empty());
        for class in [ClassId(0), ClassId(1), ClassId(3), ClassId(9)] {
            let oldest = model.dispatchable(class).min_by_key(|e| e.order).copied();
            let order = queue.oldest(class).map(|waiting| waiting.order);
            assert_eq!(order, oldest.map(|entry| entry.order));
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
        let mut waiting: Vec<TaskKey> = Vec::new();
        for place in queue.iter() {
            match place.item {
                Item::Task(task, _) => waiting.push(task),
                Item::Run(run) => {
                    let (entries, _) = &self.runs[&run];
                    let left = queue.places(run).map(|(offset, _)| usize::from(offset));
                    waiting.extend(left.map(|offset| entries[offset].task));
                }
            }
        }
        waiting.sort();
        let mut expected: Vec<TaskKey> = model.waiting.iter().map(|e| e.task).collect();
        expected.sort();
        assert_eq!(waiting, expected);
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
