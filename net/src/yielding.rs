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

/// Later than that is not soon: longer than a turn of ours takes, shorter than a time slice.
const SOON: Duration = Duration::from_micros(500);
/// Sleeps without letting others go first, after one that was not back soon.
const SLEEPS_MIN: u32 = 16;
/// The same after many of them in a row: then one in so many is a try.
const SLEEPS_MAX: u32 = 64 * 1024;

/// Lets threads of the runtime to be built give way to others before they sleep, as those of the
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
    static MANNERS: Cell<Manners> = const { Cell::new(Manners::NEW) };
}

/// To be called by a thread that has nothing to do, before it looks a last time and sleeps.
pub(crate) fn before_sleep() {
    let mut manners = MANNERS.get();
    if manners.are_kept() {
        let begun = Instant::now();
        thread::yield_now();
        manners.judge(begun.elapsed());
    }
    MANNERS.set(manners);
}

/// Whether a thread lets others go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Manners {
    /// Sleeps to come without.
    without: u32,
    /// How many they will be when it was not back soon.
    penalty: u32,
}

impl Manners {
    const NEW: Self = Self {
        without: 0,
        penalty: SLEEPS_MIN,
    };

    /// Whether others go first before this sleep.
    fn are_kept(&mut self) -> bool {
        let kept = self.without == 0;
        self.without = self.without.saturating_sub(1);
        kept
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
    fn kept(manners: &mut Manners, sleeps: u32, away: Duration) -> u32 {
        let mut kept = 0;
        for _ in 0..sleeps {
            if manners.are_kept() {
                kept += 1;
                manners.judge(away);
            }
        }
        kept
    }

    #[test]
    fn whoever_is_back_soon_always_lets_others_go_first() {
        let mut manners = Manners::NEW;
        assert_eq!(kept(&mut manners, 1_000, SOON), 1_000);
        assert_eq!(manners, Manners::NEW);
    }

    #[test]
    fn where_others_are_busy_it_is_tried_ever_more_rarely() {
        let mut manners = Manners::NEW;
        assert_eq!(kept(&mut manners, 1_000_000, LATE), 13 + 14);
        assert_eq!(manners.penalty, SLEEPS_MAX);
    }

    #[test]
    fn when_they_have_gone_it_is_always_done_again_within_a_try() {
        let mut manners = Manners::NEW;
        kept(&mut manners, 1_000_000, LATE);
        assert!(kept(&mut manners, SLEEPS_MAX + 1_000, SOON) >= 1_000);
        assert_eq!(manners, Manners::NEW);
        assert_eq!(kept(&mut manners, 17, LATE), 1);
        assert!(manners.are_kept());
    }

    #[test]
    fn each_sleep_of_a_runtime_counts() {
        let mut builder = Builder::new_current_thread();
        let runtime = yield_before_sleep(builder.enable_all()).build().unwrap();
        MANNERS.set(Manners {
            without: SLEEPS_MAX,
            penalty: SLEEPS_MIN,
        });
        runtime.block_on(async { tokio::time::sleep(Duration::from_millis(20)).await });
        assert!(MANNERS.get().without < SLEEPS_MAX);
    }
}
