//! Who holds how much of the queue, and who loses a place to a newcomer.

use alloc::vec::Vec;

use super::heap::{Heap, Places};
use super::{ClientKey, Entry, Node, NodeKey, Queue, Standing, TaskKey};
use crate::limits::VICTIMS_MAX;
use crate::task::{Priority, RejectReason};

/// What one client holds of the bounded queue at one priority, over all classes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Holding {
    /// Tasks that count against the bounds.
    pub(super) held: u32,
    /// The one of them that came last and may be displaced; the others are linked from it.
    pub(super) newest: NodeKey,
}

impl Default for Holding {
    fn default() -> Self {
        Self {
            held: 0,
            newest: NodeKey::NONE,
        }
    }
}

/// The clients that have something to lose at one priority, the one that holds most first. Of
/// those that hold the same, the one with the lowest key: it will hold one less afterwards.
#[derive(Clone, Debug, Default)]
pub(super) struct Holders {
    /// By the complement of what they hold, so that the least key holds most.
    pub(super) heap: Heap<u32, ClientKey>,
    pub(super) places: Places<ClientKey>,
}

impl Queue {
    /// Makes room for `newcomer` by the rules in the [module](super), or changes nothing.
    pub(super) fn make_room(&mut self, newcomer: &Entry) -> Result<Vec<TaskKey>, RejectReason> {
        let bytes = u64::from(newcomer.bytes);
        let reason = if !self.has_task_room() {
            RejectReason::QueueFull
        } else if !self.has_byte_room(bytes) {
            RejectReason::QueueBytesFull
        } else {
            return Ok(Vec::new());
        };
        if bytes > self.room.bytes_max {
            return Err(RejectReason::QueueBytesFull);
        }
        // Victims are taken out one after the other, since each changes who holds most, and put
        // back in the opposite order if they turn out not to be enough.
        let mut victims = [NodeKey::NONE; VICTIMS_MAX];
        let mut count = 0;
        while !self.has_room(bytes) {
            let victim = if count < VICTIMS_MAX {
                self.victim(newcomer)
            } else {
                None
            };
            let Some(victim) = victim else {
                for &victim in victims[..count].iter().rev() {
                    self.link(victim);
                }
                return Err(reason);
            };
            self.unlink(victim);
            victims[count] = victim;
            count += 1;
        }
        let gone = victims[..count].iter().map(|&victim| {
            let task = self.nodes.remove(victim).entry.task;
            self.by_task[task] = NodeKey::NONE;
            task
        });
        Ok(gone.collect())
    }

    /// The node that `newcomer` may displace first.
    fn victim(&self, newcomer: &Entry) -> Option<NodeKey> {
        let level = newcomer.priority.level();
        for less_important in (level + 1..Priority::LEVELS).rev() {
            if let Some((_, client)) = self.holders[less_important].heap.first() {
                return Some(self.clients[client].holdings[less_important].newest);
            }
        }
        let (_, client) = self.holders[level].heap.first()?;
        let most = self.clients[client].holdings[level];
        let own = self.holding(newcomer.client, newcomer.priority).held;
        (most.held >= own + 2).then_some(most.newest)
    }

    /// What `entry` will be linked to as the newest that its client may lose.
    pub(super) fn newest_held(&self, entry: &Entry) -> NodeKey {
        self.holding(entry.client, entry.priority).newest
    }

    fn holding(&self, client: ClientKey, priority: Priority) -> Holding {
        let client = self.clients.get(client);
        client.map_or_else(Holding::default, |client| client.holdings[priority.level()])
    }

    /// Counts a node against the bounds and links it into what its client may lose.
    pub(super) fn hold(&mut self, index: NodeKey) {
        let Node {
            entry,
            older,
            newer,
            ..
        } = *self.node(index);
        if !entry.standing.is_bounded() {
            return;
        }
        self.room.tasks += 1;
        self.room.bytes += u64::from(entry.bytes);
        let level = entry.priority.level();
        let holding = &mut self.clients[entry.client].holdings[level];
        holding.held += 1;
        if entry.standing == Standing::Fresh {
            if let Some(node) = self.nodes.get_mut(older) {
                node.newer = index;
            }
            debug_assert_eq!(newer, NodeKey::NONE, "victims come back newest last");
            holding.newest = index;
        }
        self.rank(entry.client, level);
    }

    /// The opposite of `hold`.
    pub(super) fn release(&mut self, index: NodeKey) {
        let Node {
            entry,
            older,
            newer,
            ..
        } = *self.node(index);
        if !entry.standing.is_bounded() {
            return;
        }
        self.room.tasks -= 1;
        self.room.bytes -= u64::from(entry.bytes);
        let level = entry.priority.level();
        let holding = &mut self.clients[entry.client].holdings[level];
        holding.held -= 1;
        if entry.standing == Standing::Fresh {
            if let Some(node) = self.nodes.get_mut(older) {
                node.newer = newer;
            }
            match self.nodes.get_mut(newer) {
                Some(node) => node.older = older,
                None => holding.newest = older,
            }
        }
        self.rank(entry.client, level);
    }

    /// Brings a client's rank among the holders up to date.
    fn rank(&mut self, client: ClientKey, level: usize) {
        let Holding { held, newest } = self.clients[client].holdings[level];
        let Holders { heap, places } = &mut self.holders[level];
        if newest == NodeKey::NONE {
            heap.remove(places, client);
        } else {
            heap.put(places, client, !held);
        }
    }
}
