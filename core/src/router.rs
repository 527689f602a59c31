//! Stand-in.
#![allow(missing_docs)]
use alloc::collections::BTreeMap;
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerKey(pub u32);
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bid(u64);
#[derive(Debug)]
pub struct Speed;
impl Bid {
    pub fn new(_: &Speed, o: u32, c: u32) -> Self {
        Self(u64::from(o) * 1000 / u64::from(c))
    }
}
impl Speed {
    pub fn new() -> Self {
        Self
    }
    pub fn completed(&mut self, _: u64, _: u64) {}
    pub fn failed(&mut self, _: u64, _: u64) {}
    pub fn average(&self) -> u64 {
        1_000_000
    }
    pub fn slowness_millis(&self) -> u32 {
        1000
    }
}
#[derive(Debug)]
pub struct Router(BTreeMap<WorkerKey, Bid>);
impl Router {
    pub fn new() -> Self {
        Self(BTreeMap::new())
    }
    pub fn set(&mut self, w: WorkerKey, b: Option<Bid>) {
        match b {
            Some(b) => {
                self.0.insert(w, b);
            }
            None => {
                self.0.remove(&w);
            }
        }
    }
    pub fn pick(&self) -> Option<WorkerKey> {
        self.0
            .iter()
            .min_by_key(|(w, b)| (**b, **w))
            .map(|(w, _)| *w)
    }
    pub fn bid(&self, w: WorkerKey) -> Option<Bid> {
        self.0.get(&w).copied()
    }
}
