//! Who holds how much of the queue, and who loses a place to a newcomer.

use alloc::vec::Vec;

use super::heap::{Heap, Places};
use super::{ClientKey, Entry, Item, Node, NodeKey, Queue, RunKey, Standing, Taken};
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

/// A task that was taken out for another.
#[derive(Clone, Copy, Debug)]
enum Victim {
    /// The only one of its node.
    All(NodeKey),
    /// The last of a run of several, which was at this place.
    LastOf(RunKey, u16),
}

impl Queue {
    /// Makes room for `newcomer` by the rules in the [module](super), or changes nothing.
    pub(super) fn make_room(&mut self, newcomer: &Entry) -> Result<Vec<Taken>, RejectReason> {
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
        let mut victims: [Option<Victim>; VICTIMS_MAX] = [const { None }; VICTIMS_MAX];
        let mut count = 0;
        while !self.has_room(bytes) {
            let node = if count < VICTIMS_MAX {
                self.victim(newcomer)
            } else {
                None
            };
            let Some(node) = node else {
                for victim in victims.into_iter().rev().flatten() {
                    match victim {
                        Victim::All(node) => self.link(node),
                        Victim::LastOf(run, place) => self.restore_last(run, place),
                    }
                }
                return Err(reason);
            };
            victims[count] = Some(self.take_victim(node));
            count += 1;
        }
        let gone = victims.into_iter().flatten().map(|victim| match victim {
            Victim::All(node) => self.describe_unlinked(node),
            Victim::LastOf(run, place) => self.describe_gone(run, place),
        });
        Ok(gone.collect())
    }

    /// Takes out the newest task that waits at a node.
    fn take_victim(&mut self, node: NodeKey) -> Victim {
        match self.node(node).item {
            Item::Run(run) if self.tasks_at(self.node(node)) > 1 => {
                Victim::LastOf(run, self.remove_last(run))
            }
            Item::Run(_) | Item::Task(..) => {
                self.unlink(node);
                Victim::All(node)
            }
        }
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

    /// What a new node will be linked to as the newest that its client may lose.
    pub(super) fn newest_held(&self, client: ClientKey, priority: Priority) -> NodeKey {
        self.holding(client, priority).newest
    }

    fn holding(&self, client: ClientKey, priority: Priority) -> Holding {
        let client = self.clients.get(client);
        client.map_or_else(Holding::default, |client| client.holdings[priority.level()])
    }

    /// Links a node into what its client may lose.
    pub(super) fn hold(&mut self, index: NodeKey) {
        let node = *self.node(index);
        if node.item.standing() != Standing::Fresh {
            return;
        }
        let Node { older, newer, .. } = node;
        if let Some(node) = self.nodes.get_mut(older) {
            node.newer = index;
        }
        debug_assert_eq!(newer, NodeKey::NONE, "victims come back newest last");
        self.clients[node.client].holdings[node.priority.level()].newest = index;
    }

    /// The opposite of `hold`.
    pub(super) fn release(&mut self, index: NodeKey) {
        let node = *self.node(index);
        if node.item.standing() != Standing::Fresh {
            return;
        }
        let Node { older, newer, .. } = node;
        if let Some(node) = self.nodes.get_mut(older) {
            node.newer = newer;
        }
        match self.nodes.get_mut(newer) {
            Some(node) => node.older = older,
            None => self.clients[node.client].holdings[node.priority.level()].newest = older,
        }
    }

    /// Brings a client's rank among the holders up to date.
    pub(super) fn rank(&mut self, client: ClientKey, level: usize) {
        let Holding { held, newest } = self.clients[client].holdings[level];
        let Holders { heap, places } = &mut self.holders[level];
        if newest == NodeKey::NONE {
            heap.remove(places, client);
        } else {
            heap.put(places, client, !held);
        }
    }
}
