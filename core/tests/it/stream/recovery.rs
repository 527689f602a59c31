//! Streams of tasks, whatever is cut or restarted.

use proptest::prelude::*;

use super::triangle::{Peer, WINDOW, World};

#[derive(Clone, Copy, Debug)]
enum Step {
    ToManager(Peer),
    ToPeer(Peer),
    Written,
    Application(usize),
    Echo,
    Time,
    Cut(Peer),
    RestartManager,
    RestartWorker,
}

fn step() -> impl Strategy<Value = Step> {
    let peer = prop_oneof![Just(Peer::Client), Just(Peer::Worker)];
    prop_oneof![
        20 => peer.clone().prop_map(Step::ToManager),
        20 => peer.clone().prop_map(Step::ToPeer),
        5 => Just(Step::Written),
        10 => (1_usize..3_000).prop_map(Step::Application),
        10 => Just(Step::Echo),
        3 => Just(Step::Time),
        1 => peer.prop_map(Step::Cut),
        1 => Just(Step::RestartManager),
        1 => Just(Step::RestartWorker),
    ]
}

impl World {
    fn take_step(&mut self, step: Step) {
        match step {
            Step::ToManager(peer) => drop(self.manager_hears(peer)),
            Step::ToPeer(peer) => drop(self.peer_hears(peer)),
            Step::Written => self.written(),
            Step::Application(most) => drop(self.application_works(most)),
            Step::Echo => drop(self.echo_works()),
            Step::Time => drop(self.time_passes()),
            Step::Cut(peer) => self.cut(peer),
            Step::RestartManager => self.restart_manager(),
            Step::RestartWorker => self.restart_worker(),
        }
    }
}

#[test]
fn a_task_reads_and_writes_while_it_runs() {
    let mut world = World::new(10 * u64::from(WINDOW) + 7);
    world.settle();
    assert_eq!(world.begun(), 1);
}

#[test]
fn a_task_without_a_byte_has_streams_that_end() {
    World::new(0).settle();
}

#[test]
fn a_short_cut_costs_no_byte_and_no_attempt() {
    for peer in Peer::BOTH {
        let mut world = World::new(10 * u64::from(WINDOW));
        world.run_until_under_way(peer);
        world.cut(peer);
        world.settle();
        assert_eq!(world.begun(), 1, "{peer:?}");
    }
}

#[test]
fn a_manager_that_restarts_costs_no_byte_and_no_attempt() {
    for peer in Peer::BOTH {
        let mut world = World::new(10 * u64::from(WINDOW));
        world.run_until_under_way(peer);
        world.restart_manager();
        world.settle();
        assert_eq!(world.begun(), 1, "{peer:?}");
    }
}

#[test]
fn another_attempt_begins_anew() {
    let mut world = World::new(10 * u64::from(WINDOW));
    world.run_until_under_way(Peer::Client);
    world.restart_worker();
    world.settle();
    assert_eq!(world.begun(), 2);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() })]

    /// All that the last attempt wrote has come before the outcome, in order and once.
    #[test]
    fn output_is_whole_and_comes_before_the_outcome(
        size in 0_u64..40_000,
        steps in prop::collection::vec(step(), 0..600),
    ) {
        let mut world = World::new(size);
        for step in steps {
            world.take_step(step);
        }
        if world.delivered.is_none() {
            world.settle();
        }
    }
}
