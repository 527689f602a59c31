//! The rules of the queue, as slowly and obviously as they can be written: one list in order of
//! arrival, searched from end to end for every decision.

use std::collections::{BTreeMap, BTreeSet};

use argon_core::limits::{OLDEST_EVERY, VICTIMS_MAX};
use argon_core::queue::{ClassId, ClientKey, Entry, Standing, TaskKey};
use argon_core::task::{Priority, RejectReason};

pub(crate) type FlowKey = (ClassId, Priority, ClientKey);

#[derive(Clone, Copy, Debug, Default)]
struct Account {
    virtual_time: u64,
    pending: u64,
    forgiven: u64,
}

#[derive(Debug)]
pub(crate) struct Model {
    tasks_max: usize,
    bytes_max: u64,
    /// In order of arrival.
    pub(crate) waiting: Vec<Entry>,
    accounts: BTreeMap<FlowKey, Account>,
    clocks: BTreeMap<(ClassId, Priority), u64>,
    /// Since the last of the oldest's.
    turns: BTreeMap<ClassId, u32>,
    blocked: BTreeSet<ClientKey>,
    /// Bytes of each task that room is kept for.
    pub(crate) reserved: Vec<u64>,
}

fn flow(entry: &Entry) -> FlowKey {
    (entry.class, entry.priority, entry.client)
}

fn charge(nanos: u64) -> u64 {
    nanos.max(1_000)
}

impl Model {
    pub(crate) fn new(tasks_max: usize, bytes_max: u64) -> Self {
        Self {
            tasks_max,
            bytes_max,
            waiting: Vec::new(),
            accounts: BTreeMap::new(),
            clocks: BTreeMap::new(),
            turns: BTreeMap::new(),
            blocked: BTreeSet::new(),
            reserved: Vec::new(),
        }
    }

    pub(crate) fn bounded(&self) -> impl Iterator<Item = &Entry> {
        self.waiting
            .iter()
            .filter(|entry| entry.standing != Standing::Returning)
    }

    pub(crate) fn len(&self) -> usize {
        self.bounded().count()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bounded().map(|entry| u64::from(entry.bytes)).sum()
    }

    /// No room for another task, however small.
    fn is_full(&self) -> bool {
        self.len() + self.reserved.len() >= self.tasks_max
    }

    fn fits(&self, bytes: u64) -> bool {
        self.bytes() + self.reserved.iter().sum::<u64>() + bytes <= self.bytes_max
    }

    pub(crate) fn reserve(&mut self, bytes: u64) -> bool {
        let fits = !self.is_full() && self.fits(bytes);
        if fits {
            self.reserved.push(bytes);
        }
        fits
    }

    fn held(&self, client: ClientKey, priority: Priority) -> usize {
        let held = self
            .bounded()
            .filter(|e| e.client == client && e.priority == priority);
        held.count()
    }

    /// The newest fresh task of the client that holds most at this priority.
    fn loser(&self, priority: Priority) -> Option<Entry> {
        let fresh = self
            .waiting
            .iter()
            .filter(|e| e.standing == Standing::Fresh);
        let mut fresh = fresh.filter(|e| e.priority == priority);
        let most = fresh
            .clone()
            .map(|e| e.client)
            .min_by_key(|&client| (usize::MAX - self.held(client, priority), client))?;
        fresh.rfind(|e| e.client == most).copied()
    }

    fn victim(&self, newcomer: &Entry) -> Option<Entry> {
        let level = newcomer.priority.level() as u8;
        for below in (level + 1..Priority::LEVELS as u8).rev() {
            if let Some(victim) = self.loser(Priority::new(below).expect("a level")) {
                return Some(victim);
            }
        }
        self.loser(newcomer.priority).filter(|victim| {
            self.held(victim.client, victim.priority)
                >= self.held(newcomer.client, newcomer.priority) + 2
        })
    }

    /// Says who had to go.
    pub(crate) fn push(&mut self, entry: Entry) -> Result<Vec<Entry>, RejectReason> {
        let mut displaced = Vec::new();
        if entry.standing != Standing::Returning {
            let before = self.waiting.clone();
            let bytes = u64::from(entry.bytes);
            let too_many = |model: &Self| model.is_full();
            let too_large = |model: &Self| !model.fits(bytes);
            let reason = if too_many(self) && u64::from(entry.bytes) <= self.bytes_max {
                RejectReason::QueueFull
            } else {
                RejectReason::QueueBytesFull
            };
            while too_many(self) || too_large(self) {
                let victim = self.victim(&entry);
                let Some(victim) = victim.filter(|_| displaced.len() < VICTIMS_MAX) else {
                    self.waiting = before;
                    return Err(reason);
                };
                self.waiting.retain(|e| e.task != victim.task);
                displaced.push(victim);
            }
        }
        self.start(&entry);
        self.waiting.push(entry);
        Ok(displaced)
    }

    /// A task comes to wait in its flow.
    fn start(&mut self, entry: &Entry) {
        let idle = !self.waiting.iter().any(|e| flow(e) == flow(entry));
        if idle && !self.blocked.contains(&entry.client) {
            self.restart(flow(entry));
        }
    }

    fn restart(&mut self, flow_key: FlowKey) {
        let (class, priority, client) = flow_key;
        let least = self.waiting.iter().filter(|e| {
            (e.class, e.priority) == (class, priority)
                && e.client != client
                && !self.blocked.contains(&e.client)
        });
        let least = least.map(|e| self.virtual_time(flow(e))).min();
        let clock = self.clocks.get(&(class, priority)).copied().unwrap_or(0);
        let account = self.accounts.entry(flow_key).or_default();
        let level_with = least.unwrap_or(clock);
        if account.virtual_time < level_with {
            account.virtual_time = level_with;
            account.forgiven = account.pending;
        }
    }

    pub(crate) fn virtual_time(&self, flow: FlowKey) -> u64 {
        self.accounts
            .get(&flow)
            .map_or(0, |account| account.virtual_time)
    }

    pub(crate) fn dispatchable(&self, class: ClassId) -> impl Iterator<Item = &Entry> {
        self.waiting
            .iter()
            .filter(move |e| e.class == class && !self.blocked.contains(&e.client))
    }

    /// The tasks of a turn that takes so many, if there are as many.
    pub(crate) fn turn(&mut self, class: ClassId, want_oldest: bool, tasks: usize) -> Vec<Entry> {
        let Some(oldest) = self.dispatchable(class).min_by_key(|e| e.order).copied() else {
            return Vec::new();
        };
        let turns = self.turns.entry(class).or_default();
        *turns += 1;
        let first = if want_oldest || *turns >= OLDEST_EVERY {
            *turns = 0;
            oldest
        } else {
            let by_rank = |e: &&Entry| (e.priority, self.virtual_time(flow(e)), e.order);
            let first = self.dispatchable(class).min_by_key(by_rank);
            *first.expect("the oldest is one")
        };
        let now = self.virtual_time(flow(&first));
        let clock = self.clocks.entry((class, first.priority)).or_default();
        *clock = now.max(*clock);
        let of_flow = self.waiting.iter().filter(|e| flow(e) == flow(&first));
        let mut taken: Vec<Entry> = of_flow.copied().collect();
        taken.sort_by_key(|e| e.order);
        taken.truncate(tasks);
        self.waiting.retain(|e| !taken.contains(e));
        taken
    }

    pub(crate) fn pop_returning(&mut self, class: ClassId) -> Option<Entry> {
        let returning = self
            .dispatchable(class)
            .filter(|e| e.standing == Standing::Returning);
        let oldest = returning.min_by_key(|e| e.order)?.task;
        self.remove(oldest)
    }

    pub(crate) fn charge(&mut self, flow: FlowKey, nanos: u64) {
        if let Some(account) = self.accounts.get_mut(&flow) {
            account.pending += charge(nanos);
            account.virtual_time += charge(nanos);
        }
    }

    pub(crate) fn correct(&mut self, flow: FlowKey, charged: u64, actual: u64) {
        let charged = charge(charged);
        let actual = if actual == 0 { 0 } else { charge(actual) };
        if let Some(account) = self.accounts.get_mut(&flow) {
            let refund = charged.saturating_sub(actual);
            if account.forgiven == 0 {
                account.virtual_time = account.virtual_time.saturating_sub(refund);
            }
            account.virtual_time += actual.saturating_sub(charged);
            account.forgiven = account.forgiven.saturating_sub(charged);
            account.pending = account.pending.saturating_sub(charged);
        }
    }

    pub(crate) fn remove(&mut self, task: TaskKey) -> Option<Entry> {
        let place = self.waiting.iter().position(|e| e.task == task)?;
        Some(self.waiting.remove(place))
    }

    pub(crate) fn set_class(&mut self, task: TaskKey, class: ClassId) {
        if let Some(entry) = self.remove(task) {
            let entry = Entry { class, ..entry };
            self.start(&entry);
            self.waiting.push(entry);
        }
    }

    pub(crate) fn set_blocked(&mut self, client: ClientKey, blocked: bool) {
        if blocked {
            self.blocked.insert(client);
        } else if self.blocked.remove(&client) {
            let flows = self.waiting.iter().filter(|e| e.client == client).map(flow);
            for flow in flows.collect::<BTreeSet<_>>() {
                self.restart(flow);
            }
        }
    }

    pub(crate) fn forget_client(&mut self, client: ClientKey) {
        self.accounts.retain(|flow, _| flow.2 != client);
        self.blocked.remove(&client);
    }
}
