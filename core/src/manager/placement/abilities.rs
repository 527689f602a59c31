//! What workers can run, and so which class each task belongs to.
//!
//! Workers that offer the same names are of one *kind*; with uniform workers there is one. A
//! *class* is the set of kinds that can run a task: tasks of one class wait in one order, and go
//! to whichever worker of its kinds is the best choice. Classes are numbered as they are needed;
//! number 0 is the class of what nobody can run.
//!
//! Owns: the kinds, their routers, and the numbers of classes. Never: knows a task or a session.
//! Invariants: a kind has at least one worker; of the workers of a kind, its router knows those
//! that would take a task; no two classes are the same set. Looking up the class of a name that
//! was looked up lately is O(1), since the last change of kinds.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::arena::{SecondaryMap, arena_key};
use crate::durations::NameKey;
use crate::limits::{CLASSES_MAX, KINDS_MAX};
use crate::name::Name;
use crate::offer::Offer;
use crate::queue::ClassId;
use crate::router::{Router, Score, WorkerKey};
use crate::steps::step;

/// A set of kinds, a bit each.
type Kinds = u64;

const _: () = assert!(KINDS_MAX <= Kinds::BITS as usize);

/// The class of tasks that nobody can run.
pub(in crate::manager) const NOBODY: ClassId = ClassId(0);

arena_key!(
    /// The number of a kind: used again when its last worker has gone.
    pub(in crate::manager) struct KindKey(u8)
);

impl KindKey {
    fn bit(self) -> Kinds {
        1 << self.0
    }
}

#[derive(Clone, Debug, Default)]
struct Kind {
    offer: Offer,
    workers: u32,
    /// Of these, the ones that are there and not doubted.
    trusted: u32,
    router: Router,
}

/// See the [module](self).
#[derive(Clone, Debug)]
pub(in crate::manager) struct Abilities {
    /// Without workers: free.
    kinds: SecondaryMap<KindKey, Kind>,
    classes: SecondaryMap<ClassId, Kinds>,
    by_kinds: BTreeMap<Kinds, ClassId>,
    /// Numbers of classes that are not in use.
    free: Vec<ClassId>,
    /// Classes of names that were looked up, by the place of the name among those remembered.
    known: Vec<Option<(NameKey, ClassId)>>,
}

impl Abilities {
    pub(super) fn new() -> Self {
        Self {
            kinds: SecondaryMap::default(),
            classes: SecondaryMap::from_iter([0]),
            by_kinds: [(0, NOBODY)].into(),
            free: Vec::new(),
            known: Vec::new(),
        }
    }

    /// A worker joins the kind of its offer, if there is one.
    pub(super) fn join(&mut self, offer: &Offer) -> Option<KindKey> {
        let same = |kind: &Kind| kind.workers > 0 && kind.offer == *offer;
        let (key, _) = self.kinds.iter().find(|(_, kind)| same(kind))?;
        self.kinds[key].workers += 1;
        Some(key)
    }

    /// Whether there may be one more kind.
    pub(super) fn has_room(&self) -> bool {
        self.kinds.reached() < KINDS_MAX || self.free_kind().is_some()
    }

    /// The same, of a new kind if need be: the classes must be renewed before they are used. `None`
    /// if there are too many kinds.
    pub(super) fn join_new(&mut self, offer: Offer) -> Option<KindKey> {
        if let Some(kind) = self.join(&offer) {
            return Some(kind);
        }
        let key = match self.free_kind() {
            Some(key) => key,
            None if self.kinds.reached() >= KINDS_MAX => return None,
            None => self.kinds.push(Kind::default()),
        };
        self.kinds[key].offer = offer;
        self.kinds[key].workers = 1;
        Some(key)
    }

    /// The lowest number of a kind that has no workers left.
    fn free_kind(&self) -> Option<KindKey> {
        let (key, _) = self.kinds.iter().find(|(_, kind)| kind.workers == 0)?;
        Some(key)
    }

    /// A worker leaves its kind.
    pub(super) fn leave(&mut self, kind: KindKey, worker: WorkerKey) {
        let kind = &mut self.kinds[kind];
        kind.router.set(worker, None);
        kind.workers -= 1;
    }

    /// How many workers are of this kind.
    pub(in crate::manager) fn workers(&self, kind: KindKey) -> u32 {
        self.kinds[kind].workers
    }

    pub(in crate::manager) fn offer(&self, kind: KindKey) -> &Offer {
        &self.kinds[kind].offer
    }

    /// The kinds that there are.
    pub(in crate::manager) fn kinds(&self) -> impl Iterator<Item = KindKey> + use<> {
        let used = self.kinds.iter().filter(|(_, kind)| kind.workers > 0);
        let used: Kinds = used.map(|(key, _)| key.bit()).sum();
        each(used)
    }

    /// One worker more of this kind, or one less, is there and not doubted.
    pub(super) fn count_trusted(&mut self, kind: KindKey, more: bool) {
        let trusted = &mut self.kinds[kind].trusted;
        *trusted = if more { *trusted + 1 } else { *trusted - 1 };
    }

    /// How many workers that are there and not doubted run tasks of this class.
    pub(super) fn trusted_for(&self, class: ClassId) -> u32 {
        let kinds = each(self.classes[class]);
        kinds.map(|kind| self.kinds[kind].trusted).sum()
    }

    /// The kinds that run some class of tasks for which nobody is there who is not doubted.
    pub(super) fn needed(&self) -> impl Iterator<Item = KindKey> + use<> {
        let trusted = |kind: &KindKey| self.kinds[*kind].trusted > 0;
        let served: Kinds = self.kinds().filter(trusted).map(KindKey::bit).sum();
        let classes = self.classes.values().inspect(|_| step());
        let unserved = classes.filter(|kinds| **kinds & served == 0);
        each(unserved.fold(0, |all, kinds| all | kinds))
    }

    /// The score of a worker of this kind.
    pub(super) fn set_score(&mut self, kind: KindKey, worker: WorkerKey, score: Option<Score>) {
        self.kinds[kind].router.set(worker, score);
    }

    pub(super) fn score(&self, kind: KindKey, worker: WorkerKey) -> Option<Score> {
        self.kinds[kind].router.score(worker)
    }

    /// The best worker of one kind.
    pub(in crate::manager) fn pick_of(&self, kind: KindKey) -> Option<WorkerKey> {
        self.kinds[kind].router.pick()
    }

    /// The best worker for a task of this class.
    pub(super) fn pick(&self, class: ClassId) -> Option<WorkerKey> {
        let best = each(self.classes[class])
            .filter_map(|kind| self.kinds[kind].router.best())
            .min();
        best.map(|(_, worker)| worker)
    }

    /// Whether workers of this kind run tasks of this class.
    pub(in crate::manager) fn runs(&self, kind: KindKey, class: ClassId) -> bool {
        self.classes[class] & kind.bit() != 0
    }

    /// The class of tasks of this name.
    pub(in crate::manager) fn class_of(&mut self, name: &Name, key: NameKey) -> ClassId {
        if let Some(Some((known, class))) = self.known.get(key.place())
            && *known == key
        {
            return *class;
        }
        let class = self.number(self.kinds_for(name));
        if self.known.len() <= key.place() {
            self.known.resize(key.place() + 1, None);
        }
        self.known[key.place()] = Some((key, class));
        class
    }

    /// What `class_of` would say, without remembering it.
    pub(super) fn look_up(&self, name: &Name) -> Option<ClassId> {
        self.by_kinds.get(&self.kinds_for(name)).copied()
    }

    fn kinds_for(&self, name: &Name) -> Kinds {
        self.kinds()
            .inspect(|_| step())
            .filter(|kind| self.offer(*kind).covers(name))
            .map(KindKey::bit)
            .sum()
    }

    /// The number of the class of these kinds. If all numbers are taken, which needs as many
    /// combinations of kinds to have tasks at once, they count as run by nobody.
    fn number(&mut self, kinds: Kinds) -> ClassId {
        if let Some(&class) = self.by_kinds.get(&kinds) {
            return class;
        }
        let class = match self.free.pop() {
            Some(class) => class,
            None if self.classes.reached() >= CLASSES_MAX => return NOBODY,
            None => self.classes.push(0),
        };
        self.classes[class] = kinds;
        self.by_kinds.insert(kinds, class);
        class
    }

    /// Renews the classes after a kind has come or gone. `waiting` are the class and the name of
    /// each task that waits. Where all tasks of a class go the same way, the class only gets
    /// another meaning; the tasks that are in another class now are for the caller to move.
    /// Classes without tasks are forgotten.
    pub(super) fn renew<'a>(
        &mut self,
        waiting: impl Iterator<Item = (ClassId, &'a Name, NameKey)>,
    ) {
        // Where the tasks of each class would go: nowhere, to one set of kinds, or to several.
        let mut ways: BTreeMap<ClassId, Option<Kinds>> = BTreeMap::new();
        let mut seen: Vec<Option<(NameKey, Kinds)>> = Vec::new();
        for (class, name, key) in waiting {
            if seen.len() <= key.place() {
                seen.resize(key.place() + 1, None);
            }
            let kinds = match seen[key.place()] {
                Some((known, kinds)) if known == key => kinds,
                _ => self.kinds_for(name),
            };
            seen[key.place()] = Some((key, kinds));
            let way = ways.entry(class).or_insert(Some(kinds));
            if *way != Some(kinds) {
                *way = None;
            }
        }
        let mut by_kinds = BTreeMap::from([(0, NOBODY)]);
        for (class, kinds) in &ways {
            if let Some(kinds) = kinds
                && *class != NOBODY
            {
                by_kinds.entry(*kinds).or_insert(*class);
            }
        }
        self.known.clear();
        self.free.clear();
        self.classes.values_mut().for_each(|kinds| *kinds = 0);
        for (kinds, &class) in &by_kinds {
            self.classes[class] = *kinds;
        }
        self.by_kinds = by_kinds;
        let used: Vec<ClassId> = self.by_kinds.values().copied().collect();
        // Those that have tasks to be moved out of keep their number until that is done.
        let taken = |class: &ClassId| used.contains(class) || ways.contains_key(class);
        let all = self.classes.iter().map(|(class, _)| class);
        self.free = all.rev().filter(|class| !taken(class)).collect();
    }

    /// Asserts what must hold between any two calls.
    pub(super) fn check(&self) {
        for (kinds, &class) in &self.by_kinds {
            assert_eq!(self.classes[class], *kinds);
        }
        assert_eq!(self.by_kinds.get(&0), Some(&NOBODY));
        for kind in self.kinds.values() {
            assert!(kind.workers > 0 || kind.router.is_empty());
        }
    }
}

/// The kinds of a set, in order.
fn each(mut kinds: Kinds) -> impl Iterator<Item = KindKey> {
    core::iter::from_fn(move || {
        let next = (kinds != 0).then(|| KindKey(kinds.trailing_zeros() as u8))?;
        kinds &= kinds - 1;
        Some(next)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::durations::Durations;
    use crate::limits::NAMES_MAX;
    use crate::router::Speed;
    use proptest::collection::vec as some;
    use proptest::prelude::*;
    use std::format;
    use std::vec::Vec;

    const NAMES: [&str; 5] = ["a", "b", "c", "ab", "d"];
    const PATTERNS: [&str; 5] = ["a", "b", "c", "a*", "*"];

    fn name(text: &str) -> Name {
        Name::new(text).expect("valid")
    }

    /// What somebody runs: a bit for each pattern.
    fn offer(bits: u8) -> Offer {
        let chosen = (0..PATTERNS.len()).filter(|bit| bits & 1 << bit != 0);
        Offer::new(chosen.map(|bit| name(PATTERNS[bit]))).expect("few")
    }

    #[derive(Clone, Debug)]
    enum Step {
        /// A worker that runs this comes, or the one that is here leaves.
        Toggle(u8, u8),
        /// A task of this name comes to wait, or the oldest leaves.
        Wait(usize),
        Leave,
        /// So many other names are heard of that those from before are forgotten, all but some.
        Forget(usize),
    }

    fn steps() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0_u8..6, 1_u8..32).prop_map(|(worker, offer)| Step::Toggle(worker, offer)),
            6 => (0..NAMES.len()).prop_map(Step::Wait),
            3 => Just(Step::Leave),
            1 => (0_usize..6).prop_map(Step::Forget),
        ]
    }

    struct Model {
        abilities: Abilities,
        durations: Durations,
        heard: u32,
        workers: BTreeMap<u8, (KindKey, Offer)>,
        /// The class and the name of each task that waits.
        waiting: Vec<(ClassId, Name, NameKey)>,
    }

    impl Model {
        fn new() -> Self {
            Self {
                abilities: Abilities::new(),
                durations: Durations::new(),
                heard: 0,
                workers: BTreeMap::new(),
                waiting: Vec::new(),
            }
        }

        fn class_of(&mut self, text: &str) -> ClassId {
            let name = name(text);
            let key = self.durations.intern(&name);
            self.abilities.class_of(&name, key)
        }

        /// As the manager does after a kind has come or gone.
        fn renew(&mut self) {
            let before = self.waiting.clone();
            let waiting = self.waiting.iter();
            self.abilities
                .renew(waiting.map(|(class, name, key)| (*class, name, *key)));
            let mut sets: BTreeMap<ClassId, Vec<Vec<KindKey>>> = BTreeMap::new();
            for (class, name, _) in &before {
                let run_by: Vec<KindKey> = self
                    .abilities
                    .kinds()
                    .filter(|kind| self.abilities.offer(*kind).covers(name))
                    .collect();
                sets.entry(*class).or_default().push(run_by);
            }
            for (class, name, key) in &mut self.waiting {
                *class = self.abilities.class_of(name, *key);
            }
            for ((old, ..), (new, name, _)) in before.iter().zip(&self.waiting) {
                let runs = |other: &(ClassId, Name, NameKey)| other.0 == *new;
                let others = before.iter().zip(&self.waiting);
                let mixed = others
                    .clone()
                    .any(|(before, after)| before.0 == *new && !runs(after));
                assert!(
                    !mixed || *new == NOBODY,
                    "{name} comes to a class that others have yet to leave"
                );
                let stays = sets[old].windows(2).all(|pair| pair[0] == pair[1]);
                let is_run = !sets[old][0].is_empty() && *old != NOBODY;
                let alone = sets
                    .iter()
                    .all(|(class, sets_of)| class >= old || !sets_of.contains(&sets[old][0]));
                assert!(
                    !(stays && is_run && alone) || new == old,
                    "{name} need not have been moved"
                );
            }
        }

        fn check(&mut self) {
            self.abilities.check();
            let mut sets: BTreeMap<ClassId, Vec<u8>> = BTreeMap::new();
            for text in NAMES {
                let class = self.class_of(text);
                assert!(class.0 <= 12, "numbers are used again: {class:?}");
                assert_eq!(self.abilities.look_up(&name(text)), Some(class));
                let mut run_by = Vec::new();
                for (&worker, (kind, offer)) in &self.workers {
                    assert_eq!(self.abilities.offer(*kind), offer);
                    let runs = self.abilities.runs(*kind, class);
                    assert_eq!(runs, offer.covers(&name(text)), "{worker} and {text}");
                    run_by.extend(runs.then_some(worker));
                }
                assert_eq!(class == NOBODY, run_by.is_empty(), "{text}");
                let known = sets.entry(class).or_insert_with(|| run_by.clone());
                assert_eq!(*known, run_by, "a class is one set of kinds");
                // Each has its number as its score; a higher one is worse.
                let best = run_by.first().map(|worker| WorkerKey(u32::from(*worker)));
                assert_eq!(self.abilities.pick(class), best, "{text}");
            }
            let different = sets.values().collect::<std::collections::BTreeSet<_>>();
            assert_eq!(
                different.len(),
                sets.len(),
                "no two classes are the same set"
            );
            for (class, name, _) in self.waiting.clone() {
                assert_eq!(class, self.class_of(name.as_str()), "where it waits");
            }
            for (kind, offer) in self.workers.values() {
                let alike = self.workers.values().filter(|(_, other)| other == offer);
                assert_eq!(self.abilities.workers(*kind) as usize, alike.count());
            }
        }

        fn step(&mut self, step: &Step) {
            match *step {
                Step::Toggle(worker, bits) => {
                    let key = WorkerKey(u32::from(worker));
                    if let Some((kind, _)) = self.workers.remove(&worker) {
                        self.abilities.leave(kind, key);
                    } else {
                        let offer = offer(bits);
                        let kind = self.abilities.join_new(offer.clone()).expect("few kinds");
                        let score = Score::new(&Speed::new(), u32::from(worker), 8);
                        self.abilities.set_score(kind, key, Some(score));
                        assert_eq!(self.abilities.score(kind, key), Some(score));
                        self.workers.insert(worker, (kind, offer));
                    }
                    self.renew();
                }
                Step::Wait(which) => {
                    let class = self.class_of(NAMES[which]);
                    let name = name(NAMES[which]);
                    let key = self.durations.intern(&name);
                    self.waiting.push((class, name, key));
                }
                Step::Leave => {
                    if !self.waiting.is_empty() {
                        self.waiting.remove(0);
                    }
                }
                Step::Forget(but) => {
                    // Tasks keep the key that their name had.
                    for _ in 0..NAMES_MAX - but {
                        self.heard += 1;
                        let other = format!("other{}", self.heard);
                        self.class_of(&other);
                    }
                }
            }
        }
    }

    proptest! {
        /// Whoever comes and goes: a task's class is the set of kinds that run its name, no two
        /// classes are the same set, and nothing is moved that need not be.
        #[test]
        fn a_class_is_who_can_run_it(script in some(steps(), 1..60)) {
            let mut model = Model::new();
            for step in &script {
                model.step(step);
                model.check();
            }
        }
    }

    #[test]
    fn so_many_kinds_and_no_more_and_numbers_are_used_again() {
        let mut abilities = Abilities::new();
        let offer = |number: usize| Offer::new([name(&format!("n{number}"))]).expect("few");
        let kinds: Vec<KindKey> = (0..KINDS_MAX)
            .map(|number| abilities.join_new(offer(number)).expect("room"))
            .collect();
        assert_eq!(abilities.join_new(offer(KINDS_MAX)), None);
        assert_eq!(
            abilities.join_new(offer(3)),
            Some(kinds[3]),
            "known already"
        );
        assert_eq!(abilities.workers(kinds[3]), 2);
        abilities.leave(kinds[3], WorkerKey(0));
        assert_eq!(abilities.join_new(offer(KINDS_MAX)), None);
        abilities.leave(kinds[3], WorkerKey(1));
        assert_eq!(abilities.join_new(offer(KINDS_MAX)), Some(kinds[3]));
        assert_eq!(abilities.offer(kinds[3]), &offer(KINDS_MAX));
        for turn in 0..300 {
            abilities.leave(kinds[5], WorkerKey(0));
            assert_eq!(abilities.join_new(offer(1_000 + turn)), Some(kinds[5]));
        }
        assert_eq!(abilities.kinds().count(), KINDS_MAX);
        abilities.renew([].into_iter());
        let class = abilities.number(kinds[3].bit());
        assert!(abilities.runs(kinds[3], class) && !abilities.runs(kinds[2], class));
        abilities.check();
    }

    #[test]
    fn a_worker_that_leaves_bids_no_more() {
        let mut abilities = Abilities::new();
        let kind = abilities.join_new(offer(1)).expect("room");
        abilities.join_new(offer(1));
        let score = Score::new(&Speed::new(), 0, 1);
        abilities.set_score(kind, WorkerKey(4), Some(score));
        assert_eq!(abilities.pick_of(kind), Some(WorkerKey(4)));
        abilities.leave(kind, WorkerKey(4));
        assert_eq!(abilities.pick_of(kind), None);
    }
}
