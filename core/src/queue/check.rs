//! What must hold between any two calls.

use super::{ClientKey, FlowKey, NodeKey, Queue, Standing};
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
        let bounded = || self.iter().filter(|entry| entry.standing.is_bounded());
        assert_eq!(self.room.tasks, bounded().count());
        assert_eq!(
            self.room.bytes,
            bounded().map(|entry| u64::from(entry.bytes)).sum::<u64>()
        );
        assert!(
            self.room.tasks + self.room.reserved_tasks <= self.room.tasks_max,
            "{} tasks and {} to come",
            self.room.tasks,
            self.room.reserved_tasks
        );
        let returned = self
            .nodes
            .iter()
            .filter(|(_, node)| node.entry.standing == Standing::Returning);
        assert_eq!(returned.count(), self.returned.len());
        assert!(
            self.room.bytes <= self.room.bytes_max,
            "{} bytes",
            self.room.bytes
        );
        for priority in (0..Priority::LEVELS as u8).filter_map(Priority::new) {
            let waiting = self
                .iter()
                .filter(|entry| entry.priority == priority)
                .count();
            assert_eq!(self.waiting[priority.level()], waiting);
        }
        for (index, node) in &self.nodes {
            assert_eq!(self.by_task[node.entry.task], index);
        }
        for (id, class) in self.classes.iter() {
            let waiting = self.iter().filter(|entry| entry.class == id).count();
            assert_eq!(class.waiting as usize, waiting);
            let ready = self.classes().any(|ready| ready == id);
            assert_eq!(ready, self.has_dispatchable(id), "{id:?}");
        }
        let known = self
            .by_task
            .values()
            .filter(|&&node| node != NodeKey::NONE)
            .count();
        assert_eq!(known, self.nodes.len());
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
                    order <= Some(node.entry.order),
                    "a flow is first in, first out"
                );
                (before, at, order) = (at, node.after, Some(node.entry.order));
                listed += 1;
                *waiting.reach(flow.client) += 1;
                assert_eq!(node.flow, index);
            }
            assert_eq!(flow.tail, before);
            for &(order, out_of_order) in &flow.out_of_order {
                let node = self.node(out_of_order);
                assert!(node.out_of_order);
                assert_eq!((node.flow, node.entry.order), (index, order));
                listed += 1;
                *waiting.reach(flow.client) += 1;
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
            self.head(index).map(|head| self.node(head).entry.order)
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
        for entry in self.iter().filter(|entry| entry.standing.is_bounded()) {
            held.reach(entry.client)[entry.priority.level()] += 1;
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
                    assert_eq!(node.entry.standing, Standing::Fresh);
                    assert_eq!(node.entry.client, index);
                    assert_eq!(node.entry.priority.level(), level);
                    (newer, at) = (at, node.older);
                    displaceable += 1;
                }
            }
        }
        let fresh = self
            .iter()
            .filter(|entry| entry.standing == Standing::Fresh)
            .count();
        assert_eq!(displaceable, fresh);
        for holders in &self.holders {
            holders.heap.check_invariants(&holders.places);
        }
    }
}
