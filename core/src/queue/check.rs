//! What must hold between any two calls.

use alloc::vec;

use super::{ClassId, NONE, Queue, Standing};
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
        assert_eq!(self.tasks, bounded().count());
        assert_eq!(
            self.bytes,
            bounded().map(|entry| u64::from(entry.bytes)).sum::<u64>()
        );
        assert!(
            self.tasks + self.reserved_tasks <= self.tasks_max,
            "{} tasks and {} to come",
            self.tasks,
            self.reserved_tasks
        );
        let returned = self
            .nodes
            .iter()
            .filter(|(_, node)| node.entry.standing == super::Standing::Returning);
        assert_eq!(returned.count(), self.returned.len());
        assert!(self.bytes <= self.bytes_max, "{} bytes", self.bytes);
        for priority in (0..Priority::LEVELS as u8).filter_map(Priority::new) {
            let waiting = self
                .iter()
                .filter(|entry| entry.priority == priority)
                .count();
            assert_eq!(self.waiting[priority.level()], waiting);
        }
        for (index, node) in &self.nodes {
            assert_eq!(self.by_task[node.entry.task.0 as usize] as usize, index);
        }
        for (number, class) in self.classes.iter().enumerate() {
            let id = ClassId(number as u16);
            let waiting = self.iter().filter(|entry| entry.class == id).count();
            assert_eq!(class.waiting as usize, waiting);
            let ready = self.classes().any(|ready| ready == id);
            assert_eq!(ready, self.has_dispatchable(id), "{id:?}");
        }
        let known = self.by_task.iter().filter(|&&node| node != NONE).count();
        assert_eq!(known, self.nodes.len());
    }

    fn check_flows(&self) {
        let mut waiting = vec![0; self.clients.len()];
        let mut listed = 0;
        for (index, flow) in &self.flows {
            let key = (flow.class, flow.priority);
            assert!(
                self.clients[flow.client.0 as usize]
                    .flows
                    .contains(&(key, index as u32))
            );
            let (mut before, mut at, mut order) = (NONE, flow.head, None);
            while let Some(node) = self.nodes.get(at as usize) {
                assert_eq!(node.before, before);
                assert!(!node.late);
                assert!(
                    order <= Some(node.entry.order),
                    "a flow is first in, first out"
                );
                (before, at, order) = (at, node.after, Some(node.entry.order));
                listed += 1;
                waiting[flow.client.0 as usize] += 1;
                assert_eq!(node.flow as usize, index);
            }
            assert_eq!(flow.tail, before);
            for &(order, late) in &flow.late {
                let node = self.node(late);
                assert!(node.late);
                assert_eq!((node.flow as usize, node.entry.order), (index, order));
                listed += 1;
                waiting[flow.client.0 as usize] += 1;
            }
            self.check_turn(index as u32);
        }
        assert_eq!(listed, self.nodes.len());
        for (client, waiting) in self.clients.iter().zip(waiting) {
            assert_eq!(client.waiting, waiting);
            assert!(client.flows.is_sorted());
        }
        for class in &self.classes {
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
    fn check_turn(&self, index: u32) {
        let flow = &self.flows[index as usize];
        let head = if self.clients[flow.client.0 as usize].blocked {
            None
        } else {
            self.head(index).map(|head| self.node(head).entry.order)
        };
        let class = &self.classes[usize::from(flow.class.0)];
        let turn = class.bands[flow.priority.level()]
            .turns
            .key(&self.turns_at, index);
        assert_eq!(turn, head.map(|order| (flow.virtual_time, order)));
        assert_eq!(class.ages.key(&self.ages_at, index), head);
        assert!(flow.forgiven <= flow.pending);
    }

    fn check_holders(&self) {
        let mut displaceable = 0;
        let mut held = vec![[0; Priority::LEVELS]; self.clients.len()];
        for entry in self.iter().filter(|entry| entry.standing.is_bounded()) {
            held[entry.client.0 as usize][entry.priority.level()] += 1;
        }
        for (index, client) in self.clients.iter().enumerate() {
            for (level, holding) in client.holdings.iter().enumerate() {
                let holders = &self.holders[level];
                assert_eq!(holding.held, held[index][level]);
                let key = holders.heap.key(&holders.places, index as u32);
                assert_eq!(key, (holding.newest != NONE).then_some(!holding.held));
                let (mut newer, mut at) = (NONE, holding.newest);
                while let Some(node) = self.nodes.get(at as usize) {
                    assert_eq!(node.newer, newer);
                    assert_eq!(node.entry.standing, Standing::Fresh);
                    assert_eq!(node.entry.client.0 as usize, index);
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
