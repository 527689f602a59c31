//! The life of pool processes: start, death, recycling, and queues inside children.

use super::bench::*;
use argon_core::limits::CHILD_WORK_MIN;
use argon_core::message::{Assign, AttemptEnd, FromManager, ToWorker};
use argon_core::task::ExitCause;
use argon_core::worker::{PoolOutput, SlotLife, WorkerOutput};
use std::time::Duration;

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
fn a_process_that_never_gets_ready_is_started_again_ever_more_slowly() {
    let mut rig = Rig::new(config(1));
    rig.step();
    for (failures, delay) in [10, 20, 40, 80, 160, 320, 640, 1_280, 2_560, 5_000, 5_000]
        .into_iter()
        .enumerate()
    {
        let before = life(0, failures as u64 + 1);
        rig.exited(before, ExitCause::NotStarted);
        let early = rig.pass(MS * delay - US);
        assert!(!early.contains(&spawn(life(0, before.life + 1))));
        let late = rig.pass(US);
        assert!(late.contains(&spawn(life(0, before.life + 1))));
    }
}

#[test]
fn a_death_under_an_attempt_delays_nobody_elses_process() {
    let mut rig = Rig::up(config(1));
    rig.assign_all(1..=9);
    rig.step();
    for process in 1..9 {
        rig.exited(life(0, process), ExitCause::Signal(11));
        assert!(rig.step().contains(&spawn(life(0, process + 1))), "at once");
        rig.ready_again(life(0, process + 1));
    }
}

#[test]
fn a_process_is_let_go_after_its_share_of_attempts() {
    let mut config = config(1);
    config.max_requests = Some(2);
    let mut rig = Rig::up(config);
    rig.assign_all([1, 2, 3]);
    rig.step();
    rig.done(life(0, 1), 1, MS);
    rig.step();
    rig.done(life(0, 1), 2, MS);
    assert_eq!(rig.step(), vec![rig.completed(2, MS), retire(life(0, 1))]);
    rig.exited(life(0, 1), ExitCause::Exit(0));
    assert_eq!(rig.step(), vec![spawn(life(0, 2))]);
    assert_eq!(rig.ready_again(life(0, 2)), vec![run(life(0, 2), 3)]);
}

#[test]
fn a_process_that_does_not_go_is_made_to() {
    let mut config = config(1);
    config.max_requests = Some(1);
    config.kill_grace = MS * 300;
    let mut rig = Rig::up(config);
    rig.assign_all([1]);
    rig.step();
    rig.done(life(0, 1), 1, MS);
    rig.step();
    assert_eq!(rig.pass(MS * 300), vec![terminate(life(0, 1))]);
    assert_eq!(rig.pass(MS * 300), vec![kill(life(0, 1))]);
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

#[test]
fn one_slow_attempt_keeps_its_name_out_of_the_queues() {
    let mut rig = tiny(2);
    rig.assign_all([1]);
    rig.step();
    rig.done(life(0, 1), 1, MS);
    rig.assign_all(2..=9);
    assert_eq!(given(&rig.step()).len(), 2);
}

#[test]
fn nothing_is_queued_behind_an_attempt_that_takes_longer_than_it_should() {
    let mut rig = tiny(1);
    rig.assign_all([1]);
    rig.step();
    rig.pass(MS);
    rig.assign_all([2]);
    assert_eq!(rig.step(), vec![]);
}

#[test]
fn at_most_once_waits_for_an_idle_child() {
    let mut rig = tiny(1);
    let only_once = Assign {
        at_most_once: true,
        ..assign(2)
    };
    rig.assign_all([1]);
    rig.assign(only_once);
    rig.assign_all([3]);
    assert_eq!(given(&rig.step()), vec![(life(0, 1), 1)]);
    rig.done(life(0, 1), 1, US);
    assert_eq!(
        given(&rig.step()),
        vec![(life(0, 1), 2), (life(0, 1), 3)],
        "others may queue behind it"
    );
}

#[test]
fn the_death_of_a_child_is_charged_to_its_oldest_attempt_and_the_others_go_first() {
    let mut rig = tiny(1);
    rig.assign_all(1..=3);
    rig.step();
    rig.pass(MS);
    rig.assign_all([4]);
    assert_eq!(rig.step(), vec![]);
    rig.exited(life(0, 1), ExitCause::Signal(11));
    let end = AttemptEnd::Crashed(ExitCause::Signal(11), "last words".into());
    assert_eq!(
        rig.step(),
        vec![rig.finished(1, MS, end), spawn(life(0, 2))]
    );
    let attempts = [2, 3, 4].map(attempt).to_vec();
    rig.say(FromManager::Role(ToWorker::Recall { attempts }));
    assert_eq!(
        rig.step(),
        vec![rig.returned(&[4], &[2, 3])],
        "what was written to a child may have run"
    );
    // What was cut short after a millisecond is not tiny: one at a time now, oldest first.
    let again = rig.ready_again(life(0, 2));
    assert_eq!(given(&again), vec![(life(0, 2), 2)]);
    rig.done(life(0, 2), 2, US);
    assert_eq!(given(&rig.step()), vec![(life(0, 2), 3)]);
}

#[test]
fn an_attempt_to_be_killed_behind_another_is_killed_in_its_turn() {
    let mut rig = tiny(1);
    rig.assign_all(1..=3);
    rig.step();
    let attempt = attempt(2);
    rig.say(FromManager::Role(ToWorker::Kill { attempt }));
    assert_eq!(rig.step(), vec![], "1 is innocent");
    rig.done(life(0, 1), 1, US);
    rig.step();
    assert_eq!(rig.pass(MS), vec![terminate(life(0, 1))]);
    rig.exited(life(0, 1), ExitCause::Signal(15));
    assert_eq!(
        rig.step(),
        vec![rig.finished(2, MS, AttemptEnd::Killed), spawn(life(0, 2))]
    );
    let again = rig.ready_again(life(0, 2));
    assert_eq!(given(&again), vec![(life(0, 2), 3)]);
}

#[test]
fn an_attempt_to_be_killed_is_not_run_again_after_its_child_died() {
    let mut rig = tiny(1);
    rig.assign_all(1..=2);
    rig.step();
    let attempt = attempt(2);
    rig.say(FromManager::Role(ToWorker::Kill { attempt }));
    rig.exited(life(0, 1), ExitCause::Signal(11));
    let crash = AttemptEnd::Crashed(ExitCause::Signal(11), "last words".into());
    assert_eq!(
        rig.step(),
        vec![
            rig.finished(1, Duration::ZERO, crash),
            rig.finished(2, Duration::ZERO, AttemptEnd::Killed),
            spawn(life(0, 2))
        ]
    );
}

#[test]
fn what_came_back_from_a_dead_child_still_has_its_deadline() {
    let mut rig = tiny(1);
    rig.assign_all([1]);
    rig.assign(Assign {
        deadline: (MS * 50).into(),
        ..assign(2)
    });
    assert_eq!(given(&rig.step()).len(), 2);
    rig.exited(life(0, 1), ExitCause::Signal(11));
    rig.step();
    assert_eq!(
        rig.pass(MS * 50),
        vec![rig.finished(2, Duration::ZERO, AttemptEnd::Expired)]
    );
}

#[test]
fn what_came_back_from_a_dead_child_runs_although_the_manager_is_long_gone() {
    let mut rig = tiny(1);
    rig.assign_all([1, 2]);
    rig.step();
    rig.cut();
    rig.pass_alone(Duration::from_secs(3));
    rig.exited(life(0, 1), ExitCause::Signal(11));
    rig.step();
    let again = rig.ready_again(life(0, 2));
    assert_eq!(given(&again), vec![(life(0, 2), 2)], "it may have started");
}
