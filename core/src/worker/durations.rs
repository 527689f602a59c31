//! How long attempts of each task name run.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::limits::NAMES_MAX;
use crate::name::Name;

/// Completions after which a maximum is forgotten: it is that of the last one to two spans.
const SPAN: u32 = 64;

/// A remembered name. After it was forgotten the key means the name that took its place, which
/// costs a wrong estimate and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NameKey(u32);

#[derive(Debug)]
struct Row {
    name: Name,
    used: u64,
    mean: Option<u64>,
    max: u64,
    max_before: u64,
    count: u32,
}

/// Run-time estimates by task name, in nanoseconds.
#[derive(Debug, Default)]
pub(super) struct Durations {
    rows: Vec<Row>,
    keys: BTreeMap<Name, u32>,
    uses: u64,
}

impl Durations {
    /// No name is known.
    #[must_use]
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// The key of `name`; the least recently used name makes room for a new one.
    pub(super) fn intern(&mut self, name: &Name) -> NameKey {
        self.uses += 1;
        if let Some(&key) = self.keys.get(name) {
            self.rows[key as usize].used = self.uses;
            return NameKey(key);
        }
        let row = Row {
            name: name.clone(),
            used: self.uses,
            mean: None,
            max: 0,
            max_before: 0,
            count: 0,
        };
        let key = if self.rows.len() < NAMES_MAX {
            self.rows.push(row);
            self.rows.len() - 1
        } else {
            let oldest = (0..self.rows.len())
                .min_by_key(|&key| self.rows[key].used)
                .expect("the bound is not zero");
            self.keys.remove(&self.rows[oldest].name);
            self.rows[oldest] = row;
            oldest
        };
        self.keys.insert(name.clone(), key as u32);
        NameKey(key as u32)
    }

    /// What an attempt of this name is expected to take; 0 if none was seen.
    #[must_use]
    pub(super) fn expected(&self, key: NameKey) -> u64 {
        self.rows[key.0 as usize].mean.unwrap_or(0)
    }

    /// An attempt of this name ran for `ran` nanoseconds.
    pub(super) fn completed(&mut self, key: NameKey, ran: u64) {
        let row = &mut self.rows[key.0 as usize];
        row.mean = Some(match row.mean {
            None => ran,
            Some(mean) => mean - mean / 16 + ran / 16,
        });
        row.max = row.max.max(ran);
        row.count += 1;
        if row.count == SPAN {
            row.max_before = row.max;
            row.max = 0;
            row.count = 0;
        }
    }

    /// The longest of the last 64 to 128 attempts; `u64::MAX` if none was seen.
    #[must_use]
    pub(super) fn recent_max(&self, key: NameKey) -> u64 {
        let row = &self.rows[key.0 as usize];
        row.mean.map_or(u64::MAX, |_| row.max.max(row.max_before))
    }
}
