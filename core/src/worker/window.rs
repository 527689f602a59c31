//! How much a worker asks for: what it runs at once, and just enough prefetched to hide the round trip.
//!
//! Owns: the measured pace of the pool. Never: decides whether to ask at all. Units: nanoseconds.

use core::time::Duration;

use crate::limits::{CHILD_WORK_MAX, PROBE_EVERY, SERVICE_FLOOR, WINDOW_MAX};
use crate::time::{Instant, saturating_nanos};

/// Means weigh a new sample by this part, so that they follow within some tens of attempts.
const WEIGHT: u64 = 16;
/// A round trip below this part of the time from the end of one attempt here to that of the next is not
/// worth hiding: an attempt that waits here could start sooner elsewhere.
const HIDE_FROM: u64 = 64;
/// How many round trips' worth is asked for: the first estimate is always of the past.
const SAFETY: u64 = 2;
/// A change of the window smaller than this part of it is not worth a message.
const MATTERS: u32 = 8;

/// How many attempts the worker wants from its manager, and how many it has asked for.
#[derive(Clone, Debug)]
pub(super) struct Demand {
    pace: Pace,
    /// What was last granted on this connection.
    granted: Option<Window>,
    /// As many results are held as may be, until half of them are acknowledged.
    full: bool,
    /// Attempts came since the last settle.
    assigned: bool,
    /// When the next heartbeat may be sent only to learn the round trip.
    probe_at: Instant,
}

impl Demand {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            pace: Pace::default(),
            granted: None,
            full: false,
            assigned: false,
            probe_at: now,
        }
    }

    /// The manager has let us in, and knows of no grant.
    pub(super) fn on_up(&mut self, now: Instant) {
        self.granted = None;
        // The link sends a first heartbeat by itself.
        self.probe_at = now + PROBE_EVERY;
    }

    /// The connection is gone.
    pub(super) fn on_down(&mut self) {
        self.granted = None;
    }

    /// What was last granted on this connection.
    pub(super) fn granted(&self) -> Option<Window> {
        self.granted
    }

    /// Whether as many results are held as may be.
    pub(super) fn is_full(&self) -> bool {
        self.full
    }

    /// As many results are held as may be, or no longer.
    pub(super) fn set_full(&mut self, full: bool) {
        self.full = full;
    }

    /// How many attempts `slots` processes can use, if a round trip takes so long.
    pub(super) fn wanted(&self, slots: u32, round_trip: Option<Duration>) -> Window {
        let base = slots.max(1);
        let asking = self.granted.is_some_and(|granted| granted.prefetch > 0);
        let prefetch = self.pace.prefetch(base, round_trip, asking);
        Window { base, prefetch }
    }

    /// Whether this is worth a message; then it counts as granted.
    pub(super) fn grant(&mut self, wanted: Window) -> bool {
        let same = self.granted.is_some_and(|granted| !granted.differs(wanted));
        if !same {
            self.granted = Some(wanted);
        }
        !same
    }

    /// An attempt came.
    pub(super) fn on_assigned(&mut self) {
        self.assigned = true;
    }

    /// Whether a heartbeat is due for the sake of the round trip: now and then while attempts flow.
    pub(super) fn take_probe(&mut self, now: Instant) -> bool {
        let due = core::mem::take(&mut self.assigned) && now >= self.probe_at;
        if due {
            self.probe_at = now + PROBE_EVERY;
        }
        due
    }

    /// An attempt ran for so long.
    pub(super) fn on_run(&mut self, ran: Duration) {
        self.pace.on_run(ran);
    }

    /// An attempt that went to an idle child took `extra` beyond its run time to be answered.
    pub(super) fn on_hop(&mut self, extra: Duration) {
        self.pace.on_hop(extra);
    }
}

/// What was granted to the manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    /// Attempts run at once, or 0 while nothing is taken.
    pub(super) base: u32,
    /// Attempts beyond these that hide the round trip.
    pub(super) prefetch: u32,
}

impl Window {
    /// Nothing is taken.
    pub(super) const CLOSED: Self = Self {
        base: 0,
        prefetch: 0,
    };

    /// The same beside so many attempts that take no slot, as far as a window may be so large.
    pub(super) fn beside(self, unread: usize) -> Self {
        let room = WINDOW_MAX.saturating_sub(self.level());
        let more = u32::try_from(unread).unwrap_or(u32::MAX).min(room);
        Self {
            base: self.base + more,
            ..self
        }
    }

    /// The level as the manager sees it.
    pub(super) fn level(self) -> u32 {
        self.base + self.prefetch
    }

    /// Whether `new` differs by enough to say so.
    pub(super) fn differs(self, new: Self) -> bool {
        self.base != new.base
            || (self.prefetch == 0) != (new.prefetch == 0)
            || self.prefetch.abs_diff(new.prefetch) > (self.level() / MATTERS).max(1)
    }
}

/// How fast attempts go through the pool.
#[derive(Clone, Debug, Default)]
struct Pace {
    /// Mean run time of recent attempts, in nanoseconds times `WEIGHT`.
    service: Option<u64>,
    /// Mean time from writing an attempt to an idle child to its answer, less its run time.
    hop: Option<u64>,
}

impl Pace {
    /// An attempt ran for `ran`.
    fn on_run(&mut self, ran: Duration) {
        // An hour is as good as for ever here, and leaves room for the sums.
        let ran = saturating_nanos(ran).min(3_600_000_000_000);
        self.service = Some(match self.service {
            None => ran * WEIGHT,
            Some(mean) => mean - mean / WEIGHT + ran,
        });
    }

    /// An attempt that went to an idle child took `extra` beyond its run time to be answered.
    fn on_hop(&mut self, extra: Duration) {
        let extra = saturating_nanos(extra.min(CHILD_WORK_MAX));
        self.hop = Some(match self.hop {
            None => extra,
            Some(mean) => mean - mean / WEIGHT + extra / WEIGHT,
        });
    }

    /// Attempts to ask for beyond `parallel`, if a round trip to the manager takes `round_trip`.
    /// Once some are asked for (`asking`), they go on being asked for until the round trip is
    /// well below what is worth hiding, so that a mean on the brink does not cost a message each
    /// time it crosses.
    fn prefetch(&self, parallel: u32, round_trip: Option<Duration>, asking: bool) -> u32 {
        let (Some(service), Some(round_trip)) = (self.service, round_trip) else {
            return 0;
        };
        let service = service / WEIGHT;
        let mut hide = saturating_nanos(round_trip);
        if service < saturating_nanos(CHILD_WORK_MAX) {
            // These may queue in a child, so the way to the child is hidden as well.
            hide = hide.saturating_add(self.hop.unwrap_or(0));
        }
        let brink = if asking { 2 * HIDE_FROM } else { HIDE_FROM };
        if hide < service / u64::from(parallel) / brink {
            return 0;
        }
        let service = service.max(saturating_nanos(SERVICE_FLOOR));
        let prefetch = u64::from(parallel)
            .saturating_mul(hide)
            .saturating_mul(SAFETY)
            .div_ceil(service);
        prefetch.min(u64::from(WINDOW_MAX.saturating_sub(parallel))) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: Duration = Duration::from_micros(1);

    fn pace(ran: Duration) -> Pace {
        let mut pace = Pace::default();
        pace.on_run(ran);
        pace
    }

    #[test]
    fn nothing_is_prefetched_for_long_tasks_or_before_anything_is_known() {
        assert_eq!(Pace::default().prefetch(4, Some(US * 100), false), 0);
        assert_eq!(pace(US).prefetch(4, None, false), 0);
        assert_eq!(
            pace(Duration::from_secs(1)).prefetch(4, Some(US * 100), false),
            0
        );
    }

    #[test]
    fn short_tasks_hide_twice_the_round_trip() {
        assert_eq!(pace(US * 10).prefetch(4, Some(US * 100), false), 80);
        assert_eq!(pace(US * 100).prefetch(4, Some(US * 100), false), 8);
    }

    #[test]
    fn what_is_worth_hiding_depends_on_how_often_a_slot_is_free() {
        assert_eq!(pace(US * 6_000).prefetch(1, Some(US * 100), false), 1);
        assert_eq!(pace(US * 6_500).prefetch(1, Some(US * 100), false), 0);
        assert_eq!(pace(US * 6_500).prefetch(1, Some(US * 100), true), 1);
        assert_eq!(pace(US * 13_000).prefetch(1, Some(US * 100), true), 0);
        assert_eq!(pace(US * 48_000).prefetch(8, Some(US * 100), false), 1);
        assert_eq!(pace(US * 52_000).prefetch(8, Some(US * 100), false), 0);
        assert_eq!(pace(US * 52_000).prefetch(8, Some(US * 100), true), 1);
        assert_eq!(pace(US * 104_000).prefetch(8, Some(US * 100), true), 0);
    }

    #[test]
    fn tasks_of_no_time_at_all_ask_for_no_more_than_the_bound() {
        let prefetch = pace(Duration::ZERO).prefetch(64, Some(Duration::from_secs(1)), false);
        assert_eq!(prefetch + 64, WINDOW_MAX);
        assert_eq!(
            pace(Duration::MAX).prefetch(1, Some(Duration::MAX), false),
            WINDOW_MAX - 1
        );
    }

    #[test]
    fn the_mean_follows_within_some_tens_of_attempts() {
        let mut pace = pace(Duration::from_secs(1));
        for _ in 0..200 {
            pace.on_run(US * 10);
        }
        assert!(pace.prefetch(1, Some(US * 100), false) >= 10);
        for _ in 0..3 {
            pace.on_run(Duration::from_secs(1));
        }
        assert_eq!(pace.prefetch(1, Some(US * 100), false), 0);
    }

    #[test]
    fn the_way_to_the_child_is_a_mean_too() {
        let mut pace = pace(US * 10);
        for _ in 0..100 {
            pace.on_hop(US * 160);
        }
        assert_eq!(pace.prefetch(1, Some(Duration::ZERO), false), 32);
        pace.on_hop(US * 480);
        assert_eq!(pace.prefetch(1, Some(Duration::ZERO), false), 36);
    }

    #[test]
    fn small_changes_are_not_worth_a_message() {
        let window = |prefetch| Window { base: 4, prefetch };
        assert!(!window(60).differs(window(68)));
        assert!(window(60).differs(window(69)));
        assert!(window(0).differs(window(1)));
        assert!(window(60).differs(Window::CLOSED));
        assert!(!window(1).differs(window(2)));
        assert!(window(1).differs(window(3)));
    }
}
