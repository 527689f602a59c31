//! Time as the machines see it: an instant is handed in with every call, never read.
//!
//! Owns: [`Instant`], [`AwakeInstant`], [`Nanos`] (a length of time on the wire), [`Timers`], [`Deadline`].
//! Never: reads a clock. Units: nanoseconds everywhere.

use alloc::collections::{BTreeMap, BTreeSet};
use core::time::Duration;

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

macro_rules! instant {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u64);

        impl $name {
            /// The moment at which the driver started.
            pub const ZERO: Self = Self(0);

            /// The instant `nanos` nanoseconds after the start.
            #[must_use]
            pub const fn from_nanos(nanos: u64) -> Self {
                Self(nanos)
            }

            /// Nanoseconds since the start.
            #[must_use]
            pub const fn as_nanos(self) -> u64 {
                self.0
            }

            /// The time from `earlier` to here; zero if `earlier` is later.
            #[must_use]
            pub const fn since(self, earlier: Self) -> Duration {
                Duration::from_nanos(self.0.saturating_sub(earlier.0))
            }
        }

        impl core::ops::Add<Duration> for $name {
            type Output = Self;

            /// Saturates at the end of time (584 years).
            fn add(self, span: Duration) -> Self {
                Self(self.0.saturating_add(saturating_nanos(span)))
            }
        }
    };
}

instant!(
    /// A point in time: nanoseconds since the driver of this machine started. Not wall time, and
    /// meaningless on another host, so it never crosses the wire. For what users asked for: deadlines,
    /// limits, delays.
    Instant
);
instant!(
    /// A point on the clock that stands still while the machine does ([`AwakeClock`]). For the silence
    /// of others: leases, graces, how long an answer has been owed.
    AwakeInstant
);

impl Instant {
    /// The end of time, for what is not limited.
    pub const NEVER: Self = Self(u64::MAX);
}

/// A length of time in nanoseconds, as it travels. [`Nanos::NONE`] stands for "no limit".
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Nanos(pub u64);

impl Nanos {
    /// No time at all.
    pub const ZERO: Self = Self(0);
    /// No limit.
    pub const NONE: Self = Self(u64::MAX);

    /// The span as a [`Duration`], or `None` for "no limit".
    #[must_use]
    pub const fn to_duration(self) -> Option<Duration> {
        if self.0 == u64::MAX {
            None
        } else {
            Some(Duration::from_nanos(self.0))
        }
    }
}

impl From<Duration> for Nanos {
    /// Saturates just below "no limit".
    fn from(span: Duration) -> Self {
        Self(saturating_nanos(span).min(u64::MAX - 1))
    }
}

impl From<Option<Duration>> for Nanos {
    fn from(span: Option<Duration>) -> Self {
        span.map_or(Self::NONE, Self::from)
    }
}

/// `span` in nanoseconds, at most `u64::MAX`.
#[must_use]
pub fn saturating_nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// When a machine wants to be called next, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// Call `handle_timeout` at this instant or soon after it.
    pub at: Instant,
    /// What is due then; for logs and traces.
    pub reason: WakeReason,
}

/// Why a machine asked to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WakeReason {
    /// A heartbeat is due, or one should have been heard.
    Heartbeat,
    /// A peer's handshake should have been finished.
    Handshake,
    /// A peer's closed connection has been gone for the reconnect grace.
    Grace,
    /// A peer has been gone for as long as its session is kept.
    Resume,
    /// The next attempt to reach the manager.
    Reconnect,
    /// A rejected task is submitted again.
    Retry,
    /// A task's own deadline.
    Expiry,
    /// A task that may have run has waited long enough for a worker to claim it.
    Claim,
    /// A held result is acknowledged although its client has not answered.
    ResultAck,
    /// An attempt's time limit, or the grace between asking and killing.
    Limit,
    /// A pool process is started again after it died.
    Respawn,
    /// Tasks waiting behind a busy worker are recalled for a free one.
    Recall,
    /// A drain's time is up.
    Drain,
}

/// A set of deadlines on one clock, at most one for each key, in order of time and then of key.
#[derive(Clone, Debug)]
pub struct Timers<K, T = Instant> {
    due: BTreeSet<(T, K)>,
    at: BTreeMap<K, T>,
}

impl<K, T> Default for Timers<K, T> {
    fn default() -> Self {
        Self {
            due: BTreeSet::new(),
            at: BTreeMap::new(),
        }
    }
}

impl<K: Ord + Clone, T: Ord + Copy> Timers<K, T> {
    /// Arms `key` for `at`, replacing what it was armed for.
    pub fn set(&mut self, key: K, at: T) {
        if let Some(old) = self.at.insert(key.clone(), at) {
            self.due.remove(&(old, key.clone()));
        }
        self.due.insert((at, key));
    }

    /// Disarms `key`; nothing happens if it was not armed.
    pub fn cancel(&mut self, key: K) {
        if let Some(at) = self.at.remove(&key) {
            self.due.remove(&(at, key));
        }
    }

    /// Removes and returns the first key that is due at `now`.
    pub fn pop_due(&mut self, now: T) -> Option<K> {
        let (at, _) = self.due.first()?;
        if *at > now {
            return None;
        }
        let (_, key) = self.due.pop_first()?;
        self.at.remove(&key);
        Some(key)
    }

    /// The earliest deadline and its key.
    #[must_use]
    pub fn next(&self) -> Option<(T, K)> {
        self.due.first().cloned()
    }

    /// When `key` is due, if it is armed.
    #[must_use]
    pub fn get(&self, key: K) -> Option<T> {
        self.at.get(&key).copied()
    }

    /// How many keys are armed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.at.len()
    }

    /// Whether nothing is armed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.at.is_empty()
    }
}

/// A clock that stands still while its machine does.
///
/// A machine that was paused (stopped, swapped out, starved) must not take its own absence for
/// its peers' silence. The machine asks to be called at a deadline; whatever it is late by is
/// left out of every clock that measures silence.
#[derive(Clone, Debug, Default)]
pub struct AwakeClock {
    /// In nanoseconds.
    asleep: u64,
    expected: Option<Instant>,
    /// When the machine was last called.
    read: Instant,
}

impl AwakeClock {
    /// Lateness below this is ordinary scheduling and counts as time awake.
    pub const SLACK: Duration = Duration::from_millis(50);

    /// Notes that the machine is called at `now`, and returns the instant on the awake clock.
    pub fn read(&mut self, now: Instant) -> AwakeInstant {
        if let Some(expected) = self.expected
            && now > expected + Self::SLACK
        {
            self.asleep = self.asleep.saturating_add(now.0 - expected.0);
            self.expected = None;
        }
        self.read = self.read.max(now);
        self.at(now)
    }

    /// `now` on the awake clock, without noting a call.
    #[must_use]
    pub fn at(&self, now: Instant) -> AwakeInstant {
        AwakeInstant(now.0.saturating_sub(self.asleep))
    }

    /// The driver's instant at which the awake clock shows `awake`, if nothing else happens.
    #[must_use]
    pub fn due(&self, awake: AwakeInstant) -> Instant {
        Instant(awake.0.saturating_add(self.asleep))
    }

    /// Notes when the machine asked to be called next; being later than that is sleep. A deadline
    /// that had passed when the machine was last called is not slept through a second time.
    pub fn expect(&mut self, next: Option<Instant>) {
        self.expected = next.map(|next| next.max(self.read));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    fn awake(ms: u64) -> AwakeInstant {
        AwakeInstant::ZERO + Duration::from_millis(ms)
    }

    #[test]
    fn timers_fire_in_order_of_time_and_keep_one_deadline_a_key() {
        let mut timers = Timers::default();
        timers.set('b', ms(5));
        timers.set('a', ms(5));
        timers.set('c', ms(9));
        timers.set('c', ms(1));
        assert_eq!(timers.next(), Some((ms(1), 'c')));
        assert_eq!(timers.pop_due(ms(5)), Some('c'));
        assert_eq!(timers.pop_due(ms(5)), Some('a'));
        timers.cancel('b');
        assert_eq!(timers.pop_due(ms(100)), None);
        assert!(timers.is_empty());
    }

    #[test]
    fn awake_clock_leaves_out_the_time_it_was_late() {
        let mut clock = AwakeClock::default();
        assert_eq!(clock.read(ms(100)), awake(100));
        clock.expect(Some(ms(200)));
        assert_eq!(
            clock.read(ms(210)),
            awake(210),
            "a little late is not asleep"
        );
        clock.expect(Some(ms(300)));
        assert_eq!(clock.read(ms(10_300)), awake(300));
        assert_eq!(
            clock.read(ms(10_400)),
            awake(400),
            "the same sleep is not counted twice"
        );
        assert_eq!(clock.due(awake(500)), ms(10_500));
    }

    #[test]
    fn awake_clock_counts_a_missed_deadline_once() {
        let mut clock = AwakeClock::default();
        clock.expect(Some(ms(100)));
        // Late; input is read before the deadline is dealt with, which is still due afterwards.
        assert_eq!(clock.read(ms(10_100)), awake(100));
        clock.expect(Some(ms(100)));
        assert_eq!(clock.read(ms(10_101)), awake(101));
    }

    #[test]
    fn no_span_means_no_limit_and_every_limit_is_a_span() {
        assert_eq!(Nanos::from(Duration::MAX), Nanos(u64::MAX - 1));
        assert_eq!(
            Nanos::from(Duration::from_nanos(u64::MAX - 1)),
            Nanos(u64::MAX - 1)
        );
        assert_eq!(Nanos::from(Duration::from_nanos(7)), Nanos(7));
        assert_eq!(Nanos::from(None), Nanos::NONE);
        assert_eq!(Nanos::NONE.to_duration(), None);
        assert_eq!(
            Nanos(u64::MAX - 1).to_duration(),
            Some(Duration::from_nanos(u64::MAX - 1))
        );
    }

    #[test]
    fn what_is_armed_is_counted() {
        let mut timers = Timers::default();
        assert!(timers.is_empty());
        timers.set('a', ms(5));
        assert!(!timers.is_empty());
        assert_eq!((timers.len(), timers.get('a')), (1, Some(ms(5))));
        assert_eq!(timers.pop_due(ms(5)), Some('a'));
        assert_eq!((timers.len(), timers.get('a')), (0, None));
    }

    #[test]
    fn so_much_lateness_and_no_more_is_ordinary() {
        let slack = ms(100) + AwakeClock::SLACK;
        let beyond = slack + Duration::from_nanos(1);
        for (late, shown) in [
            (slack, awake(100) + AwakeClock::SLACK),
            (beyond, awake(100)),
        ] {
            let mut clock = AwakeClock::default();
            clock.expect(Some(ms(100)));
            assert_eq!(clock.read(late), shown);
        }
    }
}
