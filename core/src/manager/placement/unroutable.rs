//! Names of waiting tasks that nobody can run, and until when each waits.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::time::Duration;

use crate::limits::SUGGESTIONS_MAX;
use crate::name::Name;
use crate::queue::Item;
use crate::steps::step;
use crate::time::{AwakeInstant, Instant, Timers};

use super::groups::NOBODY;
use super::rest::Rest;
use super::similar::similar;
use super::{Placement, Tasks};
use crate::manager::tasks::Place;

/// How often at most it is asked again whether somebody may yet come who can run a task.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Rest after each pair of bytes that was compared, which takes a tenth of this or less.
const COMPARISON_REST: Duration = Duration::from_nanos(10);
/// So much rest may be due and names are compared all the same, so that what is rare is done at once.
const COMPARISON_BURST: Duration = Duration::from_millis(20);
/// Names without tasks that may be listed before the list is made anew.
const UNROUTABLE_SLACK: usize = 64;

/// See the [module](self).
#[derive(Clone, Debug, Default)]
pub(super) struct Unroutable {
    until: Timers<Name, AwakeInstant>,
    /// When it was last looked through the queue for those that are due.
    looked: Option<AwakeInstant>,
    /// From comparing names.
    rest: Rest,
    /// Whether it cannot be known yet who runs what, if that was asked in this call of the manager:
    /// to know it, all workers are looked at.
    may_come: Option<bool>,
}

impl Unroutable {
    pub(super) fn contains(&self, name: &Name) -> bool {
        self.until.get(name.clone()).is_some()
    }

    /// When to look again: as the first is due, and not too soon after the last look.
    fn next(&self) -> Option<AwakeInstant> {
        let (first, _) = self.until.next()?;
        let rested = self.looked.map(|looked| looked + LOOK_EVERY);
        Some(rested.map_or(first, |rested| first.max(rested)))
    }

    /// Takes out the names that are due.
    fn take_due(&mut self, awake: AwakeInstant) -> BTreeSet<Name> {
        let mut names = BTreeSet::new();
        while let Some(name) = self.until.pop_due(awake) {
            step();
            names.insert(name);
        }
        names
    }
}

impl Placement {
    /// Whether this name is listed as one that nobody runs.
    pub(in crate::manager) fn is_unroutable(&self, name: &Name) -> bool {
        self.unroutable.contains(name)
    }

    /// A call of the manager begins: workers may have come or gone since.
    pub(in crate::manager) fn forget_may_come(&mut self) {
        self.unroutable.may_come = None;
    }

    /// Whether it cannot be known yet who runs what, asked once in a call of the manager.
    pub(in crate::manager) fn may_come(&mut self, look: impl FnOnce(&Self) -> bool) -> bool {
        if let Some(known) = self.unroutable.may_come {
            return known;
        }
        let may_come = look(self);
        self.unroutable.may_come = Some(may_come);
        may_come
    }

    /// When to look at what nobody can run; `None` if there is nothing like that.
    pub(in crate::manager) fn next_unroutable(&self) -> Option<AwakeInstant> {
        self.unroutable.next()
    }

    /// Brings the names that nobody can run up to date with the tasks that wait.
    pub(super) fn list_unroutable(&mut self, awake: AwakeInstant, tasks: &Tasks) {
        let until = awake + self.runner_wait;
        let before = core::mem::take(&mut self.unroutable);
        self.unroutable.looked = before.looked;
        self.unroutable.rest = before.rest;
        self.unroutable.may_come = before.may_come;
        for entry in self.queue.iter() {
            step();
            if entry.class != NOBODY {
                continue;
            }
            let (name, _) = tasks.name_of(entry.item);
            if !self.unroutable.contains(name) {
                let until = before.until.get(name.clone()).unwrap_or(until);
                self.unroutable.until.set(name.clone(), until);
            }
        }
    }

    pub(super) fn note_unroutable(&mut self, awake: AwakeInstant, tasks: &Tasks, name: &Name) {
        if self.unroutable.contains(name) {
            return;
        }
        let until = awake + self.runner_wait;
        self.unroutable.until.set(name.clone(), until);
        // Names whose tasks have left otherwise are still listed; not many more than the others.
        let waiting = self.queue.class_len(NOBODY);
        if self.unroutable.until.len() > 2 * waiting + UNROUTABLE_SLACK {
            self.list_unroutable(awake, tasks);
        }
    }

    /// Lets the names that are due wait once more: nothing can be known yet.
    pub(in crate::manager) fn put_off_unroutable(&mut self, awake: AwakeInstant) {
        let until = awake + self.runner_wait.max(LOOK_EVERY);
        for name in self.unroutable.take_due(awake) {
            self.unroutable.until.set(name, until);
        }
    }

    /// The tasks that nobody can run and that have waited long enough for somebody who can, by name and
    /// acceptance, each with names that may have been meant.
    pub(in crate::manager) fn take_unroutable(
        &mut self,
        now: Instant,
        awake: AwakeInstant,
        tasks: &Tasks,
    ) -> Vec<(Place, Vec<Name>)> {
        let due = self.unroutable.take_due(awake);
        self.unroutable.looked = Some(awake);
        let waiting = self.queue.iter().inspect(|_| step());
        let waiting = waiting.filter(|waiting| waiting.class == NOBODY);
        let named = waiting.map(|waiting| (tasks.name_of(waiting.item).0, waiting));
        let due = named.filter(|(name, _)| due.contains(*name));
        let mut found: Vec<(&Name, u64, Place)> = Vec::new();
        for (name, waiting) in due {
            match waiting.item {
                Item::Task(task, _) => found.push((name, waiting.order, Place::Record(task))),
                Item::Run(run) => {
                    let places = self.queue.places(run).inspect(|_| step());
                    found.extend(
                        places.map(|(offset, order)| (name, order, Place::InRun(run, offset))),
                    );
                }
            }
        }
        found.sort_unstable_by_key(|(name, order, _)| (*name, *order));
        let mut suggested: Option<(&Name, Vec<Name>)> = None;
        let mut suggestions = 0;
        let mut ends = Vec::new();
        for (name, _, place) in found {
            let near = match &suggested {
                Some((same, near)) if *same == name => near.clone(),
                _ if suggestions < SUGGESTIONS_MAX => {
                    suggestions += 1;
                    let near = self.similar(now, name);
                    suggested = Some((name, near.clone()));
                    near
                }
                _ => Vec::new(),
            };
            ends.push((place, near));
        }
        ends
    }

    /// Names that somebody runs and that are like this one; none while the manager rests from looking
    /// for others.
    pub(in crate::manager) fn similar(&mut self, now: Instant, name: &Name) -> Vec<Name> {
        if self.unroutable.rest.wait(now, COMPARISON_BURST).is_some() {
            return Vec::new();
        }
        let groups = self.groups.keys();
        let names = groups.flat_map(|group| self.groups.capabilities(group).names());
        let (near, compared) = similar(name, names);
        let rest = COMPARISON_REST * u32::try_from(compared).unwrap_or(u32::MAX);
        self.unroutable.rest.owe(now, rest);
        near
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Access;
    use crate::ids::{ConnId, Epoch, PeerId};
    use crate::machine::Machine as _;
    use crate::manager::{Manager, ManagerConfig, ManagerInput};
    use crate::message::{FromClient, Hello, MAGIC, Message, Role, Submit, ToManager, VERSION};
    use crate::task::Priority;
    use crate::time::{Instant, Nanos};
    use std::format;

    /// A client that submits names that nobody runs and takes them back makes no list longer.
    #[test]
    fn names_whose_tasks_have_left_are_not_kept() {
        let now = Instant::ZERO;
        let mut manager = Manager::new(ManagerConfig::new(Epoch(1)), now);
        let conn = ConnId(0);
        manager.handle_input(
            now,
            ManagerInput::Accepted {
                conn,
                from: None,
                access: Access::everything(),
            },
        );
        let say = |manager: &mut Manager, body: ToManager| {
            let message = Message::from(body);
            manager.handle_input(now, ManagerInput::Received { conn, message });
            manager.settle(now);
            while manager.poll_output().is_some() {}
        };
        let name = |text: &str| Name::new(text).expect("valid");
        let hello = Hello {
            magic: MAGIC,
            version: VERSION,
            role: Role::Client,
            peer: PeerId(1),
            connection: 1,
            session: None,
            name: name("client"),
        };
        say(&mut manager, ToManager::Hello(hello));
        for seq in 0..1_000 {
            let submit = Submit {
                seq,
                priority: Priority::NORMAL,
                max_attempts: 1,
                at_most_once: false,
                may_have_run: false,
                deadline: Nanos::NONE,
                max_wait: Nanos::NONE,
                time_limit: Nanos::NONE,
                name: name(&format!("nobody-runs-{seq}")),
            };
            say(&mut manager, ToManager::Client(FromClient::Submit(submit)));
            let waiting = manager.placement.queue.class_len(NOBODY);
            assert!(manager.placement.unroutable.until.len() <= 2 * waiting + UNROUTABLE_SLACK + 1);
            if seq >= 3 {
                say(&mut manager, ToManager::Client(FromClient::Cancel { seq }));
            }
        }
        assert_eq!(manager.placement.queue.class_len(NOBODY), 3);
        manager.check_invariants();
    }
}
