//! Lets others go first before a thread of a runtime sleeps.
//!
//! Client, manager and worker that share few cores mostly wait for each other. A thread that
//! sleeps has to be woken by whoever has news for it, which costs more than most news, and on the
//! same core the woken thread interrupts the one that had more to say. A thread that is ready to
//! run, but lets the others go first, finds all that they had to say when it is back.
//!
//! Where others have something to do for long, it is the wrong thing: whoever lets them go first
//! is back when their time slice is over. So a thread that was not back soon sleeps without it for
//! a while, twice as long each time. Where nobody else is ready to run, it costs a system call.
//!
//! Owns: when a thread does so. Never: decides anything about tasks. Units: sleeps.

use std::cell::Cell;
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Builder;

/// Later than that is not soon: longer than one of our steps takes, shorter than a time slice.
const SOON: Duration = Duration::from_micros(500);
/// Sleeps without letting others go first, after one that was not back soon.
const SLEEPS_MIN: u32 = 16;
/// The same after many of them in a row: then one in so many is a try.
const SLEEPS_MAX: u32 = 64 * 1024;

/// Makes the threads of the runtime to be built yield to others before they park, as those of the
/// `argon` program do.
///
/// It helps where client, manager and worker share few cores and many tasks of microseconds are
/// under way. A runtime that has this replaces what was set with
/// [`on_thread_park`](Builder::on_thread_park).
///
/// ```
/// use tokio::runtime::Builder;
///
/// # fn main() -> std::io::Result<()> {
/// let runtime = argon::yield_before_sleep(Builder::new_current_thread().enable_all()).build()?;
/// # Ok(())
/// # }
/// ```
pub fn yield_before_sleep(builder: &mut Builder) -> &mut Builder {
    builder.on_thread_park(before_sleep)
}

thread_local! {
    static BACKOFF: Cell<YieldBackoff> = const { Cell::new(YieldBackoff::NEW) };
}

/// To be called by a thread that has nothing to do, before it looks a last time and sleeps.
pub(crate) fn before_sleep() {
    let mut backoff = BACKOFF.get();
    if backoff.may_yield() {
        let begun = Instant::now();
        thread::yield_now();
        backoff.judge(begun.elapsed());
    }
    BACKOFF.set(backoff);
}

/// Whether a thread lets others go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct YieldBackoff {
    /// Sleeps to come without.
    without: u32,
    /// How many they will be when it was not back soon.
    penalty: u32,
}

impl YieldBackoff {
    const NEW: Self = Self {
        without: 0,
        penalty: SLEEPS_MIN,
    };

    /// Whether others go first before this sleep.
    fn may_yield(&mut self) -> bool {
        let yields = self.without == 0;
        self.without = self.without.saturating_sub(1);
        yields
    }

    /// The others went first, and that took so long.
    fn judge(&mut self, away: Duration) {
        if away > SOON {
            self.without = self.penalty;
            self.penalty = (self.penalty * 2).min(SLEEPS_MAX);
        } else {
            self.penalty = (self.penalty / 2).max(SLEEPS_MIN);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATE: Duration = Duration::from_millis(3);

    /// Of so many sleeps, before how many others went first, if each time that took so long.
    fn yields(backoff: &mut YieldBackoff, sleeps: u32, away: Duration) -> u32 {
        let mut yields = 0;
        for _ in 0..sleeps {
            if backoff.may_yield() {
                yields += 1;
                backoff.judge(away);
            }
        }
        yields
    }

    #[test]
    fn whoever_is_back_soon_always_lets_others_go_first() {
        let mut backoff = YieldBackoff::NEW;
        assert_eq!(yields(&mut backoff, 1_000, SOON), 1_000);
        assert_eq!(backoff, YieldBackoff::NEW);
    }

    #[test]
    fn where_others_are_busy_it_is_tried_ever_more_rarely() {
        let mut backoff = YieldBackoff::NEW;
        assert_eq!(yields(&mut backoff, 1_000_000, LATE), 13 + 14);
        assert_eq!(backoff.penalty, SLEEPS_MAX);
    }

    #[test]
    fn when_they_have_gone_it_is_always_done_again_within_a_try() {
        let mut backoff = YieldBackoff::NEW;
        yields(&mut backoff, 1_000_000, LATE);
        assert!(yields(&mut backoff, SLEEPS_MAX + 1_000, SOON) >= 1_000);
        assert_eq!(backoff, YieldBackoff::NEW);
        assert_eq!(yields(&mut backoff, 17, LATE), 1);
        assert!(backoff.may_yield());
    }

    #[test]
    fn each_sleep_of_a_runtime_counts() {
        let mut builder = Builder::new_current_thread();
        let runtime = yield_before_sleep(builder.enable_all()).build().unwrap();
        BACKOFF.set(YieldBackoff {
            without: SLEEPS_MAX,
            penalty: SLEEPS_MIN,
        });
        runtime.block_on(async { tokio::time::sleep(Duration::from_millis(20)).await });
        assert!(BACKOFF.get().without < SLEEPS_MAX);
    }
}
