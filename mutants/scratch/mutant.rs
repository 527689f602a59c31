//! Says which mutant of this binary is switched on. Part of mutated copies of core only.
//!
//! `MUTANT=17` switches on number 17; `MUTANT=cover` switches on none and appends the number of
//! each one that is reached, once, to the file `MUTANT_FILE`.

extern crate std;

use core::cmp::Ordering as Order;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::io::Write as _;

const NOT_READ: u32 = u32::MAX;
const COVER: u32 = u32::MAX - 1;
const NONE: u32 = u32::MAX - 2;
const MUTANTS_MAX: usize = 1 << 16;

static ACTIVE: AtomicU32 = AtomicU32::new(NOT_READ);
static REACHED: [AtomicBool; MUTANTS_MAX] = [const { AtomicBool::new(false) }; MUTANTS_MAX];

/// Whether this mutant is the one.
#[inline(always)]
pub fn on(number: u32) -> bool {
    let active = ACTIVE.load(Ordering::Relaxed);
    if active >= COVER {
        return rare(number);
    }
    active == number
}

#[cold]
#[inline(never)]
fn rare(number: u32) -> bool {
    if ACTIVE.load(Ordering::Relaxed) == NOT_READ {
        let text = std::env::var("MUTANT").unwrap_or_default();
        let active = match text.as_str() {
            "cover" => COVER,
            "" => NONE,
            text => text.parse().expect("MUTANT is a number or \"cover\""),
        };
        ACTIVE.store(active, Ordering::Relaxed);
    }
    let active = ACTIVE.load(Ordering::Relaxed);
    if active == COVER && !REACHED[number as usize].swap(true, Ordering::Relaxed) {
        let path = std::env::var("MUTANT_FILE").expect("cover says where to");
        let mut file = std::fs::File::options()
            .create(true)
            .append(true)
            .open(path)
            .expect("the file can be written");
        file.write_all(std::format!("{number}\n").as_bytes())
            .expect("the file can be written");
    }
    active == number
}

/// A condition that the mutant makes true.
#[inline(always)]
pub fn yes(number: u32, value: bool) -> bool {
    on(number) || value
}

/// A condition that the mutant makes false.
#[inline(always)]
pub fn no(number: u32, value: bool) -> bool {
    !on(number) && value
}

/// A truth that the mutant turns round.
#[inline(always)]
pub fn flip(number: u32, value: bool) -> bool {
    on(number) != value
}

/// An order that the mutant turns round.
#[inline(always)]
pub fn order(number: u32, value: Order) -> Order {
    if on(number) { value.reverse() } else { value }
}
