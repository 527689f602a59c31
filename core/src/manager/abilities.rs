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

use crate::durations::NameKey;
use crate::limits::KINDS_MAX;
use crate::name::Name;
use crate::offer::Offer;
use crate::queue::ClassId;
use crate::router::{Bid, Router, WorkerKey};

/// A set of kinds, a bit each.
type Kinds = u64;

const _: () = assert!(KINDS_MAX <= Kinds::BITS as usize);

/// The class of tasks that nobody can run.
pub(super) const NOBODY: ClassId = ClassId(0);

/// The number of a kind: used again when its last worker has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct KindKey(u8);

impl KindKey {
    fn bit(self) -> Kinds {
        1 << self.0
    }

    fn index(self) -> usize {
        usize::from(self.0)
    }
}

#[derive(Clone, Debug, Default)]
struct Kind {
    offer: Offer,
    workers: u32,
    router: Router,
}

/// See the [module](self).
#[derive(Clone, Debug)]
pub(super) struct Abilities {
    /// Without workers: free.
    kinds: Vec<Kind>,
    classes: Vec<Kinds>,
    by_kinds: BTreeMap<Kinds, ClassId>,
    /// Numbers of classes that are not in use.
    free: Vec<ClassId>,
    /// Classes of names that were looked up, by the place of the name among those remembered.
    known: Vec<Option<(NameKey, ClassId)>>,
}

impl Abilities {
    pub(super) fn new() -> Self {
        Self {
            kinds: Vec::new(),
            classes: [0].into(),
            by_kinds: [(0, NOBODY)].into(),
            free: Vec::new(),
            known: Vec::new(),
        }
    }

    /// A worker joins the kind of its offer. `None` if there are too many kinds.
    pub(super) fn join(&mut self, offer: Offer) -> Option<KindKey> {
        let same = |kind: &Kind| kind.workers > 0 && kind.offer == offer;
        let free = |kind: &Kind| kind.workers == 0;
        let index = match self.kinds.iter().position(same) {
            Some(index) => index,
            None => {
                let index = self.kinds.iter().position(free).unwrap_or(self.kinds.len());
                if index >= KINDS_MAX {
                    return None;
                }
                if index == self.kinds.len() {
                    self.kinds.push(Kind::default());
                }
                self.kinds[index].offer = offer;
                index
            }
        };
        self.kinds[index].workers += 1;
        Some(KindKey(index as u8))
    }

    /// A worker leaves its kind.
    pub(super) fn leave(&mut self, kind: KindKey, worker: WorkerKey) {
        let kind = &mut self.kinds[kind.index()];
        kind.router.set(worker, None);
        kind.workers -= 1;
    }

    /// How many workers are of this kind.
    pub(super) fn workers(&self, kind: KindKey) -> u32 {
        self.kinds[kind.index()].workers
    }

    pub(super) fn offer(&self, kind: KindKey) -> &Offer {
        &self.kinds[kind.index()].offer
    }

    /// The kinds that there are.
    pub(super) fn kinds(&self) -> impl Iterator<Item = KindKey> + use<> {
        let used: Kinds = (0..)
            .zip(&self.kinds)
            .filter(|(_, kind)| kind.workers > 0)
            .map(|(index, _)| KindKey(index).bit())
            .sum();
        each(used)
    }

    /// What a worker of this kind bids for tasks.
    pub(super) fn set_bid(&mut self, kind: KindKey, worker: WorkerKey, bid: Option<Bid>) {
        self.kinds[kind.index()].router.set(worker, bid);
    }

    pub(super) fn bid(&self, kind: KindKey, worker: WorkerKey) -> Option<Bid> {
        self.kinds[kind.index()].router.bid(worker)
    }

    /// The best worker of one kind.
    pub(super) fn pick_of(&self, kind: KindKey) -> Option<WorkerKey> {
        self.kinds[kind.index()].router.pick()
    }

    /// The best worker for a task of this class.
    pub(super) fn pick(&self, class: ClassId) -> Option<WorkerKey> {
        let best = each(self.classes[usize::from(class.0)])
            .filter_map(|kind| self.kinds[kind.index()].router.best())
            .min();
        best.map(|(_, worker)| worker)
    }

    /// Whether workers of this kind run tasks of this class.
    pub(super) fn runs(&self, kind: KindKey, class: ClassId) -> bool {
        self.classes[usize::from(class.0)] & kind.bit() != 0
    }

    /// The class of tasks of this name.
    pub(super) fn class_of(&mut self, name: &Name, key: NameKey) -> ClassId {
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
            None => match u16::try_from(self.classes.len()) {
                Ok(number) => {
                    self.classes.push(0);
                    ClassId(number)
                }
                Err(_) => return NOBODY,
            },
        };
        self.classes[usize::from(class.0)] = kinds;
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
        self.classes.fill(0);
        for (kinds, class) in &by_kinds {
            self.classes[usize::from(class.0)] = *kinds;
        }
        self.by_kinds = by_kinds;
        let used: Vec<ClassId> = self.by_kinds.values().copied().collect();
        // Those that have tasks to be moved out of keep their number until that is done.
        let taken = |class: &ClassId| used.contains(class) || ways.contains_key(class);
        let all = (0..self.classes.len()).map(|number| ClassId(number as u16));
        self.free = all.rev().filter(|class| !taken(class)).collect();
    }

    /// Asserts what must hold between any two calls.
    pub(super) fn check(&self) {
        for (kinds, class) in &self.by_kinds {
            assert_eq!(self.classes[usize::from(class.0)], *kinds);
        }
        assert_eq!(self.by_kinds.get(&0), Some(&NOBODY));
        for kind in &self.kinds {
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
