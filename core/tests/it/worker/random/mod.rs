//! Random steps against a worker: a manager that now and then talks nonsense, children that
//! die, connections that come and go, time that passes. After each step the worker's invariants
//! hold; at the end, once all is quiet, nothing is left over.

mod steps;
mod world;

use proptest::prelude::*;

use steps::{steps, worker_config};
use world::World;

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_nothing_is_lost_doubled_or_left_over(
        config in worker_config(),
        steps in steps(),
    ) {
        let mut world = World::new(config);
        for step in steps {
            world.take(step);
        }
        world.calm_down();
        world.check_quiet();
    }
}
