//! One target at length, led by which code was reached: see `../long`, which builds it.

#![no_main]

use std::sync::LazyLock;

use argon_fuzz::Target;
use libfuzzer_sys::fuzz_target;

static CHOSEN: LazyLock<&Target> = LazyLock::new(|| {
    argon_fuzz::lift_limit_in_panics();
    let name = std::env::var("ARGON_FUZZ_TARGET").unwrap_or_default();
    argon_fuzz::target(&name).expect("ARGON_FUZZ_TARGET names a target")
});

fuzz_target!(|input: &[u8]| CHOSEN.run(input));
