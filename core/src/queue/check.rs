//! What must hold between any two calls.

use super::{ClientKey, FlowKey, Item, Node, NodeKey, Queue, Standing};
use crate::arena::SecondaryMap;
use crate::task::Priority;

impl Queue {
    /// Asserts the bounds, and that lists, heaps and counts agree with the tasks that wait. Costs
    /// as much as the queue is long.
    ///
    /// # Panics
    /// If they do not.
    pub fn check_invariants(&self) {
        self.check_counts();
        self.check_flows();
        self.check_holders();
        let classes: alloc::vec::Vec<_> = self.classes().collect();
        let only = <[_; 1]>::try_from(classes).ok().map(|[only]| only);
        assert_eq!(self.only_class(), only);
    }

    fn check_counts(&self) {
        let bounded = || {
            let nodes = self.nodes.iter().map(|(_, node)| node);
            nodes.filter(|node| node.item.standing().is_bounded())
        };
        assert_eq!(self.room.tasks, self.tasks_of(bounded()));
        let bytes = bounded().map(|node| u64::from(node.bytes)).sum::<u64>();
        assert_eq!(self.room.bytes, bytes);
        assert!(
            self.room.tasks + self.room.reserved_tasks <= self.room.tasks_max,
            "{} tasks and {} to come",
            self.room.tasks,
            self.room.reserved_tasks
        );
        let returned = self
            .nodes
            .iter()
            .filter(|(_, node)| node.item.standing() == Standing::Returning);
        assert_eq!(returned.count(), self.returned.len());
        assert!(
            self.room.bytes <= self.room.bytes_max,
            "{} bytes",
            self.room.bytes
        );
        let nodes = || self.nodes.iter().map(|(_, node)| node);
        for priority in (0..Priority::LEVELS as u8).filter_map(Priority::new) {
            let waiting = self.tasks_of(nodes().filter(|node| node.priority == priority));
            assert_eq!(self.waiting[priority.level()], waiting);
        }
        for (index, node) in &self.nodes {
            match node.item {
                Item::Task(task, _) => assert_eq!(self.by_task[task], index),
                Item::Run(run) => {
                    let run = &self.runs[run];
                    run.check_invariants();
                    let known = (run.node, run.bytes(), run.first_order());
                    assert_eq!(known, (index, node.bytes, node.order));
                }
            }
        }
        for (id, class) in self.classes.iter() {
            let waiting = self.tasks_of(nodes().filter(|node| node.class == id));
            assert_eq!(class.waiting as usize, waiting);
            let ready = self.classes().any(|ready| ready == id);
            assert_eq!(ready, self.has_dispatchable(id), "{id:?}");
        }
        let known = self
            .by_task
            .values()
            .filter(|&&node| node != NodeKey::NONE)
            .count();
        assert_eq!(known + self.runs.len(), self.nodes.len());
    }

    fn tasks_of<'a>(&self, nodes: impl Iterator<Item = &'a Node>) -> usize {
        nodes.map(|node| self.tasks_at(node) as usize).sum()
    }

    fn check_flows(&self) {
        let mut waiting: SecondaryMap<ClientKey, u32> = SecondaryMap::default();
        let mut listed = 0;
        for (index, flow) in &self.flows {
            let key = (flow.class, flow.priority);
            assert!(self.clients[flow.client].flows.contains(&(key, index)));
            let (mut before, mut at, mut order) = (NodeKey::NONE, flow.head, None);
            while let Some(node) = self.nodes.get(at) {
                assert_eq!(node.before, before);
                assert!(!node.out_of_order);
                assert!(
                    order <= Some(node.order),
                    "a flow is first in, first out"
                );
                (before, at, order) = (at, node.after, Some(self.last_order(at)));
                listed += 1;
                *waiting.reach(flow.client) += self.tasks_at(node);
                assert_eq!(node.flow, index);
            }
            assert_eq!(flow.tail, before);
            for &(order, out_of_order) in &flow.out_of_order {
                let node = self.node(out_of_order);
                assert!(node.out_of_order);
                assert_eq!((node.flow, node.order), (index, order));
                listed += 1;
                *waiting.reach(flow.client) += self.tasks_at(node);
            }
            self.check_turn(index);
        }
        assert_eq!(listed, self.nodes.len());
        for (key, client) in self.clients.iter() {
            assert_eq!(client.waiting, *waiting.reach(key));
            assert!(client.flows.is_sorted());
        }
        for class in self.classes.values() {
            class.ages.check_invariants(&self.ages_at);
            let turns = class
                .bands
                .iter()
                .map(|band| band.turns.len())
                .sum::<usize>();
            assert_eq!(class.ages.len(), turns);
            for (level, band) in class.bands.iter().enumerate() {
                band.turns.check_invariants(&self.turns_at);
                assert_eq!(class.busy >> level & 1 == 0, band.turns.is_empty());
            }
        }
    }

    /// A flow has a turn and an age exactly if it has a task and its client is not blocked.
    fn check_turn(&self, index: FlowKey) {
        let flow = &self.flows[index];
        let head = if self.clients[flow.client].blocked {
            None
        } else {
            self.head(index).map(|head| self.node(head).order)
        };
        let class = &self.classes[flow.class];
        let turn = class.bands[flow.priority.level()]
            .turns
            .key(&self.turns_at, index);
        assert_eq!(turn, head.map(|order| (flow.virtual_time, order)));
        assert_eq!(class.ages.key(&self.ages_at, index), head);
        assert!(flow.forgiven <= flow.pending);
    }

    fn check_holders(&self) {
        let mut displaceable = 0;
        let mut held: SecondaryMap<ClientKey, [u32; Priority::LEVELS]> = SecondaryMap::default();
        for (_, node) in &self.nodes {
            if node.item.standing().is_bounded() {
                held.reach(node.client)[node.priority.level()] += self.tasks_at(node);
            }
        }
        for (index, client) in self.clients.iter() {
            for (level, holding) in client.holdings.iter().enumerate() {
                let holders = &self.holders[level];
                assert_eq!(holding.held, held.reach(index)[level]);
                let key = holders.heap.key(&holders.places, index);
                assert_eq!(
                    key,
                    (holding.newest != NodeKey::NONE).then_some(!holding.held)
                );
                let (mut newer, mut at) = (NodeKey::NONE, holding.newest);
                while let Some(node) = self.nodes.get(at) {
                    assert_eq!(node.newer, newer);
                    assert_eq!(node.item.standing(), Standing::Fresh);
                    assert_eq!(node.client, index);
                    assert_eq!(node.priority.level(), level);
                    (newer, at) = (at, node.older);
                    displaceable += 1;
                }
            }
        }
        let fresh = self
            .iter()
            .filter(|waiting| waiting.item.standing() == Standing::Fresh)
            .count();
        assert_eq!(displaceable, fresh);
        for holders in &self.holders {
            holders.heap.check_invariants(&holders.places);
        }
    }
}
