//! What is known about how long tasks take, by name.

use argon_core::durations::{Durations, NameKey};
use argon_core::limits::NAMES_MAX;
use argon_core::name::Name;
use proptest::prelude::*;

const MS: u64 = 1_000_000;

fn name(number: u32) -> Name {
    Name::new(&format!("task-{number}")).expect("a name")
}

#[test]
fn the_average_follows_the_run_times() {
    let mut durations = Durations::new();
    assert!(durations.is_empty());
    let key = durations.intern(&name(1));
    assert!(!durations.is_empty());
    assert_eq!(durations.expected(key), MS, "nothing is known of any name");
    durations.completed(key, 10 * MS);
    assert_eq!(durations.expected(key), 10 * MS);
    for _ in 0..60 {
        durations.completed(key, 2 * MS);
    }
    assert!(durations.expected(key).abs_diff(2 * MS) < MS / 100);
    for _ in 0..200 {
        durations.completed(key, 5 * MS);
    }
    assert_eq!(durations.expected(key), 5 * MS, "it arrives from below");
    for _ in 0..200 {
        durations.completed(key, 2 * MS);
    }
    assert_eq!(durations.expected(key), 2 * MS, "and from above");
    durations.check_invariants();
}

#[test]
fn a_name_of_which_none_has_completed_is_like_the_mean_of_the_others() {
    let mut durations = Durations::new();
    let (first, second) = (durations.intern(&name(1)), durations.intern(&name(2)));
    let unseen = durations.intern(&name(3));
    durations.completed(first, 10 * MS);
    durations.completed(second, 30 * MS);
    assert_eq!(durations.expected(unseen), 20 * MS);
}

#[test]
fn the_recent_maximum_fades_and_is_unknown_at_first() {
    let mut durations = Durations::new();
    let key = durations.intern(&name(1));
    assert_eq!(durations.recent_max(key), u64::MAX, "not known to be short");
    durations.completed(key, 1_000 * MS);
    let mut before = durations.recent_max(key);
    for _ in 0..400 {
        durations.completed(key, MS / 10);
        assert!(durations.recent_max(key) <= before);
        before = durations.recent_max(key);
    }
    assert!(before < MS, "{before}");
    durations.completed(key, 7 * MS);
    assert_eq!(durations.recent_max(key), 7 * MS);
}

#[test]
fn the_name_used_longest_ago_makes_room_and_its_key_is_not_mistaken() {
    let mut durations = Durations::new();
    let keys = (0..NAMES_MAX as u32)
        .map(|n| durations.intern(&name(n)))
        .collect::<Vec<_>>();
    for &key in &keys {
        durations.completed(key, 50 * MS);
    }
    // The first is used again, so the second is the one to go.
    assert_eq!(durations.intern(&name(0)), keys[0]);
    let newcomer = durations.intern(&name(5_000));
    assert_eq!(durations.len(), NAMES_MAX);
    assert!(!keys.contains(&newcomer));
    assert_eq!(durations.recent_max(keys[0]), 50 * MS);
    assert_eq!(durations.recent_max(keys[1]), u64::MAX);
    durations.completed(keys[1], 900 * MS);
    assert_eq!(
        durations.recent_max(newcomer),
        u64::MAX,
        "that was another name's run"
    );
    assert_eq!(durations.expected(newcomer), 50 * MS);
    assert_ne!(
        durations.intern(&name(1)),
        keys[1],
        "and it starts anew when it comes back"
    );
    durations.check_invariants();
}

#[test]
fn names_that_come_and_go_are_never_mistaken_for_each_other() {
    let mut durations = Durations::new();
    let seen: std::collections::BTreeSet<NameKey> = (0..10 * NAMES_MAX as u32)
        .map(|number| durations.intern(&name(number)))
        .collect();
    assert_eq!(seen.len(), 10 * NAMES_MAX);
    // None of them has completed.
    durations.check_invariants();
    let last = durations.intern(&name(1));
    assert_eq!(durations.expected(last), MS);
}

#[test]
fn absurd_run_times_overflow_nothing() {
    let mut durations = Durations::new();
    for number in 0..2 * NAMES_MAX as u32 {
        let key = durations.intern(&name(number));
        durations.completed(key, u64::MAX);
        durations.completed(key, u64::MAX);
    }
    let key = durations.intern(&name(9_999));
    assert!(durations.expected(key) > 40 * 24 * 3_600 * 1_000 * MS);
    durations.check_invariants();
}

proptest! {
    /// The names that are remembered are the most recently used ones.
    #[test]
    fn remembers_the_most_recently_used(uses in prop::collection::vec(0u32..1_100, 1_500..3_000)) {
        let mut durations = Durations::new();
        let mut recent: Vec<(u32, NameKey)> = Vec::new();
        for number in uses {
            let key = durations.intern(&name(number));
            if let Some(place) = recent.iter().position(|&(known, _)| known == number) {
                let (_, known) = recent.remove(place);
                prop_assert_eq!(key, known);
            } else {
                prop_assert!(recent.iter().all(|&(_, known)| known != key));
                prop_assert_eq!(durations.recent_max(key), u64::MAX);
                durations.completed(key, u64::from(number));
            }
            recent.push((number, key));
            if recent.len() > NAMES_MAX {
                let (_, forgotten) = recent.remove(0);
                prop_assert_eq!(durations.recent_max(forgotten), u64::MAX);
            }
        }
        durations.check_invariants();
        for (number, key) in recent {
            prop_assert_eq!(durations.expected(key), u64::from(number));
        }
    }
}
