//! Arbitrary steps into each machine, see [`argon_core::testing`].

#![no_main]

use argon_core::testing::drive;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| drive(bytes));
