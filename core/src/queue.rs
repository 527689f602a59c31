//! Stand-in.
#![allow(missing_docs)]
use crate::task::{Priority, RejectReason};
use alloc::vec::Vec;
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskKey(pub u32);
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientKey(pub u32);
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClassId(pub u16);
impl ClassId {
    pub const ANY: Self = Self(0);
}
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Fresh,
    Resubmitted,
    Returning,
}
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub task: TaskKey,
    pub client: ClientKey,
    pub class: ClassId,
    pub priority: Priority,
    pub bytes: u32,
    pub order: u64,
    pub standing: Standing,
}
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Push {
    Queued { displaced: Vec<TaskKey> },
    Full(RejectReason),
}
#[derive(Debug)]
pub struct Queue {
    entries: Vec<Entry>,
    tasks_max: usize,
    held: usize,
    blocked: Vec<ClientKey>,
}
impl Queue {
    pub fn new(tasks_max: usize, _bytes_max: u64) -> Self {
        Self {
            entries: Vec::new(),
            tasks_max,
            held: 0,
            blocked: Vec::new(),
        }
    }
    pub fn push(&mut self, entry: Entry) -> Push {
        if entry.standing != Standing::Returning && self.len() + self.held >= self.tasks_max {
            return Push::Full(RejectReason::QueueFull);
        }
        self.entries.push(entry);
        self.entries.sort_by_key(|e| (e.priority, e.order));
        Push::Queued {
            displaced: Vec::new(),
        }
    }
    pub fn hold(&mut self, _bytes: u64) -> bool {
        if self.len() + self.held >= self.tasks_max {
            return false;
        }
        self.held += 1;
        true
    }
    pub fn unhold(&mut self, _bytes: u64) {
        self.held -= 1;
    }
    pub fn pop(&mut self, _c: ClassId) -> Option<Entry> {
        let i = self
            .entries
            .iter()
            .position(|e| !self.blocked.contains(&e.client))?;
        Some(self.entries.remove(i))
    }
    pub fn pop_returning(&mut self, _c: ClassId) -> Option<Entry> {
        let i = self
            .entries
            .iter()
            .position(|e| e.standing == Standing::Returning && !self.blocked.contains(&e.client))?;
        Some(self.entries.remove(i))
    }
    pub fn charge(&mut self, _c: ClientKey, _: ClassId, _: Priority, _: u64) {}
    pub fn correct(&mut self, _c: ClientKey, _: ClassId, _: Priority, _: u64, _: u64) {}
    pub fn remove(&mut self, t: TaskKey) -> Option<Entry> {
        let i = self.entries.iter().position(|e| e.task == t)?;
        Some(self.entries.remove(i))
    }
    pub fn set_blocked(&mut self, c: ClientKey, b: bool) {
        self.blocked.retain(|x| *x != c);
        if b {
            self.blocked.push(c);
        }
    }
    pub fn forget_client(&mut self, c: ClientKey) {
        self.blocked.retain(|x| *x != c);
    }
    pub fn len(&self) -> usize {
        self.entries
            .iter()
            .filter(|e| e.standing != Standing::Returning)
            .count()
    }
    pub fn bytes(&self) -> u64 {
        0
    }
    pub fn returning(&self) -> usize {
        self.entries.len() - self.len()
    }
    pub fn len_at(&self, p: Priority) -> usize {
        self.entries
            .iter()
            .filter(|e| e.priority == p && e.standing != Standing::Returning)
            .count()
    }
    pub fn client_len(&self, c: ClientKey) -> usize {
        self.entries.iter().filter(|e| e.client == c).count()
    }
    pub fn has_dispatchable(&self, _: ClassId) -> bool {
        self.entries
            .iter()
            .any(|e| !self.blocked.contains(&e.client))
    }
    pub fn oldest(&self, _: ClassId) -> Option<Entry> {
        self.entries.iter().min_by_key(|e| e.order).copied()
    }
    pub fn contains(&self, t: TaskKey) -> bool {
        self.entries.iter().any(|e| e.task == t)
    }
    pub fn check_invariants(&self) {}
}
