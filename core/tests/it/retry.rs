//! The laws of the delay between retries.

use std::time::Duration;

use argon_core::retry::{HINT_MAX, Retry};
use argon_core::rng::Rng;
use proptest::prelude::*;

#[test]
fn a_budget_is_used_up_exactly() {
    let is_used_up = |allowed, retries| Retry::new(allowed).is_used_up(retries);
    assert!(!is_used_up(Some(2), 0));
    assert!(!is_used_up(Some(2), 1));
    assert!(is_used_up(Some(2), 2));
    assert!(is_used_up(Some(0), 0));
    assert!(!is_used_up(None, u32::MAX));
}

#[test]
fn jitter_is_full_and_not_a_wobble_around_the_ceiling() {
    let retry = Retry::new(None);
    let mut rng = Rng::from_seed(7);
    let ceiling = retry.ceiling(4);
    let delays: Vec<_> = (0..1_000)
        .map(|_| retry.delay(4, Duration::ZERO, &mut rng))
        .collect();
    for quarter in 0..4 {
        let from = ceiling / 4 * quarter;
        let share = delays
            .iter()
            .filter(|delay| (from..from + ceiling / 4).contains(delay))
            .count();
        assert!((200..300).contains(&share), "{share} in quarter {quarter}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_delay_is_the_hint_and_at_most_the_ceiling_more(
        seed: u64,
        tries: u32,
        hint_ms in 0_u64..200_000,
    ) {
        let retry = Retry::new(None);
        let hint = Duration::from_millis(hint_ms);
        let delay = retry.delay(tries, hint, &mut Rng::from_seed(seed));
        let floor = hint.min(HINT_MAX);
        prop_assert!(delay >= floor);
        prop_assert!(delay <= floor + retry.ceiling(tries));
    }

    #[test]
    fn ceilings_rise_to_the_cap_and_stay_there(base_us in 1_u64..10_000_000, cap_ms in 1_u64..100_000) {
        let retry = Retry {
            allowed: None,
            base: Duration::from_micros(base_us),
            cap: Duration::from_millis(cap_ms),
        };
        for tries in 0..70 {
            prop_assert!(retry.ceiling(tries) <= retry.ceiling(tries + 1));
            prop_assert!(retry.ceiling(tries) <= retry.cap);
        }
        prop_assert_eq!(retry.ceiling(0), retry.base.min(retry.cap));
        prop_assert_eq!(retry.ceiling(u32::MAX), retry.cap.min(retry.base.saturating_mul(1 << 31)));
    }

    #[test]
    fn the_budget_alone_decides(retries: u32, allowed: Option<u32>) {
        let spent = allowed.is_some_and(|allowed| retries >= allowed);
        prop_assert_eq!(Retry::new(allowed).is_used_up(retries), spent);
    }
}
