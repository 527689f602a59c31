//! Flows: the tasks of one client at one priority and class, and what they have been charged.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::iter;

use super::displace::Holding;
use super::heap::Heap;
use super::{ClassId, ClientKey, FlowKey, Node, NodeKey, Queue, Standing};
use crate::task::Priority;

/// Least that one dispatch is charged, in nanoseconds: even a task of no length costs a dispatch.
pub(crate) const CHARGE_MIN: u64 = 1_000;
/// Most that one dispatch is charged (52 days), so that a wrong measurement does not end a flow.
pub(super) const CHARGE_MAX: u64 = 1 << 52;

/// The tasks of one client at one priority and class. Kept until the client is forgotten, since
/// its virtual time is the memory that makes sharing fair.
#[derive(Clone, Debug)]
pub(super) struct Flow {
    pub(super) client: ClientKey,
    pub(super) class: ClassId,
    pub(super) priority: Priority,
    /// Run time that it has been charged, moved up to the others' whenever it had been idle.
    pub(super) virtual_time: u64,
    /// What it has been charged and was not yet corrected.
    pub(super) pending: u64,
    /// How much of `pending` was charged before the last restart that moved `virtual_time` up.
    /// The restart has made that forgotten, so refunds of it would be credit saved up while idle.
    pub(super) forgiven: u64,
    /// First and last of the list of tasks that came in order.
    pub(super) head: NodeKey,
    pub(super) tail: NodeKey,
    /// Tasks that came with an older rank than the list's last: those that return.
    pub(super) out_of_order: BTreeSet<(u64, NodeKey)>,
}

/// One client.
#[derive(Clone, Debug, Default)]
pub(super) struct Client {
    pub(super) blocked: bool,
    /// All of its tasks that wait.
    pub(super) waiting: u32,
    /// What counts against the bounds, by priority.
    pub(super) holdings: [Holding; Priority::LEVELS],
    /// Its flows by class and priority, sorted.
    pub(super) flows: Vec<((ClassId, Priority), FlowKey)>,
}

/// The flows of one class that may be dispatched.
#[derive(Clone, Debug, Default)]
pub(super) struct Class {
    /// All tasks that wait, of blocked clients too.
    pub(super) waiting: u32,
    /// Turns since the last that began with the oldest.
    pub(super) since_oldest: u32,
    /// A bit for each band that has a turn to give.
    pub(super) busy: u8,
    pub(super) bands: [Band; Priority::LEVELS],
    /// By the rank of their first task.
    pub(super) ages: Heap<u64, FlowKey>,
}

const _: () = assert!(Priority::LEVELS <= u8::BITS as usize);

/// The flows of one class and priority that may be dispatched.
#[derive(Clone, Debug, Default)]
pub(super) struct Band {
    /// By virtual time, then by the rank of their first task.
    pub(super) turns: Heap<(u64, u64), FlowKey>,
    /// The highest virtual time at which a flow was dispatched: where flows start again when
    /// nobody waits whose virtual time could be compared.
    pub(super) clock: u64,
}

impl Flow {
    /// Moves its virtual time on.
    pub(super) fn charge(&mut self, nanos: u64) {
        self.pending = self.pending.saturating_add(nanos);
        self.virtual_time = self.virtual_time.saturating_add(nanos);
    }

    /// Replaces a charge by what the attempt really took.
    fn correct(&mut self, charged: u64, actual: u64) {
        let actual = if actual == 0 {
            0
        } else {
            actual.clamp(CHARGE_MIN, CHARGE_MAX)
        };
        self.pending = self.pending.saturating_sub(charged);
        // Attempts end roughly in the order of their dispatch, so what was charged before a
        // restart is corrected first.
        let forgiven = self.forgiven > 0;
        self.forgiven = self.forgiven.saturating_sub(charged);
        if actual >= charged {
            self.virtual_time = self.virtual_time.saturating_add(actual - charged);
        } else if !forgiven {
            self.virtual_time = self.virtual_time.saturating_sub(charged - actual);
        }
    }
}

impl Class {
    /// The flow whose turn it is.
    pub(super) fn next(&self) -> Option<FlowKey> {
        let band = self.bands.get(self.busy.trailing_zeros() as usize)?;
        band.turns.first().map(|(_, flow)| flow)
    }
}

impl Queue {
    /// Charges a client for a dispatch, by the estimate of its run time. Below a microsecond is
    /// charged as a microsecond.
    pub fn charge(&mut self, client: ClientKey, class: ClassId, priority: Priority, nanos: u64) {
        let Some(index) = self.find_flow(client, class, priority) else {
            return;
        };
        self.flows[index].charge(nanos.clamp(CHARGE_MIN, CHARGE_MAX));
        self.refresh_turn(index);
    }

    /// Replaces a charge by what the attempt really took: to be called once for each charge, when
    /// the attempt has ended, with the same estimate. `actual` 0 means that it did not run, and
    /// the whole charge is refunded; an attempt that did run is charged a microsecond at least.
    pub fn correct(
        &mut self,
        client: ClientKey,
        class: ClassId,
        priority: Priority,
        charged: u64,
        actual: u64,
    ) {
        self.correct_row(client, class, priority, charged, iter::once(actual));
    }

    /// As [`correct`](Self::correct), for several that were charged the same.
    pub fn correct_row(
        &mut self,
        client: ClientKey,
        class: ClassId,
        priority: Priority,
        charged: u64,
        actual: impl Iterator<Item = u64>,
    ) {
        let Some(index) = self.find_flow(client, class, priority) else {
            return;
        };
        let charged = charged.clamp(CHARGE_MIN, CHARGE_MAX);
        let flow = &mut self.flows[index];
        for actual in actual {
            flow.correct(charged, actual);
        }
        self.refresh_turn(index);
    }

    /// Lets a flow that was idle start again level with the least of those that wait.
    pub(super) fn restart(&mut self, index: FlowKey) {
        let flow = &mut self.flows[index];
        let band = &self.classes[flow.class].bands[flow.priority.level()];
        let level_with = band
            .turns
            .first()
            .map_or(band.clock, |((least, _), _)| least);
        if flow.virtual_time < level_with {
            flow.virtual_time = level_with;
            flow.forgiven = flow.pending;
        }
    }

    pub(super) fn client_mut(&mut self, client: ClientKey) -> &mut Client {
        self.clients.reach(client)
    }

    pub(super) fn find_flow(
        &self,
        client: ClientKey,
        class: ClassId,
        priority: Priority,
    ) -> Option<FlowKey> {
        let flows = &self.clients.get(client)?.flows;
        let found = flows.binary_search_by_key(&(class, priority), |(key, _)| *key);
        found.ok().map(|index| flows[index].1)
    }

    /// The flow of such tasks, made if they are the first of their kind.
    pub(super) fn flow_of(
        &mut self,
        client: ClientKey,
        class: ClassId,
        priority: Priority,
    ) -> FlowKey {
        if let Some(flow) = self.find_flow(client, class, priority) {
            return flow;
        }
        self.classes.reach(class);
        let words = self.classes.reached().div_ceil(u64::BITS as usize);
        self.ready.resize(words, 0);
        let flow = self.flows.insert(Flow {
            client,
            class,
            priority,
            virtual_time: 0,
            pending: 0,
            forgiven: 0,
            head: NodeKey::NONE,
            tail: NodeKey::NONE,
            out_of_order: BTreeSet::new(),
        });
        let flows = &mut self.client_mut(client).flows;
        let place = flows.partition_point(|(key, _)| *key < (class, priority));
        flows.insert(place, ((class, priority), flow));
        flow
    }

    /// The node of a flow's first task.
    pub(super) fn head(&self, flow: FlowKey) -> Option<NodeKey> {
        let flow = &self.flows[flow];
        let listed = (flow.head != NodeKey::NONE).then_some(flow.head);
        let Some(&(order, out_of_order)) = flow.out_of_order.first() else {
            return listed;
        };
        listed
            .filter(|&head| self.node(head).order < order)
            .or(Some(out_of_order))
    }

    /// Puts a node where its links say: at the end when it is new, where it was when it had been
    /// taken out and nothing has changed since.
    pub(super) fn link(&mut self, index: NodeKey) {
        let node = *self.node(index);
        let Node {
            flow: flow_index,
            before,
            after,
            out_of_order,
            ..
        } = node;
        let flow = &mut self.flows[flow_index];
        if out_of_order {
            flow.out_of_order.insert((node.order, index));
        } else {
            match self.nodes.get_mut(before) {
                Some(node) => node.after = index,
                None => flow.head = index,
            }
            match self.nodes.get_mut(after) {
                Some(node) => node.before = index,
                None => flow.tail = index,
            }
        }
        if node.item.standing() == Standing::Returning {
            self.returned.insert((node.class, node.order, index));
        }
        self.hold(index);
        self.count(index, self.tasks_at(&node), node.bytes);
        self.refresh_if_first(flow_index, before, out_of_order);
    }

    /// Takes a node out of all order, and leaves its links as they were.
    pub(super) fn unlink(&mut self, index: NodeKey) {
        let Node {
            flow,
            before,
            out_of_order,
            ..
        } = *self.node(index);
        self.cut(index);
        self.refresh_if_first(flow, before, out_of_order);
    }

    /// The same, but the flow's place among the others is for the caller to refresh.
    pub(super) fn cut(&mut self, index: NodeKey) {
        let node = *self.node(index);
        let Node {
            flow: flow_index,
            before,
            after,
            out_of_order,
            ..
        } = node;
        let flow = &mut self.flows[flow_index];
        if out_of_order {
            flow.out_of_order.remove(&(node.order, index));
        } else {
            match self.nodes.get_mut(before) {
                Some(node) => node.after = after,
                None => flow.head = after,
            }
            match self.nodes.get_mut(after) {
                Some(node) => node.before = before,
                None => flow.tail = before,
            }
        }
        if node.item.standing() == Standing::Returning {
            self.returned.remove(&(node.class, node.order, index));
        }
        self.release(index);
        self.uncount(index, self.tasks_at(&node), node.bytes);
    }

    /// So many tasks come to wait at a node, with so many bytes together.
    pub(super) fn count(&mut self, index: NodeKey, tasks: u32, bytes: u32) {
        let node = *self.node(index);
        self.waiting[node.priority.level()] += tasks as usize;
        self.classes[node.class].waiting += tasks;
        self.clients[node.client].waiting += tasks;
        if node.item.standing().is_bounded() {
            self.room.tasks += tasks as usize;
            self.room.bytes += u64::from(bytes);
            let level = node.priority.level();
            self.clients[node.client].holdings[level].held += tasks;
            self.rank(node.client, level);
        }
    }

    /// They wait there no longer.
    pub(super) fn uncount(&mut self, index: NodeKey, tasks: u32, bytes: u32) {
        let node = *self.node(index);
        self.waiting[node.priority.level()] -= tasks as usize;
        self.classes[node.class].waiting -= tasks;
        self.clients[node.client].waiting -= tasks;
        if node.item.standing().is_bounded() {
            self.room.tasks -= tasks as usize;
            self.room.bytes -= u64::from(bytes);
            let level = node.priority.level();
            self.clients[node.client].holdings[level].held -= tasks;
            self.rank(node.client, level);
        }
    }

    /// As `refresh`, unless a node with these links has another before it: most tasks come behind
    /// others of their flow, and change nothing about its turn.
    pub(super) fn refresh_if_first(&mut self, flow: FlowKey, before: NodeKey, out_of_order: bool) {
        if out_of_order || before == NodeKey::NONE {
            self.refresh(flow);
        }
    }

    /// Brings the heaps up to date after a flow's first task, or whether it may have turns, has
    /// changed.
    pub(super) fn refresh(&mut self, index: FlowKey) {
        let flow = &self.flows[index];
        let head = if self.clients[flow.client].blocked {
            None
        } else {
            self.head(index)
        };
        let number = usize::from(flow.class.0);
        let class = &mut self.classes[flow.class];
        let level = flow.priority.level();
        let turns = &mut class.bands[level].turns;
        if let Some(head) = head {
            let order = self.nodes[head].order;
            turns.put(&mut self.turns_at, index, (flow.virtual_time, order));
            class.ages.put(&mut self.ages_at, index, order);
            class.busy |= 1 << level;
        } else {
            turns.remove(&mut self.turns_at, index);
            class.ages.remove(&mut self.ages_at, index);
            if turns.is_empty() {
                class.busy &= !(1 << level);
            }
        }
        let (word, bit) = (number / u64::BITS as usize, number % u64::BITS as usize);
        self.ready[word] &= !(1 << bit);
        self.ready[word] |= u64::from(class.busy != 0) << bit;
    }

    /// Brings the turns up to date after a flow's virtual time has changed.
    fn refresh_turn(&mut self, index: FlowKey) {
        let flow = &self.flows[index];
        let band = &mut self.classes[flow.class].bands[flow.priority.level()];
        if let Some((_, order)) = band.turns.key(&self.turns_at, index) {
            band.turns
                .put(&mut self.turns_at, index, (flow.virtual_time, order));
        }
    }
}
