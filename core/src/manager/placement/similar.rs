//! Names that somebody may have meant.

use alloc::vec::Vec;
use core::mem;

use crate::limits::{COMPARISON_MAX, SIMILAR_MAX};
use crate::name::Name;
use crate::steps::step;

/// Longer names are not compared, so that a comparison has a bound.
const LENGTH_MAX: usize = 64;

/// Those of `names` that are most like `name`, the most similar first: at most a third of it
/// differs. Also how many pairs of bytes were compared to find them, which is what it takes: once
/// that is [`COMPARISON_MAX`], the rest of `names` is left out.
pub(super) fn similar<'a>(
    name: &Name,
    names: impl Iterator<Item = &'a Name>,
) -> (Vec<Name>, usize) {
    let name = name.as_str();
    let tolerance = (name.len() / 3).max(1);
    if name.len() > LENGTH_MAX {
        return (Vec::new(), 0);
    }
    let (mut row, mut compared) = (Vec::new(), 0);
    let mut near: Vec<(usize, &Name)> = Vec::new();
    for other in names {
        if compared >= COMPARISON_MAX {
            break;
        }
        step();
        compared += 1;
        let length = other.as_str().len();
        // Those that are much shorter or longer cannot be like it.
        if length > LENGTH_MAX || length.abs_diff(name.len()) > tolerance {
            continue;
        }
        compared += length * name.len();
        let distance = distance(name, other.as_str(), &mut row);
        if distance <= tolerance {
            near.push((distance, other));
        }
    }
    near.sort_unstable();
    near.dedup();
    near.truncate(SIMILAR_MAX);
    let near = near.into_iter().map(|(_, other)| other.clone()).collect();
    (near, compared)
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
        let (found, _) = similar(&name("resize_"), names.iter());
        let expected = ["resize", "resized", "resizes"].map(name);
        assert_eq!(found, expected);
        assert!(similar(&name("x"), names.iter()).0.is_empty());
        assert!(similar(&name(&"x".repeat(100)), names.iter()).0.is_empty());
    }

    #[test]
    fn a_third_may_differ_and_one_letter_of_the_shortest() {
        let near = |one: &str, other: &str| {
            let name = |text: &str| Name::new(text).expect("valid");
            !similar(&name(one), [name(other)].iter()).0.is_empty()
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
        let (found, _) = similar(&name("resize"), names.iter());
        assert_eq!(found, ["resize", "resized", "resizes"].map(name));
    }

    #[test]
    fn a_comparison_ends_after_so_much() {
        let name = |text: &str| Name::new(text).expect("valid");
        let one = name(&"a".repeat(LENGTH_MAX));
        let other = name(&"b".repeat(LENGTH_MAX));
        let (_, compared) = similar(&one, core::iter::repeat_n(&other, 1_000_000));
        assert!(compared <= COMPARISON_MAX + LENGTH_MAX * LENGTH_MAX);
        // What is of another length costs next to nothing, and is bounded alike.
        let short = name("b");
        let (_, compared) = similar(&one, core::iter::repeat_n(&short, 10_000_000));
        assert_eq!(compared, COMPARISON_MAX);
    }
}
