//! What workers can run, and so which class each task belongs to.
//!
//! Workers with the same capabilities are of one *group*; with uniform workers there is one. A
//! *class* is the set of groups that can run a task: tasks of one class wait in one order, and go
//! to whichever worker of its groups is the best choice. Classes are numbered as they are needed;
//! number 0 is the class of what nobody can run.
//!
//! Owns: the groups, their routers, and the numbers of classes. Never: knows a task or a session.
//! Invariants: a group has at least one worker; of the workers of a group, its router knows those
//! that would take a task; no two classes are the same set. Looking up the class of a name that
//! was looked up lately is O(1), since the last change of groups.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::arena::{SecondaryMap, arena_key};
use crate::capabilities::Capabilities;
use crate::durations::NameKey;
use crate::limits::{CLASSES_MAX, GROUPS_MAX};
use crate::name::Name;
use crate::queue::ClassId;
use crate::router::{Router, Score, WorkerKey};
use crate::steps::step;

/// A set of groups, a bit each.
type Groups = u64;

const _: () = assert!(GROUPS_MAX <= Groups::BITS as usize);

/// The class of tasks that nobody can run.
pub(in crate::manager) const NOBODY: ClassId = ClassId(0);

arena_key!(
    /// The number of a group: used again when its last worker has gone.
    pub(in crate::manager) struct GroupKey(u8)
);

impl GroupKey {
    /// Below [`GROUPS_MAX`].
    pub(in crate::manager) fn place(self) -> usize {
        usize::from(self.0)
    }

    fn bit(self) -> Groups {
        1 << self.0
    }
}

#[derive(Clone, Debug, Default)]
struct Group {
    capabilities: Capabilities,
    workers: u32,
    /// Of these, the ones that are there and not doubted.
    trusted: u32,
    router: Router,
}

/// See the [module](self).
#[derive(Clone, Debug)]
pub(in crate::manager) struct CapabilityGroups {
    /// Without workers: free.
    groups: SecondaryMap<GroupKey, Group>,
    /// Those with workers, by their capabilities: these may be long, and be like each other.
    by_capabilities: Vec<GroupKey>,
    classes: SecondaryMap<ClassId, Groups>,
    by_groups: BTreeMap<Groups, ClassId>,
    /// Numbers of classes that are not in use.
    free: Vec<ClassId>,
    /// Classes of names that were looked up, by the place of the name among those remembered.
    known: Vec<Option<(NameKey, ClassId)>>,
}

impl CapabilityGroups {
    pub(super) fn new() -> Self {
        Self {
            groups: SecondaryMap::default(),
            by_capabilities: Vec::new(),
            classes: SecondaryMap::from_iter([0]),
            by_groups: [(0, NOBODY)].into(),
            free: Vec::new(),
            known: Vec::new(),
        }
    }

    /// A worker joins the group of its capabilities, if there is one.
    pub(super) fn join(&mut self, capabilities: &Capabilities) -> Option<GroupKey> {
        let key = self.by_capabilities[self.place_of(capabilities).ok()?];
        self.groups[key].workers += 1;
        Some(key)
    }

    /// Where the group of these capabilities is among those with workers, or would be.
    fn place_of(&self, capabilities: &Capabilities) -> Result<usize, usize> {
        self.by_capabilities.binary_search_by(|group| {
            let names = self.capabilities(*group).patterns().iter();
            names.inspect(|_| step()).cmp(capabilities.patterns())
        })
    }

    /// Whether there may be one more group.
    pub(super) fn has_room(&self) -> bool {
        self.groups.reached() < GROUPS_MAX || self.free_group().is_some()
    }

    /// The same, of a new group if need be: the classes must be renewed before they are used. `None`
    /// if there are too many groups.
    pub(super) fn join_new(&mut self, capabilities: Capabilities) -> Option<GroupKey> {
        if let Some(group) = self.join(&capabilities) {
            return Some(group);
        }
        let key = match self.free_group() {
            Some(key) => key,
            None if self.groups.reached() >= GROUPS_MAX => return None,
            None => self.groups.push(Group::default()),
        };
        if let Err(place) = self.place_of(&capabilities) {
            self.by_capabilities.insert(place, key);
        }
        self.groups[key].capabilities = capabilities;
        self.groups[key].workers = 1;
        Some(key)
    }

    /// The lowest number of a group that has no workers left.
    fn free_group(&self) -> Option<GroupKey> {
        let (key, _) = self.groups.iter().find(|(_, group)| group.workers == 0)?;
        Some(key)
    }

    /// A worker leaves its group.
    pub(super) fn leave(&mut self, key: GroupKey, worker: WorkerKey) {
        let group = &mut self.groups[key];
        group.router.set(worker, None);
        group.workers -= 1;
        if group.workers == 0 {
            self.by_capabilities.retain(|other| *other != key);
        }
    }

    /// How many workers are of this group.
    pub(in crate::manager) fn workers(&self, group: GroupKey) -> u32 {
        self.groups[group].workers
    }

    pub(in crate::manager) fn capabilities(&self, group: GroupKey) -> &Capabilities {
        &self.groups[group].capabilities
    }

    /// The groups that there are.
    pub(in crate::manager) fn keys(&self) -> impl Iterator<Item = GroupKey> + use<> {
        let used = self.groups.iter().filter(|(_, group)| group.workers > 0);
        let used: Groups = used.map(|(key, _)| key.bit()).sum();
        each(used)
    }

    /// One worker more of this group, or one less, is there and not doubted.
    pub(super) fn count_trusted(&mut self, group: GroupKey, more: bool) {
        let trusted = &mut self.groups[group].trusted;
        *trusted = if more { *trusted + 1 } else { *trusted - 1 };
    }

    /// How many workers that are there and not doubted run tasks of this class.
    pub(super) fn trusted_for(&self, class: ClassId) -> u32 {
        let groups = each(self.classes[class]);
        groups.map(|group| self.groups[group].trusted).sum()
    }

    /// The groups that run some class of tasks for which nobody is there who is not doubted.
    pub(super) fn needed(&self) -> impl Iterator<Item = GroupKey> + use<> {
        let trusted = |group: &GroupKey| self.groups[*group].trusted > 0;
        let served: Groups = self.keys().filter(trusted).map(GroupKey::bit).sum();
        let classes = self.classes.values().inspect(|_| step());
        let unserved = classes.filter(|groups| **groups & served == 0);
        each(unserved.fold(0, |all, groups| all | groups))
    }

    /// The groups that run tasks of such classes.
    pub(super) fn running(&self, which: impl Fn(ClassId) -> bool) -> Vec<GroupKey> {
        let classes = self.classes.iter().inspect(|_| step());
        let classes = classes.filter(|(class, _)| which(*class));
        each(classes.fold(0, |all, (_, groups)| all | groups)).collect()
    }

    /// The score of a worker of this group.
    pub(super) fn set_score(&mut self, group: GroupKey, worker: WorkerKey, score: Option<Score>) {
        self.groups[group].router.set(worker, score);
    }

    pub(super) fn score(&self, group: GroupKey, worker: WorkerKey) -> Option<Score> {
        self.groups[group].router.score(worker)
    }

    /// The best worker of one group.
    pub(in crate::manager) fn pick_of(&self, group: GroupKey) -> Option<WorkerKey> {
        self.groups[group].router.pick()
    }

    /// The best worker for a task of this class.
    pub(super) fn pick(&self, class: ClassId) -> Option<WorkerKey> {
        let best = each(self.classes[class])
            .filter_map(|group| self.groups[group].router.best())
            .min();
        best.map(|(_, worker)| worker)
    }

    /// How many workers with an idle slot would take a task of this class.
    pub(super) fn idle_for(&self, class: ClassId) -> u32 {
        let groups = each(self.classes[class]);
        groups.map(|group| self.groups[group].router.idle()).sum()
    }

    /// Whether workers of this group run tasks of this class.
    pub(in crate::manager) fn runs(&self, group: GroupKey, class: ClassId) -> bool {
        self.classes[class] & group.bit() != 0
    }

    /// The class of tasks of this name.
    pub(in crate::manager) fn class_of(&mut self, name: &Name, key: NameKey) -> ClassId {
        if let Some(Some((known, class))) = self.known.get(key.place())
            && *known == key
        {
            return *class;
        }
        let class = self.number(self.groups_for(name));
        if self.known.len() <= key.place() {
            self.known.resize(key.place() + 1, None);
        }
        self.known[key.place()] = Some((key, class));
        class
    }

    /// What `class_of` would say, without remembering it.
    pub(super) fn look_up(&self, name: &Name) -> Option<ClassId> {
        self.by_groups.get(&self.groups_for(name)).copied()
    }

    fn groups_for(&self, name: &Name) -> Groups {
        self.keys()
            .inspect(|_| step())
            .filter(|group| self.capabilities(*group).covers(name))
            .map(GroupKey::bit)
            .sum()
    }

    /// The number of the class of these groups. If all numbers are taken, which needs as many
    /// combinations of groups to have tasks at once, they count as run by nobody.
    fn number(&mut self, groups: Groups) -> ClassId {
        if let Some(&class) = self.by_groups.get(&groups) {
            return class;
        }
        let class = match self.free.pop() {
            Some(class) => class,
            None if self.classes.reached() >= CLASSES_MAX => return NOBODY,
            None => self.classes.push(0),
        };
        self.classes[class] = groups;
        self.by_groups.insert(groups, class);
        class
    }

    /// Renews the classes after a group has come or gone. `waiting` are the class and the name of
    /// each task that waits. Where all tasks of a class go the same way, the class only gets
    /// another meaning; the tasks that are in another class now are for the caller to move.
    /// Classes without tasks are forgotten.
    pub(super) fn renew<'a>(
        &mut self,
        waiting: impl Iterator<Item = (ClassId, &'a Name, NameKey)>,
    ) {
        // Where the tasks of each class would go: nowhere, to one set of groups, or to several.
        let mut ways: BTreeMap<ClassId, Option<Groups>> = BTreeMap::new();
        let mut seen: Vec<Option<(NameKey, Groups)>> = Vec::new();
        for (class, name, key) in waiting {
            if seen.len() <= key.place() {
                seen.resize(key.place() + 1, None);
            }
            let groups = match seen[key.place()] {
                Some((known, groups)) if known == key => groups,
                _ => self.groups_for(name),
            };
            seen[key.place()] = Some((key, groups));
            let way = ways.entry(class).or_insert(Some(groups));
            if *way != Some(groups) {
                *way = None;
            }
        }
        let mut by_groups = BTreeMap::from([(0, NOBODY)]);
        for (class, groups) in &ways {
            if let Some(groups) = groups
                && *class != NOBODY
            {
                by_groups.entry(*groups).or_insert(*class);
            }
        }
        self.known.clear();
        self.free.clear();
        self.classes.values_mut().for_each(|groups| *groups = 0);
        for (groups, &class) in &by_groups {
            self.classes[class] = *groups;
        }
        self.by_groups = by_groups;
        let used: Vec<ClassId> = self.by_groups.values().copied().collect();
        // Those that have tasks to be moved out of keep their number until that is done.
        let taken = |class: &ClassId| used.contains(class) || ways.contains_key(class);
        let all = self.classes.iter().map(|(class, _)| class);
        self.free = all.rev().filter(|class| !taken(class)).collect();
    }

    /// Asserts what must hold between any two calls.
    pub(super) fn check_invariants(&self) {
        for (groups, &class) in &self.by_groups {
            assert_eq!(self.classes[class], *groups);
        }
        assert_eq!(self.by_groups.get(&0), Some(&NOBODY));
        assert_eq!(self.by_capabilities.len(), self.keys().count());
        for group in self.keys() {
            let place = self.place_of(self.capabilities(group));
            assert_eq!(place.map(|place| self.by_capabilities[place]), Ok(group));
        }
        for group in self.groups.values() {
            assert!(group.workers > 0 || group.router.is_empty());
            group.router.check_invariants();
        }
    }
}

/// The groups of a set, in order.
fn each(mut groups: Groups) -> impl Iterator<Item = GroupKey> {
    core::iter::from_fn(move || {
        let next = (groups != 0).then(|| GroupKey(groups.trailing_zeros() as u8))?;
        groups &= groups - 1;
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
    fn capabilities(bits: u8) -> Capabilities {
        let chosen = (0..PATTERNS.len()).filter(|bit| bits & 1 << bit != 0);
        Capabilities::new(chosen.map(|bit| name(PATTERNS[bit]))).expect("few")
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
            6 => (0_u8..6, 1_u8..32).prop_map(|(worker, capabilities)| Step::Toggle(worker, capabilities)),
            6 => (0..NAMES.len()).prop_map(Step::Wait),
            3 => Just(Step::Leave),
            1 => (0_usize..6).prop_map(Step::Forget),
        ]
    }

    struct Model {
        groups: CapabilityGroups,
        durations: Durations,
        heard: u32,
        workers: BTreeMap<u8, (GroupKey, Capabilities)>,
        /// The class and the name of each task that waits.
        waiting: Vec<(ClassId, Name, NameKey)>,
    }

    impl Model {
        fn new() -> Self {
            Self {
                groups: CapabilityGroups::new(),
                durations: Durations::new(),
                heard: 0,
                workers: BTreeMap::new(),
                waiting: Vec::new(),
            }
        }

        fn class_of(&mut self, text: &str) -> ClassId {
            let name = name(text);
            let key = self.durations.intern(&name);
            self.groups.class_of(&name, key)
        }

        /// As the manager does after a group has come or gone.
        fn renew(&mut self) {
            let before = self.waiting.clone();
            let waiting = self.waiting.iter();
            self.groups
                .renew(waiting.map(|(class, name, key)| (*class, name, *key)));
            let mut sets: BTreeMap<ClassId, Vec<Vec<GroupKey>>> = BTreeMap::new();
            for (class, name, _) in &before {
                let run_by: Vec<GroupKey> = self
                    .groups
                    .keys()
                    .filter(|group| self.groups.capabilities(*group).covers(name))
                    .collect();
                sets.entry(*class).or_default().push(run_by);
            }
            for (class, name, key) in &mut self.waiting {
                *class = self.groups.class_of(name, *key);
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
            self.groups.check_invariants();
            let mut sets: BTreeMap<ClassId, Vec<u8>> = BTreeMap::new();
            for text in NAMES {
                let class = self.class_of(text);
                assert!(class.0 <= 12, "numbers are used again: {class:?}");
                assert_eq!(self.groups.look_up(&name(text)), Some(class));
                let mut run_by = Vec::new();
                for (&worker, (group, capabilities)) in &self.workers {
                    assert_eq!(self.groups.capabilities(*group), capabilities);
                    let runs = self.groups.runs(*group, class);
                    assert_eq!(
                        runs,
                        capabilities.covers(&name(text)),
                        "{worker} and {text}"
                    );
                    run_by.extend(runs.then_some(worker));
                }
                assert_eq!(class == NOBODY, run_by.is_empty(), "{text}");
                let known = sets.entry(class).or_insert_with(|| run_by.clone());
                assert_eq!(*known, run_by, "a class is one set of groups");
                // Each has its number as its score; a higher one is worse.
                let best = run_by.first().map(|worker| WorkerKey(u32::from(*worker)));
                assert_eq!(self.groups.pick(class), best, "{text}");
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
            for (group, capabilities) in self.workers.values() {
                let alike = self
                    .workers
                    .values()
                    .filter(|(_, other)| other == capabilities);
                assert_eq!(self.groups.workers(*group) as usize, alike.count());
            }
        }

        fn step(&mut self, step: &Step) {
            match *step {
                Step::Toggle(worker, bits) => {
                    let key = WorkerKey(u32::from(worker));
                    if let Some((group, _)) = self.workers.remove(&worker) {
                        self.groups.leave(group, key);
                    } else {
                        let capabilities = capabilities(bits);
                        let group = self
                            .groups
                            .join_new(capabilities.clone())
                            .expect("few groups");
                        let score = Score::new(&Speed::new(), u32::from(worker), 8);
                        self.groups.set_score(group, key, Some(score));
                        assert_eq!(self.groups.score(group, key), Some(score));
                        self.workers.insert(worker, (group, capabilities));
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
        /// Whoever comes and goes: a task's class is the set of groups that run its name, no two
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
    fn so_many_groups_and_no_more_and_numbers_are_used_again() {
        let mut groups = CapabilityGroups::new();
        let capabilities =
            |number: usize| Capabilities::new([name(&format!("n{number}"))]).expect("few");
        let keys: Vec<GroupKey> = (0..GROUPS_MAX)
            .map(|number| groups.join_new(capabilities(number)).expect("room"))
            .collect();
        assert_eq!(groups.join_new(capabilities(GROUPS_MAX)), None);
        assert_eq!(
            groups.join_new(capabilities(3)),
            Some(keys[3]),
            "known already"
        );
        assert_eq!(groups.workers(keys[3]), 2);
        groups.leave(keys[3], WorkerKey(0));
        assert_eq!(groups.join_new(capabilities(GROUPS_MAX)), None);
        groups.leave(keys[3], WorkerKey(1));
        assert_eq!(groups.join_new(capabilities(GROUPS_MAX)), Some(keys[3]));
        assert_eq!(groups.capabilities(keys[3]), &capabilities(GROUPS_MAX));
        for turn in 0..300 {
            groups.leave(keys[5], WorkerKey(0));
            assert_eq!(groups.join_new(capabilities(1_000 + turn)), Some(keys[5]));
        }
        assert_eq!(groups.keys().count(), GROUPS_MAX);
        groups.renew([].into_iter());
        let class = groups.number(keys[3].bit());
        assert!(groups.runs(keys[3], class) && !groups.runs(keys[2], class));
        groups.check_invariants();
    }

    #[test]
    fn a_worker_that_leaves_has_no_score() {
        let mut groups = CapabilityGroups::new();
        let group = groups.join_new(capabilities(1)).expect("room");
        groups.join_new(capabilities(1));
        let score = Score::new(&Speed::new(), 0, 1);
        groups.set_score(group, WorkerKey(4), Some(score));
        assert_eq!(groups.pick_of(group), Some(WorkerKey(4)));
        groups.leave(group, WorkerKey(4));
        assert_eq!(groups.pick_of(group), None);
    }
}
