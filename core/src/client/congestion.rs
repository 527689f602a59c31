//! How many tasks a client has at its manager at once: as many as the manager accepts.
//!
//! A congestion window (Jacobson, 1988) in tasks: additive increase, multiplicative decrease, slow
//! start until the first refusal. The manager's answers are the only signal. A refusal for load is
//! what a lost packet is there, and decreases the window once for all that was under way by then (the
//! *recovery point*, RFC 6582). Before the first refusal what the manager takes in increases the
//! window, so that it is soon wide enough even for tasks of hours; after one, outcomes do, which are
//! what makes room. So a sustained overload costs each client a refusal now and then instead of one a
//! task, while the manager's bounded queue is kept full.
//!
//! Owns: the size of the window and the pause after a refusal that left nothing in flight. Never:
//! touches a task.
//!
//! Units: tasks that were sent and have neither outcome nor rejection are *in flight*.

use core::time::Duration;

use crate::retry::Retry;
use crate::rng::Rng;
use crate::task::{Priority, RejectReason};
use crate::time::Instant;

/// Size for a manager of which nothing is known: enough to hide a round trip, few enough not to fill
/// a small queue.
const INITIAL: u32 = 64;
/// Fewest outcomes between two increases after a refusal: an increase that is one too many costs a
/// rejection, and a client with room for one task should not pay it every other task.
const OUTCOMES_MIN: u32 = 16;
/// Increases by one after a refusal; then they double, so that room that others left is found soon.
const ADDITIVE_INCREASES: u32 = 8;
/// Without outcomes a client that was refused probes for more room this long after the last refusal:
/// long tasks must not keep it from room that new workers bring.
const PROBE_INTERVAL: Duration = Duration::from_secs(2);
/// What that time doubles to while each probe is refused and nothing ends.
const PROBE_INTERVAL_MAX: Duration = Duration::from_secs(8);
/// One part in this many of what is in flight is given up with each decrease, for others. What is
/// less than a task is carried over: a client that rounded it up would go back from two tasks to one
/// each time, and have no more than that in the long run.
const DECREASE_PART: u32 = 8;
/// Longest jitter of a pause. All of a client's tasks wait for its end, so it must not go on for long
/// after an overload is over; one refusal a second is no burden to a manager.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// After a refusal that left nothing in flight: nothing as unimportant as what was refused is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pause {
    until: Instant,
    from: Priority,
}

/// How the window grows.
#[derive(Clone, Debug)]
struct Growth {
    /// Until the first refusal the window doubles with each window of outcomes.
    slow_start: bool,
    /// Increases since the last refusal.
    increases: u32,
    /// Outcomes since the last increase.
    outcomes: u32,
    /// What decreases have yet to give up, in parts of a task.
    carry: u32,
}

/// Trying for more room while nothing ends.
#[derive(Clone, Debug)]
struct Probe {
    refused_at: Instant,
    interval: Duration,
    /// What the next one adds.
    step: u32,
    /// Whether a task has ended since the last decrease.
    moving: bool,
}

#[derive(Clone, Debug)]
pub(super) struct CongestionWindow {
    size: u32,
    max: u32,
    growth: Growth,
    probe: Probe,
    /// Tasks sent so far; numbers them.
    sent: u64,
    /// Refusals of tasks up to this number belong to the last decrease.
    recovery_point: u64,
    /// Refusals in a row that left nothing in flight.
    backoffs: u32,
    pause: Option<Pause>,
    /// Count of messages on the connection that includes all tasks sent up to now: once the
    /// manager confirms as many, what it has not refused of them it has taken.
    ack_mark: Option<u64>,
    /// Whether the window was what held tasks back at the last settling. A window that nobody
    /// needs is not increased (RFC 7661).
    limited: bool,
}

impl CongestionWindow {
    /// A window of at most `max` tasks.
    pub(super) fn new(max: usize) -> Self {
        let max = u32::try_from(max).unwrap_or(u32::MAX).max(1);
        Self {
            size: INITIAL.min(max),
            max,
            growth: Growth {
                slow_start: true,
                increases: 0,
                outcomes: 0,
                carry: 0,
            },
            probe: Probe {
                refused_at: Instant::ZERO,
                interval: PROBE_INTERVAL,
                step: 1,
                moving: true,
            },
            sent: 0,
            recovery_point: 0,
            backoffs: 0,
            pause: None,
            ack_mark: None,
            limited: false,
        }
    }

    /// Another manager, or another life of it: nothing is known of it.
    pub(super) fn restart(&mut self) {
        *self = Self {
            sent: self.sent,
            recovery_point: self.sent,
            ..Self::new(self.max as usize)
        };
    }

    pub(super) fn size(&self) -> u32 {
        self.size
    }

    /// Whether the last tasks sent were all refused, so that one at a time is sent until one is taken.
    pub(super) fn is_restarting(&self) -> bool {
        self.backoffs > 0
    }

    /// When a pause ends.
    pub(super) fn paused_until(&self) -> Option<Instant> {
        self.pause.map(|pause| pause.until)
    }

    /// Ends a pause that is over.
    pub(super) fn wake(&mut self, now: Instant) {
        if self.pause.is_some_and(|pause| pause.until <= now) {
            self.pause = None;
        }
    }

    /// How many tasks may be at the manager for one of `priority` to be sent, if `lesser` of those that
    /// are there are less important: fewer than that.
    ///
    /// A task that is more important than one that is there may go a little beyond the window:
    /// it must not wait behind its own client's backlog, and if the manager is full it takes
    /// the place of a lesser one.
    pub(super) fn limit(&self, priority: Priority, lesser: u32) -> u32 {
        if self.pause.is_some_and(|pause| priority >= pause.from) {
            return 0;
        }
        let size = if self.is_restarting() { 1 } else { self.size };
        if lesser > 0 {
            size.saturating_add(self.allowance())
        } else {
            size
        }
    }

    fn allowance(&self) -> u32 {
        (self.size / 8).max(4)
    }

    /// The number of the task that went out last.
    pub(super) fn last_sent(&self) -> u64 {
        self.sent
    }

    /// A task goes out; returns its number.
    pub(super) fn on_sent(&mut self) -> u64 {
        self.sent += 1;
        self.sent
    }

    /// Whether the window held tasks back when the last batch was decided on.
    pub(super) fn set_limited(&mut self, limited: bool) {
        self.limited = limited;
    }

    /// The end of a settling, with `sent` messages out on the connection: whether the manager
    /// should be asked at once what it has taken in.
    pub(super) fn wants_ack(&mut self, sent: u64) -> bool {
        if self.ack_mark.is_some() || !self.limited || self.pause.is_some() {
            return false;
        }
        self.ack_mark = Some(sent);
        self.growth.slow_start || self.is_restarting()
    }

    /// The connection is gone, and its counters with it.
    pub(super) fn on_down(&mut self) {
        self.ack_mark = None;
    }

    /// The manager has taken in `confirmed` messages, and keeps `in_flight` tasks.
    pub(super) fn on_confirmed(&mut self, now: Instant, confirmed: u64, in_flight: u32) {
        if self.ack_mark.is_none_or(|mark| mark > confirmed) {
            return;
        }
        self.ack_mark = None;
        if self.is_restarting() {
            if in_flight > 0 {
                self.backoffs = 0;
            }
        } else if self.limited && self.growth.slow_start {
            self.size = self.size.saturating_mul(2).min(self.max);
        } else if self.limited && now.since(self.probe.refused_at) >= self.probe.interval {
            self.size = self.size.saturating_add(self.probe.step).min(self.max);
            self.probe.step = self.probe.step.saturating_mul(2).min(self.size);
        }
    }

    /// A task that the manager had taken has ended.
    pub(super) fn on_outcome(&mut self) {
        self.backoffs = 0;
        self.pause = None;
        self.probe.moving = true;
        self.probe.interval = PROBE_INTERVAL;
        if !self.limited {
            return;
        }
        if self.growth.slow_start {
            self.size = self.size.saturating_add(1).min(self.max);
            return;
        }
        self.growth.outcomes += 1;
        if self.growth.outcomes >= self.size.max(OUTCOMES_MIN) {
            self.growth.outcomes = 0;
            let doublings = self
                .growth
                .increases
                .saturating_sub(ADDITIVE_INCREASES)
                .min(31);
            let step = (1_u32 << doublings).min(self.size);
            self.size = self.size.saturating_add(step).min(self.max);
            self.growth.increases = self.growth.increases.saturating_add(1);
        }
    }

    /// The manager refused task `number` of `priority` and keeps `in_flight` others; `hint` is when to
    /// come back.
    #[expect(
        clippy::too_many_arguments,
        reason = "these are the facts of one refusal"
    )]
    pub(super) fn on_refused(
        &mut self,
        now: Instant,
        reason: RejectReason,
        number: u64,
        priority: Priority,
        in_flight: u32,
        hint: Duration,
        retry: &Retry,
        rng: &mut Rng,
    ) {
        let from = match reason {
            // That is about this task. Others may be smaller or more patient, and those that are
            // not are to hear it at once.
            RejectReason::TooLarge
            | RejectReason::NoRunner
            | RejectReason::NoStreams
            | RejectReason::TooSlow => return,
            RejectReason::QueueFull
            | RejectReason::QueueBytesFull
            | RejectReason::Displaced
            | RejectReason::ClientFull
            | RejectReason::InFlightFull => {
                self.decrease(number, in_flight);
                priority
            }
            // Importance is no help there.
            RejectReason::Draining | RejectReason::NoWorkers => Priority::MOST,
        };
        self.probe.refused_at = now;
        self.probe.step = 1;
        if in_flight == 0 {
            let brief = Retry {
                cap: PAUSE_MAX,
                ..*retry
            };
            let until = now + brief.delay(self.backoffs, hint, rng);
            self.backoffs = self.backoffs.saturating_add(1);
            self.pause = Some(Pause { until, from });
            // That tasks sent before were taken does not prove that later ones are.
            self.ack_mark = None;
        }
    }

    /// What the manager holds when it refuses is what it accepts: the window becomes a little
    /// less than that, once for all tasks that were on their way by then.
    fn decrease(&mut self, number: u64, in_flight: u32) {
        if number > self.recovery_point {
            self.recovery_point = self.sent;
            self.growth.slow_start = false;
            self.growth.increases = 0;
            self.growth.outcomes = 0;
            // A try for more while nothing ends leaves what was known before.
            if self.probe.moving {
                self.growth.carry += in_flight;
            }
            let spare = (self.growth.carry / DECREASE_PART).min(in_flight);
            self.growth.carry %= DECREASE_PART;
            self.size = self.size.min(in_flight - spare);
            if !self.probe.moving {
                self.probe.interval = (self.probe.interval * 2).min(PROBE_INTERVAL_MAX);
            }
            self.probe.moving = false;
        } else {
            self.size = self.size.min(in_flight);
        }
        self.size = self.size.max(1);
    }

    pub(super) fn check_invariants(&self) {
        assert!((1..=self.max).contains(&self.size), "window {self:?}");
        assert!(self.recovery_point <= self.sent);
        assert!(self.pause.is_none() || self.backoffs > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NORMAL: Priority = Priority::NORMAL;

    fn refuse(window: &mut CongestionWindow, now: Instant, number: u64, held: u32) {
        let (reason, hint) = (RejectReason::QueueFull, Duration::from_millis(10));
        let (retry, mut rng) = (Retry::new(None), Rng::from_seed(1));
        window.on_refused(now, reason, number, NORMAL, held, hint, &retry, &mut rng);
        window.check_invariants();
    }

    fn sent(count: u64) -> CongestionWindow {
        let mut window = CongestionWindow::new(1_000);
        for number in 1..=count {
            assert_eq!(window.on_sent(), number);
        }
        window.set_limited(true);
        window
    }

    #[test]
    fn a_window_is_never_wider_than_its_bound_nor_empty() {
        let sizes = [0, 1, 10, 1_000].map(|max| CongestionWindow::new(max).size());
        assert_eq!(sizes, [1, 1, 10, 64]);
    }

    #[test]
    fn what_is_more_important_than_some_may_go_a_little_beyond() {
        let window = sent(0);
        assert_eq!(window.limit(NORMAL, 0), 64);
        assert_eq!(window.limit(NORMAL, 1), 72);
        let small = CongestionWindow::new(4);
        assert_eq!(small.limit(NORMAL, 1), 8);
    }

    #[test]
    fn a_refusal_decreases_once_for_all_that_was_on_its_way() {
        let mut window = sent(40);
        refuse(&mut window, Instant::ZERO, 17, 16);
        assert_eq!(window.size(), 14, "an eighth is spared");
        refuse(&mut window, Instant::ZERO, 40, 15);
        assert_eq!((window.size(), window.probe.interval), (14, PROBE_INTERVAL));
        window.on_sent();
        refuse(&mut window, Instant::ZERO, 41, 14);
        assert_eq!(window.size(), 14, "nothing has ended: what was known holds");
        window.restart();
        assert_eq!(window.size(), 64);
        assert_eq!(window.on_sent(), 42, "numbers go on");
    }

    #[test]
    fn with_nothing_held_it_pauses_and_then_tries_one_at_a_time() {
        let mut window = sent(1);
        refuse(&mut window, Instant::ZERO, 1, 0);
        let until = window.paused_until().expect("a pause");
        assert!(until >= Instant::ZERO + Duration::from_millis(10));
        assert_eq!(window.limit(NORMAL, 0), 0);
        assert!(0 < window.limit(Priority::HIGH, 0));
        window.wake(until);
        assert_eq!(window.paused_until(), None);
        assert!(window.is_restarting());
        assert_eq!(window.limit(NORMAL, 0), 1);
        window.on_outcome();
        assert!(!window.is_restarting());
    }

    #[test]
    fn one_question_at_a_time_and_a_new_one_on_a_new_connection() {
        let mut window = sent(64);
        assert!(window.wants_ack(70));
        assert!(!window.wants_ack(80));
        window.on_confirmed(Instant::ZERO, 69, 64);
        assert_eq!(window.size(), 64, "not all of it is confirmed");
        window.on_confirmed(Instant::ZERO, 70, 64);
        assert_eq!(window.size(), 128);
        assert!(window.wants_ack(90));
        window.on_down();
        assert!(window.wants_ack(3));
    }

    /// A round with the manager that is answered at `now`, when it keeps `held` tasks.
    fn confirmed(window: &mut CongestionWindow, now: Instant, held: u32) {
        let _ = window.wants_ack(100);
        window.on_confirmed(now, 100, held);
        window.check_invariants();
    }

    #[test]
    fn after_a_refusal_it_probes_for_more_after_a_while() {
        let mut window = sent(16);
        let refused = Instant::ZERO + Duration::from_secs(5);
        refuse(&mut window, refused, 16, 16);
        assert_eq!(window.size(), 14);
        assert!(!window.wants_ack(100), "there is no hurry any more");
        confirmed(
            &mut window,
            refused + (PROBE_INTERVAL - Duration::from_nanos(1)),
            14,
        );
        assert_eq!(window.size(), 14);
        for size in [15, 17, 21, 29] {
            confirmed(&mut window, refused + PROBE_INTERVAL, 14);
            assert_eq!(window.size(), size);
        }
        window.on_confirmed(refused + PROBE_INTERVAL, 200, 14);
        assert_eq!(window.size(), 29, "nothing was asked");
        window.set_limited(false);
        confirmed(&mut window, refused + PROBE_INTERVAL * 10, 14);
        assert_eq!(window.size(), 29, "what nobody needs is not widened");
    }

    #[test]
    fn tries_that_are_refused_while_nothing_ends_become_rarer() {
        let mut window = sent(1);
        refuse(&mut window, Instant::ZERO, 1, 1);
        assert_eq!(window.probe.interval, PROBE_INTERVAL);
        for quiet in [PROBE_INTERVAL * 2, PROBE_INTERVAL_MAX, PROBE_INTERVAL_MAX] {
            let number = window.on_sent();
            refuse(&mut window, Instant::ZERO, number, 1);
            assert_eq!(window.probe.interval, quiet);
        }
        window.on_outcome();
        assert_eq!(window.probe.interval, PROBE_INTERVAL);
        for _ in 0..7 {
            window.on_sent();
        }
        let number = window.on_sent();
        window.size = 16;
        refuse(&mut window, Instant::ZERO, number, 16);
        assert_eq!(
            window.size(),
            14,
            "something ended, so an eighth is spared again"
        );
    }

    #[test]
    fn trying_the_ground_ends_when_something_is_kept() {
        let mut window = sent(2);
        refuse(&mut window, Instant::ZERO, 1, 0);
        assert!(!window.wants_ack(10), "not in a pause");
        window.wake(window.paused_until().expect("a pause"));
        confirmed(&mut window, Instant::ZERO, 0);
        assert!(window.is_restarting());
        assert_eq!(window.size(), 1);
        assert!(window.wants_ack(100), "it would like to know soon");
        window.on_confirmed(Instant::ZERO, 100, 1);
        assert!(!window.is_restarting());
        refuse(&mut window, Instant::ZERO, 2, 0);
        assert!(window.paused_until().is_some());
        window.on_outcome();
        assert_eq!(window.paused_until(), None, "there is room");
    }

    #[test]
    fn without_a_refusal_outcomes_and_silence_widen_only_what_is_needed() {
        let mut window = sent(64);
        window.set_limited(false);
        window.on_outcome();
        confirmed(&mut window, Instant::ZERO, 64);
        assert_eq!(window.size(), 64);
        window.set_limited(true);
        window.on_outcome();
        assert_eq!(window.size(), 65);
        confirmed(&mut window, Instant::ZERO, 64);
        assert_eq!(window.size(), 130);
    }

    #[test]
    fn after_a_refusal_outcomes_widen_it_carefully_and_then_in_doubling_steps() {
        let mut window = sent(16);
        refuse(&mut window, Instant::ZERO, 16, 16);
        let widens = |window: &mut CongestionWindow, steps: &[u32]| {
            for step in steps {
                let size = window.size();
                for _ in 1..size.max(OUTCOMES_MIN) {
                    window.on_outcome();
                    assert_eq!(window.size(), size);
                }
                window.on_outcome();
                assert_eq!(window.size(), size + step);
            }
        };
        widens(&mut window, &[1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 4, 8, 16]);
        window.on_outcome();
        let number = window.on_sent();
        refuse(&mut window, Instant::ZERO, number, 40);
        assert_eq!(window.size(), 35);
        widens(&mut window, &[1, 1]);
    }

    #[test]
    fn what_held_nothing_back_at_the_last_settling_is_not_widened() {
        let mut window = sent(64);
        assert!(window.wants_ack(100));
        window.set_limited(false);
        window.on_confirmed(Instant::ZERO, 100, 64);
        assert_eq!(window.size(), 64);
        window.set_limited(true);
        refuse(&mut window, Instant::ZERO, 64, 64);
        let size = window.size();
        assert!(!window.wants_ack(100));
        window.set_limited(false);
        window.on_confirmed(Instant::ZERO + PROBE_INTERVAL, 100, 64);
        assert_eq!(window.size(), size);
    }

    #[test]
    fn a_manager_without_workers_is_tried_with_one_task_however_important() {
        let mut window = sent(1);
        let (reason, hint) = (RejectReason::NoWorkers, Duration::ZERO);
        let (retry, mut rng) = (Retry::new(None), Rng::from_seed(1));
        window.on_refused(Instant::ZERO, reason, 1, NORMAL, 0, hint, &retry, &mut rng);
        assert_eq!(window.limit(Priority::MOST, 0), 0);
        assert_eq!(window.size(), 64, "its queue may be as long as before");
        window.wake(window.paused_until().expect("a pause"));
        assert_eq!(window.limit(NORMAL, 0), 1);
    }
}
