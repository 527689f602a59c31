//! The key of a simulated cluster.

use std::sync::OnceLock;

use argon::{Keys, make_key};

use crate::plan::Plan;
use crate::rng::{Draw, stream};

/// Of a hundred plans, so many are run over TLS.
const SHARE: u64 = 25;

/// The key with which a plan is run, if it is one of those. Where order is judged by what passes on the
/// wire it is none.
///
/// Its secrets differ from process to process; their lengths and what takes how long do not, so a run
/// with it repeats.
pub(super) fn of(plan: &Plan) -> Option<Keys> {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    let wanted = stream(plan.seed, &[61]).percent(SHARE) && !plan.is_calm();
    wanted.then(|| {
        let make = || {
            let text = make_key().expect("the system has random numbers");
            Keys::from_texts([text]).expect("a key is one")
        };
        KEYS.get_or_init(make).clone()
    })
}
