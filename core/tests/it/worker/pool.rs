//! The life of pool processes: start, death, recycling, and queues inside children.

use super::bench::*;
use argon_core::limits::CHILD_WORK_MIN;
use argon_core::message::{FromManager, ToWorker};
use argon_core::worker::{PoolOutput, SlotLife, WorkerOutput};

/// A worker that has learnt that its tasks take a microsecond; the attempts from 1,000 on are
/// used up for it.
fn tiny(capacity: u32) -> Rig {
    let mut rig = Rig::up(config(capacity));
    for number in 1_000..1_004 {
        rig.assign_all([number]);
        rig.step();
        rig.done(life(0, 1), number, US);
        let attempts = vec![attempt(number)];
        rig.say(FromManager::Role(ToWorker::AckResults { attempts }));
    }
    rig.step();
    rig
}

/// The attempts given in `said`, by slot.
fn given(said: &[WorkerOutput]) -> Vec<(SlotLife, u64)> {
    let run = |output: &WorkerOutput| match output {
        WorkerOutput::Pool(PoolOutput::Run { slot, job }) => Some((*slot, job.attempt.number)),
        _ => None,
    };
    said.iter().filter_map(run).collect()
}

fn count(given: &[(SlotLife, u64)], slot: SlotLife) -> usize {
    given.iter().filter(|(to, _)| *to == slot).count()
}

#[test]
fn all_slots_start_at_once() {
    let mut rig = Rig::new(config(3));
    let spawns: Vec<_> = (0..3).map(|slot| spawn(life(slot, 1))).collect();
    assert_eq!(rig.step(), spawns);
}

#[test]
fn tiny_attempts_queue_in_children_evenly_and_others_do_not() {
    let mut rig = Rig::up(config(2));
    rig.assign_all(1..=10);
    assert_eq!(given(&rig.step()).len(), 2, "nothing is known yet");
    let mut rig = tiny(2);
    rig.assign_all(1..=300);
    let given = given(&rig.step());
    assert_eq!(count(&given, life(0, 1)), 150);
    assert_eq!(count(&given, life(1, 1)), 150);
    for slot in [life(0, 1), life(1, 1)] {
        let mine: Vec<_> = given.iter().filter(|(to, _)| *to == slot).collect();
        assert!(mine.is_sorted(), "in order of arrival");
    }
}

#[test]
fn a_second_process_is_not_woken_for_what_the_first_does_in_that_time() {
    let most = CHILD_WORK_MIN.as_micros() as u64;
    for (attempts, expected) in [(1, [1, 0]), (most, [most, 0]), (most + 1, [most, 1])] {
        let mut rig = tiny(2);
        rig.assign_all(1..=attempts);
        let given = given(&rig.step());
        let counts = [life(0, 1), life(1, 1)].map(|slot| count(&given, slot) as u64);
        assert_eq!(counts, expected);
    }
    // What is not known to be tiny has a process to itself.
    let mut rig = Rig::up(config(2));
    rig.assign_all([1, 2]);
    let given = given(&rig.step());
    assert_eq!(given, [(life(0, 1), 1), (life(1, 1), 2)]);
}

#[test]
fn no_more_than_a_millisecond_of_work_is_written_to_a_child() {
    let mut rig = tiny(1);
    rig.assign_many(1..=5_000);
    assert_eq!(given(&rig.step()).len(), 1_000);
    for number in 1..=10 {
        rig.done(life(0, 1), number, US);
    }
    assert_eq!(given(&rig.step()).len(), 10);
}
