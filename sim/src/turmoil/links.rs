//! What links between hosts are to be like. turmoil's own state of a link forgets one cause when
//! another ends (`release` also heals), so causes are counted here and applied anew every time.

use std::collections::{BTreeMap, BTreeSet};

use turmoil::Sim;

use super::host::called;
use crate::options::{Host, Options};

/// Causes that keep messages from arriving.
#[derive(Debug, Default)]
pub(super) struct Links {
    /// Messages from one to the other are lost.
    cuts: BTreeMap<(Host, Host), u32>,
    /// Messages between the two wait; the smaller host first.
    holds: BTreeMap<(Host, Host), u32>,
    /// Hosts without power.
    dark: BTreeSet<Host>,
}

impl Links {
    /// Whether what `from` sends to `to` is lost.
    pub(super) fn is_cut(&self, from: Host, to: Host) -> bool {
        self.dark.contains(&from)
            || self.dark.contains(&to)
            || self.cuts.get(&(from, to)).is_some_and(|causes| *causes > 0)
    }

    pub(super) fn cut(&mut self, from: Host, to: Host, begins: bool) {
        count(self.cuts.entry((from, to)).or_default(), begins);
    }

    pub(super) fn hold(&mut self, a: Host, b: Host, begins: bool) {
        count(self.holds.entry((a.min(b), a.max(b))).or_default(), begins);
    }

    pub(super) fn set_dark(&mut self, host: Host, dark: bool) {
        if dark {
            self.dark.insert(host);
        } else {
            self.dark.remove(&host);
        }
    }

    /// Makes the link between two hosts what it is to be.
    pub(super) fn apply(&self, sim: &Sim<'_>, options: &Options, a: Host, b: Host) {
        let held = self.holds.get(&(a.min(b), a.max(b)));
        let [first, second] = [called(options, a), called(options, b)];
        if held.is_some_and(|causes| *causes > 0) {
            sim.hold(first.as_str(), second.as_str());
        } else {
            sim.release(first.as_str(), second.as_str());
        }
        if self.is_cut(a, b) {
            sim.partition_oneway(first.as_str(), second.as_str());
        }
        if self.is_cut(b, a) {
            sim.partition_oneway(second.as_str(), first.as_str());
        }
    }
}

fn count(causes: &mut u32, begins: bool) {
    *causes = if begins {
        *causes + 1
    } else {
        causes.saturating_sub(1)
    };
}
