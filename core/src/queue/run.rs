//! Runs that wait: tasks of one client in a row, which have one node together.
//!
//! Owns: which tasks of a run are left, where the payload of each lies, and when those that are gone
//! take too much room. Most leave at its start, or at its end where they are displaced; one that leaves
//! from the middle leaves a gap. Never: holds a payload. Invariants: a run has at least one task, and
//! neither its first nor its last is a gap.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Range;

use super::{
    First, Item, NewRun, Node, NodeKey, Queue, RunKey, Standing, Taken, TakenOfRun, TakenRow, TaskKey,
};

/// A run is packed when it has fewer of its tasks, or of their bytes, left than one in so many: so it is
/// never much larger than what is in it, and packing costs less than what left.
const SPARSE: usize = 2;
/// Runs of so few bytes are not packed because of them, nor those of as many tasks because of those.
const SMALL_BYTES: usize = 256;
const SMALL_TASKS: usize = 8;

/// The tasks of a run that are left. Each has a place, which changes when it is packed, and an offset
/// that stays.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) node: NodeKey,
    /// Rank of the task of offset 0.
    order: u64,
    /// What each takes of the bound beside its payload.
    beside: u32,
    /// The offset of each place; empty while they are the same.
    offsets: Box<[u16]>,
    /// Where the payload of each place ends.
    ends: Box<[u32]>,
    /// A bit for each place between the first and the last whose task is gone; empty while none is.
    gaps: Box<[u64]>,
    /// Places before it are gone.
    first: u16,
    /// So are this one and those after it.
    end: u16,
    left: u16,
    /// Bytes of their payloads.
    payload: u32,
}

impl Run {
    pub(super) fn new(node: NodeKey, new: NewRun) -> Self {
        let len = u16::try_from(new.ends.len()).expect("a run has few tasks");
        Self {
            node,
            order: new.order,
            beside: new.beside,
            offsets: Box::default(),
            payload: new.ends.last().copied().unwrap_or(0),
            ends: new.ends.into(),
            gaps: Box::default(),
            first: 0,
            end: len,
            left: len,
        }
    }

    /// How many are left.
    pub(super) fn left(&self) -> u32 {
        u32::from(self.left)
    }

    /// What they take of the bound in bytes.
    pub(super) fn bytes(&self) -> u32 {
        self.payload + self.beside * u32::from(self.left)
    }

    /// The rank of the first.
    pub(super) fn first_order(&self) -> u64 {
        self.order_at(self.first)
    }

    /// The rank of the last.
    pub(super) fn last_order(&self) -> u64 {
        self.order_at(self.end - 1)
    }

    fn order_at(&self, place: u16) -> u64 {
        self.order + u64::from(self.offset(place))
    }

    fn offset(&self, place: u16) -> u16 {
        let offset = self.offsets.get(usize::from(place));
        offset.copied().unwrap_or(place)
    }

    fn is_gap(&self, place: u16) -> bool {
        let bits = self.gaps.get(usize::from(place) / 64);
        bits.is_some_and(|bits| bits >> (place % 64) & 1 == 1)
    }

    /// The place of the task with this offset, if it is left.
    fn find(&self, offset: u16) -> Option<u16> {
        let place = if self.offsets.is_empty() {
            offset
        } else {
            self.offsets.binary_search(&offset).ok()? as u16
        };
        let is_left = (self.first..self.end).contains(&place) && !self.is_gap(place);
        is_left.then_some(place)
    }

    /// The places of those that are left.
    fn places(&self) -> impl DoubleEndedIterator<Item = u16> + '_ {
        (self.first..self.end).filter(|place| !self.is_gap(*place))
    }

    fn payload_at(&self, place: u16) -> Range<usize> {
        let place = usize::from(place);
        let start = place.checked_sub(1).map_or(0, |before| self.ends[before]);
        start as usize..self.ends[place] as usize
    }

    fn bytes_at(&self, place: u16) -> u32 {
        self.beside + self.payload_at(place).len() as u32
    }

    /// Takes out one of several.
    fn remove(&mut self, place: u16) {
        self.left -= 1;
        self.payload -= self.payload_at(place).len() as u32;
        if place == self.first {
            let next = self.places().nth(1);
            self.first = next.unwrap_or(self.end);
        } else if place + 1 == self.end {
            let before = self.places().rev().nth(1);
            self.end = before.map_or(self.first, |before| before + 1);
        } else {
            if self.gaps.is_empty() {
                self.gaps = alloc::vec![0; self.ends.len().div_ceil(64)].into();
            }
            self.gaps[usize::from(place) / 64] |= 1 << (place % 64);
        }
    }

    /// Where the payloads of its first tasks end that were accepted one after the other, at most so many.
    fn row(&self, most: usize) -> &[u32] {
        let (first, end) = (usize::from(self.first), usize::from(self.end));
        let most = most.min(end - first);
        let offset = self.offset(self.first);
        let follows = |by: &usize| {
            let place = self.first + *by as u16;
            !self.is_gap(place) && self.offset(place) == offset + *by as u16
        };
        let len = if self.offsets.is_empty() && self.gaps.is_empty() {
            most
        } else {
            (0..most).take_while(follows).count()
        };
        &self.ends[first..first + len]
    }

    /// Takes out so many of the first, which are in a row, and not all that are left.
    fn remove_row(&mut self, tasks: usize) {
        let last = self.first + tasks as u16 - 1;
        let start = self.payload_at(self.first).start;
        self.payload -= (self.payload_at(last).end - start) as u32;
        self.left -= tasks as u16;
        let next = (last + 1..self.end).find(|place| !self.is_gap(*place));
        self.first = next.unwrap_or(self.end);
    }

    /// Takes the last back that was removed from the end.
    fn restore_last(&mut self, place: u16) {
        self.left += 1;
        self.payload += self.payload_at(place).len() as u32;
        self.end = place + 1;
    }

    fn is_sparse(&self) -> bool {
        let (places, payload) = (self.ends.len(), self.ends.last().copied().unwrap_or(0) as usize);
        let tasks = places > SMALL_TASKS && usize::from(self.left) * SPARSE < places;
        tasks || (payload > SMALL_BYTES && self.payload as usize * SPARSE < payload)
    }

    /// Drops what is gone. Says where the payloads were that are left.
    fn pack(&mut self) -> Vec<Range<usize>> {
        let left = usize::from(self.left);
        let mut offsets = Vec::with_capacity(left);
        let mut ends = Vec::with_capacity(left);
        let mut kept: Vec<Range<usize>> = Vec::new();
        let mut end = 0;
        for place in self.places() {
            let payload = self.payload_at(place);
            end += payload.len() as u32;
            offsets.push(self.offset(place));
            ends.push(end);
            match kept.last_mut() {
                Some(before) if before.end == payload.start => before.end = payload.end,
                Some(_) | None => kept.push(payload),
            }
        }
        self.offsets = offsets.into();
        self.ends = ends.into();
        self.gaps = Box::default();
        self.first = 0;
        self.end = self.left;
        kept
    }

    /// Asserts that what is counted is there.
    pub(super) fn check_invariants(&self) {
        let places: Vec<u16> = self.places().collect();
        assert_eq!(places.len(), usize::from(self.left));
        assert_eq!(places.first(), Some(&self.first), "the first is no gap");
        assert_eq!(places.last(), Some(&(self.end - 1)), "nor is the last");
        let payload: usize = places.iter().map(|place| self.payload_at(*place).len()).sum();
        assert_eq!(payload, self.payload as usize);
    }
}

impl Queue {
    /// Lets the tasks of a run wait, for all of which there must be room.
    pub fn push_run(&mut self, new: NewRun) -> RunKey {
        let run = self.runs.next_key();
        let node = self.nodes.next_key();
        let (client, class, priority) = (new.client, new.class, new.priority);
        let made = self.runs.insert(Run::new(node, new));
        debug_assert_eq!(made, run);
        let (bytes, order) = (self.runs[run].bytes(), self.runs[run].first_order());
        let placed = self.insert(Item::Run(run), client, class, priority, bytes, order);
        debug_assert_eq!(placed, node);
        run
    }

    /// How many of these tasks, each of which takes `beside` bytes of the bound and its payload, may wait
    /// without another having to go: the first of them.
    #[must_use]
    pub fn room_for(&self, beside: u32, payloads: &[u32]) -> usize {
        let tasks = self.task_room().min(payloads.len());
        let mut bytes = self.byte_room();
        let fits = |payload: &&u32| {
            let taken = u64::from(beside) + u64::from(**payload);
            bytes.checked_sub(taken).map(|left| bytes = left).is_some()
        };
        payloads[..tasks].iter().take_while(fits).count()
    }

    /// Whether the task with this offset in a run waits.
    #[must_use]
    pub fn has_of_run(&self, run: RunKey, offset: u16) -> bool {
        self.runs[run].find(offset).is_some()
    }

    /// The offset of the first task of a run that is left.
    #[must_use]
    pub fn first_of_run(&self, run: RunKey) -> u16 {
        let run = &self.runs[run];
        run.offset(run.first)
    }

    /// The tasks of a run that are left: the offset and the rank of each.
    pub fn places(&self, run: RunKey) -> impl Iterator<Item = (u16, u64)> + '_ {
        let run = &self.runs[run];
        run.places().map(|place| (run.offset(place), run.order_at(place)))
    }

    /// Takes the task with this offset out of a run.
    pub fn remove_of_run(&mut self, run: RunKey, offset: u16) -> Option<TakenOfRun> {
        let place = self.runs[run].find(offset)?;
        let node = self.runs[run].node;
        let (flow, before) = (self.node(node).flow, self.node(node).before);
        let out_of_order = self.node(node).out_of_order;
        let taken = self.take_of_run(run, place);
        self.refresh_if_first(flow, before, out_of_order);
        Some(taken)
    }

    /// Packs a run of which little is left, after which the payloads that were at these places lie one
    /// after the other; `None` if more is left, or nothing.
    pub fn pack(&mut self, run: RunKey) -> Option<Vec<Range<usize>>> {
        let run = self.runs.get_mut(run)?;
        run.is_sparse().then(|| run.pack())
    }

    /// The tasks of a run that has fewer than so many left, as if all were taken out: each is to be given a
    /// key for [`dissolve`](Self::dissolve).
    #[must_use]
    pub fn rest_of(&self, run: RunKey, fewer_than: usize) -> Option<Vec<TakenOfRun>> {
        let rest = self.runs.get(run)?;
        let few = usize::from(rest.left) < fewer_than;
        let last = rest.end - 1;
        let describe = |place| self.describe(run, place, place == last);
        few.then(|| rest.places().map(describe).collect())
    }

    /// Lets the tasks of a run wait alone, in the place that it has, under these keys.
    pub fn dissolve(&mut self, run: RunKey, tasks: &[TaskKey]) {
        let run = self.runs.remove(run);
        let old = self.nodes.remove(run.node);
        let flow = &mut self.flows[old.flow];
        flow.out_of_order.remove(&(old.order, run.node));
        let (mut before, mut older) = (old.before, old.older);
        for (place, task) in run.places().zip(tasks) {
            let order = run.order_at(place);
            let node = self.nodes.insert(Node {
                item: Item::Task(*task, Standing::Fresh),
                bytes: run.bytes_at(place),
                order,
                before,
                after: NodeKey::NONE,
                older,
                newer: NodeKey::NONE,
                ..old
            });
            *self.by_task.reach(*task) = node;
            if let Some(older) = self.nodes.get_mut(older) {
                older.newer = node;
            }
            older = node;
            if old.out_of_order {
                flow.out_of_order.insert((order, node));
                continue;
            }
            match self.nodes.get_mut(before) {
                Some(before) => before.after = node,
                None => flow.head = node,
            }
            before = node;
        }
        if let Some(last) = self.nodes.get_mut(older) {
            last.newer = old.newer;
        }
        match self.nodes.get_mut(old.newer) {
            Some(newer) => newer.older = older,
            None => self.clients[old.client].holdings[old.priority.level()].newest = older,
        }
        if old.out_of_order {
            return;
        }
        if let Some(last) = self.nodes.get_mut(before) {
            last.after = old.after;
        }
        match self.nodes.get_mut(old.after) {
            Some(after) => after.before = before,
            None => flow.tail = before,
        }
    }

    /// Takes out the first of a run that is the first of its flow.
    pub(super) fn take_first_of_run(&mut self, run: RunKey) -> TakenOfRun {
        let place = self.runs[run].first;
        self.take_of_run(run, place)
    }

    /// Where in the payload of a run those of its first tasks begin and end that were accepted one after the
    /// other: of at most so many.
    #[must_use]
    pub fn row_of(&self, run: RunKey, most: usize) -> (u32, &[u32]) {
        let run = &self.runs[run];
        (run.payload_at(run.first).start as u32, run.row(most))
    }

    /// Takes out so many of the first of a run that is the first of its flow, which are in a row.
    pub(super) fn take_row_of_run(&mut self, run: RunKey, tasks: usize) -> TakenRow {
        let (start, ends) = self.row_of(run, tasks);
        debug_assert_eq!(ends.len(), tasks, "what is taken together is in a row");
        let ends: Vec<u32> = ends.iter().map(|end| end - start).collect();
        let of = &self.runs[run];
        let (node, is_over) = (of.node, usize::from(of.left) == tasks);
        let mut first = self.describe(run, of.first, is_over);
        let payload = ends.last().copied().unwrap_or(0);
        first.payload = start as usize..(start + payload) as usize;
        if is_over {
            self.cut(node);
            self.drop_node(node);
        } else {
            let bytes = payload + self.runs[run].beside * tasks as u32;
            self.uncount(node, tasks as u32, bytes);
            self.nodes[node].bytes -= bytes;
            self.runs[run].remove_row(tasks);
            self.set_order(node, self.runs[run].first_order());
        }
        TakenRow { first, ends }
    }

    /// What waits first at a node.
    pub(super) fn first_at(&self, node: NodeKey) -> First {
        match self.node(node).item {
            Item::Task(task, _) => First::Task(task),
            Item::Run(run) => {
                let bytes = self.runs[run].bytes_at(self.runs[run].first);
                First::OfRun(run, bytes)
            }
        }
    }

    /// The rank of the last that waits at a node.
    pub(super) fn last_order(&self, node: NodeKey) -> u64 {
        match self.node(node).item {
            Item::Task(..) => self.node(node).order,
            Item::Run(run) => self.runs[run].last_order(),
        }
    }

    fn describe(&self, run: RunKey, place: u16, is_over: bool) -> TakenOfRun {
        let of = &self.runs[run];
        TakenOfRun {
            run,
            offset: of.offset(place),
            order: of.order_at(place),
            payload: of.payload_at(place),
            is_over,
        }
    }

    /// Takes a task out of a run; the flow's place among the others is for the caller to refresh.
    fn take_of_run(&mut self, run: RunKey, place: u16) -> TakenOfRun {
        let node = self.runs[run].node;
        if self.runs[run].left == 1 {
            let taken = self.describe(run, place, true);
            self.cut(node);
            self.drop_node(node);
            return taken;
        }
        let taken = self.describe(run, place, false);
        self.take_one(run, place);
        self.set_order(node, self.runs[run].first_order());
        taken
    }

    /// Takes one of several out of a run.
    fn take_one(&mut self, run: RunKey, place: u16) {
        let (node, bytes) = (self.runs[run].node, self.runs[run].bytes_at(place));
        self.uncount(node, 1, bytes);
        self.nodes[node].bytes -= bytes;
        self.runs[run].remove(place);
    }

    /// The rank of the first of a run has changed.
    fn set_order(&mut self, index: NodeKey, order: u64) {
        let node = &mut self.nodes[index];
        let before = core::mem::replace(&mut node.order, order);
        if node.out_of_order && before != order {
            let out_of_order = &mut self.flows[node.flow].out_of_order;
            out_of_order.remove(&(before, index));
            out_of_order.insert((order, index));
        }
    }

    /// Takes the last of a run of several out, for `restore_last` or `describe_gone`.
    pub(super) fn remove_last(&mut self, run: RunKey) -> u16 {
        let place = self.runs[run].end - 1;
        self.take_one(run, place);
        place
    }

    /// Takes back what `remove_last` took out last.
    pub(super) fn restore_last(&mut self, run: RunKey, place: u16) {
        let (node, bytes) = (self.runs[run].node, self.runs[run].bytes_at(place));
        self.runs[run].restore_last(place);
        self.nodes[node].bytes += bytes;
        self.count(node, 1, bytes);
    }

    /// What was taken out by `remove_last`.
    pub(super) fn describe_gone(&self, run: RunKey, place: u16) -> Taken {
        Taken::OfRun(self.describe(run, place, false))
    }

    /// What was at a node that is out of all order, and is forgotten.
    pub(super) fn describe_unlinked(&mut self, index: NodeKey) -> Taken {
        let node = self.node(index);
        let taken = match node.item {
            Item::Task(task, standing) => Taken::Task(node.entry(task, standing)),
            Item::Run(run) => Taken::OfRun(self.describe(run, self.runs[run].first, true)),
        };
        self.drop_node(index);
        taken
    }
}
