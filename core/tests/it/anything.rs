//! Each machine, fed anything: the steps that the fuzzer takes, chosen at random.

use argon_core::testing::drive;
use proptest::collection::vec;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_steps_break_a_machine(bytes in vec(any::<u8>(), 1..2_000)) {
        drive(&bytes);
    }
}
