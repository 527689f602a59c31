//! Each machine, fed anything: the steps that the fuzzer takes, chosen at random.

use argon_core::testing::{Driven, drive};
use proptest::collection::vec;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(700))]

    #[test]
    fn no_steps_break_a_manager(bytes in vec(any::<u8>(), 1..2_000)) {
        drive(Driven::Manager, &bytes);
    }

    #[test]
    fn no_steps_break_a_worker(bytes in vec(any::<u8>(), 1..2_000)) {
        drive(Driven::Worker, &bytes);
    }

    #[test]
    fn no_steps_break_a_client(bytes in vec(any::<u8>(), 1..2_000)) {
        drive(Driven::Client, &bytes);
    }
}
