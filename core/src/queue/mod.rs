//! The bounded priority queue: who waits, who goes next, and who makes room.
//!
//! Owns: the order of the tasks that wait. Never: knows a peer, a payload, a name or the time;
//! tasks and clients are the manager's keys. Times are nanoseconds of run time.
//!
//! **Order.** More important tasks first. Within a priority clients share by run time: each *flow*
//! (client, priority, class) has a virtual time that every dispatch moves on by the estimated run
//! time, corrected when the real one is known, and the flow with the least goes next. This is
//! start-time fair queueing (Goyal, Vin, Cheng, 1996) with every client of the same weight, and
//! with costs that are estimates at first, as in Linux's CFS and in "virtual token counters". A
//! flow that was idle starts again at the least virtual time of those that wait, so that neither
//! a newcomer nor one that waited with its submissions has anything saved up. Equal virtual
//! times: order of acceptance. Within one flow: order of acceptance.
//!
//! **Turns.** What goes next is a [`Turn`] of one flow: its first task and as many of those behind it
//! as the caller lets go with it, charged together. A turn takes the part that one packet has in
//! start-time fair queueing. So where the caller ends a turn of several tasks before they take more
//! than its turn time together, a turn takes at most the larger of one task and the turn time, and so
//! much does a client lag behind what it is due at most, and run ahead of it: of two that always have
//! tasks waiting, neither gets more run time than the other by more than one turn of each, beside what
//! the oldest's turns give.
//!
//! **Worst case.** Every [`OLDEST_EVERY`](crate::limits::OLDEST_EVERY)th turn of a class begins with the
//! task that was accepted first, whatever its priority and client. So a task of a client that takes its
//! results is dispatched within `OLDEST_EVERY * (older tasks of its class + 1)` turns of its class,
//! where an older task that returns while this one waits counts once more. In run time that is so many
//! times the larger of the longest task and the turn time, over the workers that share it.
//!
//! **Room.** Two bounds, in tasks and in bytes, over all classes. A newcomer to a full queue
//! displaces the newest task of whoever holds most at the lowest priority below its own, or, if
//! there is none to displace, at its own priority, and then only from a client that holds at
//! least two more there than its own. So a client that fills the queue loses what it has too
//! much, one task at a time, and two that hold the same do not push each other out. Tasks that may
//! have run are never displaced. Tasks that come back from a worker are outside of these bounds:
//! the manager keeps room for them.
//!
//! **Cost.** Waiting tasks are nodes of a slab, linked within their flow and, if they may be
//! displaced, within what their client holds at their priority; heaps order flows and holders,
//! not tasks. With `f` flows, every operation on a task is O(log f) plus O(1), and displacing is
//! that for each victim; nothing but growth (and the rare task that comes back out of order)
//! allocates. A waiting task costs 48 bytes here and 4 more in the table from task to node.
//!
//! **Runs.** Tasks of one client that are accepted together may wait as a [run](NewRun): one node for all of
//! them, and 4 bytes for each. That changes nothing but the cost: each counts, goes, is displaced and is
//! taken out as if it waited alone.

mod check;
mod displace;
mod flow;
mod heap;
mod run;
mod turn;
mod types;

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::iter;
use core::ops::Bound;

use crate::arena::{Arena, SecondaryMap, arena_key};
use crate::task::Priority;

use displace::Holders;
use flow::{Class, Client, Flow};
use heap::Places;
use run::Run;

pub(crate) use flow::CHARGE_MIN;
pub use turn::Turn;
pub use types::{
    ClassId, ClientKey, Entry, First, Item, NewRun, Push, RunKey, Standing, Taken, TakenOfRun, TakenRow,
    TaskKey, Waiting,
};

arena_key!(
    /// A waiting task's node; none is the end of a list, or that a task does not wait here.
    struct NodeKey(u32)
);

arena_key!(
    /// A flow.
    struct FlowKey(u32)
);

impl Default for NodeKey {
    fn default() -> Self {
        Self::NONE
    }
}

/// A waiting task, or a run of such, and its neighbours.
#[derive(Clone, Copy, Debug)]
struct Node {
    item: Item,
    client: ClientKey,
    class: ClassId,
    priority: Priority,
    /// What its tasks take of the bound in bytes, all together.
    bytes: u32,
    /// Rank of the first of its tasks.
    order: u64,
    flow: FlowKey,
    /// Neighbours in its flow: accepted before and after it.
    before: NodeKey,
    after: NodeKey,
    /// Neighbours among what its client may lose at its priority: came before and after it.
    older: NodeKey,
    newer: NodeKey,
    /// It is in its flow's `out_of_order` tree and not in its list.
    out_of_order: bool,
}

// A slab keeps a node in a node's room only if the compiler finds a place for "vacant" in it.
const _: () = assert!(size_of::<Option<Node>>() <= 48);

/// The two bounds, and what counts against them.
#[derive(Clone, Debug)]
struct Room {
    tasks_max: usize,
    bytes_max: u64,
    /// Fresh and resubmitted tasks, and their bytes.
    tasks: usize,
    bytes: u64,
    /// Room kept for tasks that are not here yet.
    reserved_tasks: usize,
    reserved_bytes: u64,
}

/// Tasks that wait for a worker. See the [module](self).
#[derive(Clone, Debug)]
pub struct Queue {
    room: Room,
    nodes: Arena<NodeKey, Node>,
    /// Node of each task that waits alone.
    by_task: SecondaryMap<TaskKey, NodeKey>,
    runs: Arena<RunKey, Run>,
    flows: Arena<FlowKey, Flow>,
    clients: SecondaryMap<ClientKey, Client>,
    classes: SecondaryMap<ClassId, Class>,
    /// A bit for each class that has a task to give.
    ready: Vec<u64>,
    /// Places of flows in the heaps of their class.
    turns_at: Places<FlowKey>,
    ages_at: Places<FlowKey>,
    holders: [Holders; Priority::LEVELS],
    /// Those that came back from a worker: class, order and node.
    returned: BTreeSet<(ClassId, u64, NodeKey)>,
    /// All that wait, by priority.
    waiting: [usize; Priority::LEVELS],
}

impl Queue {
    /// An empty queue for at most `tasks_max` tasks of together at most `bytes_max` bytes.
    #[must_use]
    pub fn new(tasks_max: usize, bytes_max: u64) -> Self {
        Self {
            room: Room {
                tasks_max,
                bytes_max,
                tasks: 0,
                bytes: 0,
                reserved_tasks: 0,
                reserved_bytes: 0,
            },
            nodes: Arena::default(),
            by_task: SecondaryMap::default(),
            runs: Arena::default(),
            flows: Arena::default(),
            clients: SecondaryMap::default(),
            classes: SecondaryMap::default(),
            ready: Vec::new(),
            turns_at: Places::default(),
            ages_at: Places::default(),
            holders: Default::default(),
            returned: BTreeSet::new(),
            waiting: [0; Priority::LEVELS],
        }
    }

    /// Takes a task in, if there is room or room can be made. A returning task always has room.
    ///
    /// # Panics
    /// If the task waits here already.
    pub fn push(&mut self, entry: Entry) -> Push {
        assert!(!self.contains(entry.task), "{:?} waits already", entry.task);
        let displaced = if entry.standing.is_bounded() {
            match self.make_room(&entry) {
                Ok(displaced) => displaced,
                Err(reason) => return Push::Full(reason),
            }
        } else {
            Vec::new()
        };
        let Entry {
            client,
            class,
            priority,
            bytes,
            order,
            ..
        } = entry;
        let item = Item::Task(entry.task, entry.standing);
        let node = self.insert(item, client, class, priority, bytes, order);
        *self.by_task.reach(entry.task) = node;
        Push::Queued { displaced }
    }

    /// Puts what waits here into another class: who can run it has changed. It keeps its room and its
    /// rank, but of what its client may lose it counts as the newest.
    pub fn set_class(&mut self, item: Item, class: ClassId) {
        let node = match item {
            Item::Task(task, _) => self.find(task),
            Item::Run(run) => Some(self.runs[run].node),
        };
        let Some(node) = node else {
            return;
        };
        self.unlink(node);
        let Node {
            item,
            client,
            priority,
            bytes,
            order,
            ..
        } = self.nodes.remove(node);
        let node = self.insert(item, client, class, priority, bytes, order);
        match item {
            Item::Task(task, _) => self.by_task[task] = node,
            Item::Run(run) => self.runs[run].node = node,
        }
    }

    fn insert(
        &mut self,
        item: Item,
        client: ClientKey,
        class: ClassId,
        priority: Priority,
        bytes: u32,
        order: u64,
    ) -> NodeKey {
        let flow = self.flow_of(client, class, priority);
        if self.head(flow).is_none() && !self.clients[client].blocked {
            self.restart(flow);
        }
        let tail = self.flows[flow].tail;
        let node = self.nodes.insert(Node {
            item,
            client,
            class,
            priority,
            bytes,
            order,
            flow,
            before: tail,
            after: NodeKey::NONE,
            older: self.newest_held(client, priority),
            newer: NodeKey::NONE,
            out_of_order: tail != NodeKey::NONE && order < self.last_order(tail),
        });
        self.link(node);
        node
    }

    /// Takes out the oldest task of `class` that came back from a worker, of clients that are not
    /// blocked: for when no other may go, since only these have their room reserved.
    pub fn pop_returning(&mut self, class: ClassId) -> Option<Entry> {
        let node = self.first_returning(class)?;
        self.take(node)
    }

    fn first_returning(&self, class: ClassId) -> Option<NodeKey> {
        let of_class = self.returned.range((class, 0, NodeKey(0))..);
        let mut of_class = of_class.take_while(|(other, ..)| *other == class);
        let found = of_class.find(|(_, _, node)| {
            let client = self.node(*node).client;
            !self.clients[client].blocked
        });
        found.map(|&(_, _, node)| node)
    }

    /// Keeps room within the bounds for a task that may be pushed later; false if there is none.
    /// Nothing is displaced for it.
    pub fn reserve(&mut self, bytes: u64) -> bool {
        let fits = self.has_room(bytes);
        if fits {
            self.room.reserved_tasks += 1;
            self.room.reserved_bytes += bytes;
        }
        fits
    }

    /// Gives up room that was kept by `reserve` for a task of that size.
    pub fn unreserve(&mut self, bytes: u64) {
        self.room.reserved_tasks -= 1;
        self.room.reserved_bytes -= bytes;
    }

    /// Whether another task of this size is within the bounds.
    #[must_use]
    pub fn has_room(&self, bytes: u64) -> bool {
        self.has_task_room() && self.has_byte_room(bytes)
    }

    fn has_task_room(&self) -> bool {
        self.task_room() > 0
    }

    fn has_byte_room(&self, bytes: u64) -> bool {
        bytes <= self.byte_room()
    }

    fn task_room(&self) -> usize {
        let taken = self.room.tasks + self.room.reserved_tasks;
        self.room.tasks_max.saturating_sub(taken)
    }

    fn byte_room(&self) -> u64 {
        let taken = self.room.bytes + self.room.reserved_bytes;
        self.room.bytes_max.saturating_sub(taken)
    }

    /// Takes a task out that waits alone: it was cancelled, it expired, or its attempt was found again.
    pub fn remove(&mut self, task: TaskKey) -> Option<Entry> {
        let node = self.find(task)?;
        self.take(node)
    }

    /// Stops (or allows again) the dispatch of a client's tasks, the oldest's turn included. They
    /// go on counting against the bounds, and may be displaced. When allowed again they start as
    /// if the client had been idle.
    pub fn set_blocked(&mut self, client: ClientKey, blocked: bool) {
        let state = self.client_mut(client);
        if state.blocked == blocked {
            return;
        }
        state.blocked = blocked;
        for index in 0..state.flows.len() {
            let (_, flow) = self.clients[client].flows[index];
            if !blocked && self.head(flow).is_some() {
                self.restart(flow);
            }
            self.refresh(flow);
        }
    }

    /// Forgets a client whose session has ended. Its key may then be used for another; charges
    /// for what it still runs must not be corrected any more.
    ///
    /// # Panics
    /// If a task of it still waits.
    pub fn forget_client(&mut self, client: ClientKey) {
        let Some(state) = self.clients.get_mut(client) else {
            return;
        };
        let Client { flows, waiting, .. } = core::mem::take(state);
        assert_eq!(waiting, 0, "{client:?} is forgotten before its tasks");
        for (_, flow) in flows {
            self.flows.remove(flow);
        }
    }

    /// How many tasks count against the bound: fresh and resubmitted ones.
    #[must_use]
    pub fn len(&self) -> usize {
        self.room.tasks
    }

    /// Their bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.room.bytes
    }

    /// How many tasks wait outside of the bound, having come back from a worker.
    #[must_use]
    pub fn returning(&self) -> usize {
        self.waiting.iter().sum::<usize>() - self.room.tasks
    }

    /// Whether nothing waits, within the bound or outside.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// How many tasks wait at one priority, returning ones included.
    #[must_use]
    pub fn len_at(&self, priority: Priority) -> usize {
        self.waiting[priority.level()]
    }

    /// How many tasks of one client wait, returning ones included.
    #[must_use]
    pub fn client_len(&self, client: ClientKey) -> usize {
        let client = self.clients.get(client);
        client.map_or(0, |client| client.waiting as usize)
    }

    /// The classes that have a turn to give, in order of their numbers.
    pub fn classes(&self) -> impl Iterator<Item = ClassId> {
        let words = (0..).zip(&self.ready);
        words.flat_map(|(word, &bits)| {
            let mut left = bits;
            iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros() as u16)?;
                left &= left - 1;
                Some(ClassId(word * u64::BITS as u16 + bit))
            })
        })
    }

    /// The class of `classes`, if there is exactly one.
    #[must_use]
    pub fn only_class(&self) -> Option<ClassId> {
        if let [bits] = self.ready[..] {
            let only = ClassId(bits.trailing_zeros() as u16);
            return bits.is_power_of_two().then_some(only);
        }
        let mut classes = self.classes();
        let only = classes.next()?;
        classes.next().is_none().then_some(only)
    }

    /// Whether this class has a turn to give.
    #[must_use]
    pub fn has_dispatchable(&self, class: ClassId) -> bool {
        self.oldest_flow(class).is_some()
    }

    /// The priority and rank of the task of this class whose turn it is.
    #[must_use]
    pub fn next_rank(&self, class: ClassId) -> Option<(Priority, u64)> {
        let flow = self.classes.get(class)?.next()?;
        let node = self.node(self.head(flow)?);
        Some((node.priority, node.order))
    }

    /// What waits at the place of the task of this class that was accepted first, of clients that are
    /// not blocked.
    #[must_use]
    pub fn oldest(&self, class: ClassId) -> Option<Waiting> {
        let node = self.head(self.oldest_flow(class)?)?;
        Some(self.node(node).waiting())
    }

    /// The task that `pop_returning` would give.
    #[must_use]
    pub fn oldest_returning(&self, class: ClassId) -> Option<Waiting> {
        let node = self.first_returning(class)?;
        Some(self.node(node).waiting())
    }

    /// The classes of which tasks came back from a worker, in order of their numbers.
    pub fn returning_classes(&self) -> impl Iterator<Item = ClassId> {
        let class_after = |from: (ClassId, u64, NodeKey)| {
            let next = self
                .returned
                .range((Bound::Excluded(from), Bound::Unbounded))
                .next();
            next.map(|&(class, ..)| class)
        };
        let first = self.returned.first().map(|&(class, ..)| class);
        iter::successors(first, move |class| {
            class_after((*class, u64::MAX, NodeKey::NONE))
        })
    }

    /// How many tasks of this class wait.
    #[must_use]
    pub fn class_len(&self, class: ClassId) -> usize {
        let class = self.classes.get(class);
        class.map_or(0, |class| class.waiting as usize)
    }

    /// Whether this task waits here alone.
    #[must_use]
    pub fn contains(&self, task: TaskKey) -> bool {
        self.find(task).is_some()
    }

    /// All that wait, in no useful order (the same each time).
    pub fn iter(&self) -> impl Iterator<Item = Waiting> + '_ {
        self.nodes.iter().map(|(_, node)| node.waiting())
    }

    fn oldest_flow(&self, class: ClassId) -> Option<FlowKey> {
        let (_, flow) = self.classes.get(class)?.ages.first()?;
        Some(flow)
    }

    fn find(&self, task: TaskKey) -> Option<NodeKey> {
        let node = *self.by_task.get(task)?;
        (node != NodeKey::NONE).then_some(node)
    }

    fn node(&self, node: NodeKey) -> &Node {
        &self.nodes[node]
    }

    /// How many tasks wait at a node.
    fn tasks_at(&self, node: &Node) -> u32 {
        match node.item {
            Item::Task(..) => 1,
            Item::Run(run) => self.runs[run].left(),
        }
    }

    /// Takes a node out for good whose task waits alone.
    fn take(&mut self, node: NodeKey) -> Option<Entry> {
        self.unlink(node);
        self.drop_node(node)
    }

    /// Forgets a node that is out of all order.
    fn drop_node(&mut self, node: NodeKey) -> Option<Entry> {
        let node = self.nodes.remove(node);
        match node.item {
            Item::Task(task, standing) => {
                self.by_task[task] = NodeKey::NONE;
                Some(node.entry(task, standing))
            }
            Item::Run(run) => {
                self.runs.remove(run);
                None
            }
        }
    }
}

impl Node {
    fn waiting(&self) -> Waiting {
        Waiting {
            item: self.item,
            class: self.class,
            order: self.order,
        }
    }

    fn entry(&self, task: TaskKey, standing: Standing) -> Entry {
        Entry {
            task,
            client: self.client,
            class: self.class,
            priority: self.priority,
            bytes: self.bytes,
            order: self.order,
            standing,
        }
    }
}
