//! Names that somebody may have meant.

use alloc::vec::Vec;
use core::mem;

use crate::limits::SIMILAR_MAX;
use crate::name::Name;

/// Longer names are not compared, so that a comparison has a bound.
const LENGTH_MAX: usize = 64;
/// No more names than this are looked at.
const COMPARED_MAX: usize = 4_096;

/// Those of `names` that are most like `name`, the most similar first: at most a third of it
/// differs.
pub(super) fn similar<'a>(name: &Name, names: impl Iterator<Item = &'a Name>) -> Vec<Name> {
    let name = name.as_str();
    let tolerance = (name.len() / 3).max(1);
    if name.len() > LENGTH_MAX {
        return Vec::new();
    }
    let mut row = Vec::new();
    let mut near: Vec<(usize, &Name)> = names
        .take(COMPARED_MAX)
        .filter(|other| other.as_str().len() <= LENGTH_MAX)
        .map(|other| (distance(name, other.as_str(), &mut row), other))
        .filter(|(distance, _)| *distance <= tolerance)
        .collect();
    near.sort_unstable();
    near.dedup();
    near.truncate(SIMILAR_MAX);
    near.into_iter().map(|(_, other)| other.clone()).collect()
}

/// How many bytes must be put in, left out or replaced to get from one to the other (Levenshtein,
/// 1966), by the usual table of which one row is kept (Wagner and Fischer, 1974). Capitals make no
/// difference.
fn distance(one: &str, other: &str, row: &mut Vec<usize>) -> usize {
    row.clear();
    row.extend(0..=other.len());
    for (above, a) in one.bytes().enumerate() {
        let mut diagonal = mem::replace(&mut row[0], above + 1);
        for (left, b) in other.bytes().enumerate() {
            let replaced = diagonal + usize::from(!a.eq_ignore_ascii_case(&b));
            diagonal = row[left + 1];
            row[left + 1] = replaced.min(diagonal + 1).min(row[left] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_the_textbook() {
        let mut row = Vec::new();
        for (one, other, expected) in [
            ("kitten", "sitting", 3),
            ("", "abc", 3),
            ("abc", "", 3),
            ("same", "same", 0),
            ("Same", "sAME", 0),
            ("flaw", "lawn", 2),
        ] {
            assert_eq!(distance(one, other, &mut row), expected, "{one} {other}");
            assert_eq!(distance(other, one, &mut row), expected, "{other} {one}");
        }
    }

    #[test]
    fn the_most_similar_come_first_and_strangers_not_at_all() {
        let name = |text: &str| Name::new(text).expect("valid");
        let names = ["resize", "resized", "restore", "hash", "resizes", "reside"].map(name);
        let found = similar(&name("resize_"), names.iter());
        let expected = ["resize", "resized", "resizes"].map(name);
        assert_eq!(found, expected);
        assert!(similar(&name("x"), names.iter()).is_empty());
        assert!(similar(&name(&"x".repeat(100)), names.iter()).is_empty());
    }

    #[test]
    fn a_third_may_differ_and_one_letter_of_the_shortest() {
        let near = |one: &str, other: &str| {
            let name = |text: &str| Name::new(text).expect("valid");
            !similar(&name(one), [name(other)].iter()).is_empty()
        };
        assert!(near("abcdefghi", "abcdefxyz") && !near("abcdefghi", "abcdewxyz"));
        assert!(!near("abcdefgh", "abcdexyz"), "two of eight");
        assert!(near("ab", "ax") && !near("ab", "xy"));
        // No longer names are compared than so.
        let long = |length: usize, last: &str| "a".repeat(length - 1) + last;
        assert!(near(&long(LENGTH_MAX, "b"), &long(LENGTH_MAX, "c")));
        assert!(!near(&long(LENGTH_MAX + 1, "b"), &long(LENGTH_MAX, "a")));
        assert!(!near(&long(LENGTH_MAX, "b"), &long(LENGTH_MAX + 1, "a")));
    }

    #[test]
    fn each_name_is_suggested_once_and_the_nearest_first() {
        let name = |text: &str| Name::new(text).expect("valid");
        let names = [
            "resizing", "resized", "resize", "resized", "resizes", "resize",
        ]
        .map(name);
        let found = similar(&name("resize"), names.iter());
        assert_eq!(found, ["resize", "resized", "resizes"].map(name));
    }
}
