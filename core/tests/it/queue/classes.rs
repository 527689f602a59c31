//! Classes of tasks in the queue: each is counted, found and taken from by its own number, however
//! many there are, and the oldest's turn is counted within each.

use argon_core::limits::OLDEST_EVERY;
use argon_core::queue::{ClassId, ClientKey, Entry, Push, Queue, Standing, Taken, TaskKey};
use argon_core::task::Priority;
use proptest::collection::vec as some;
use proptest::prelude::*;

fn entry(order: u64, class: u16, standing: Standing) -> Entry {
    Entry {
        task: TaskKey(order as u32),
        client: ClientKey(order as u32 % 3),
        class: ClassId(class),
        priority: Priority::NORMAL,
        bytes: 10,
        order,
        standing,
    }
}

proptest! {
    /// Against lists: which classes have tasks, how many, and which came back from a worker.
    #[test]
    fn classes_are_what_was_put_in(tasks in some((0_u16..200, any::<bool>()), 0..60), taken in 0_usize..60) {
        let mut queue = Queue::new(1_000, 1 << 30);
        let mut here: Vec<Entry> = Vec::new();
        for (order, (class, returning)) in (1..).zip(tasks) {
            let standing = if returning { Standing::Returning } else { Standing::Fresh };
            let entry = entry(order, class, standing);
            let displaced = Vec::new();
            prop_assert_eq!(queue.push(entry), Push::Queued { displaced });
            here.push(entry);
        }
        for _ in 0..taken.min(here.len()) {
            let gone = here.remove(0);
            prop_assert!(queue.remove(gone.task).is_some());
        }
        let of = |wanted: &dyn Fn(&Entry) -> bool| -> Vec<ClassId> {
            let mut classes: Vec<ClassId> =
                here.iter().filter(|entry| wanted(entry)).map(|entry| entry.class).collect();
            classes.sort_unstable();
            classes.dedup();
            classes
        };
        let all = of(&|_| true);
        prop_assert_eq!(queue.only_class(), (all.len() == 1).then(|| all[0]));
        prop_assert_eq!(queue.classes().collect::<Vec<_>>(), all);
        let returning = of(&|entry| entry.standing == Standing::Returning);
        prop_assert_eq!(queue.returning_classes().collect::<Vec<_>>(), returning);
        for number in 0..210 {
            let class = ClassId(number);
            let all = || here.iter().filter(|entry| entry.class == class);
            prop_assert_eq!(queue.class_len(class), all().count());
            prop_assert_eq!(queue.has_dispatchable(class), all().count() > 0);
            let oldest = all().map(|entry| entry.order).min();
            prop_assert_eq!(queue.oldest(class).map(|entry| entry.order), oldest);
            let back = all().filter(|entry| entry.standing == Standing::Returning);
            let back = back.map(|entry| entry.order).min();
            prop_assert_eq!(queue.oldest_returning(class).map(|entry| entry.order), back);
        }
    }
}

/// Whoever takes the oldest by hand has given it its turn: the next comes as many later.
#[test]
fn a_turn_of_the_oldest_is_a_turn_however_it_is_given() {
    let mut queue = Queue::new(1_000, 1 << 30);
    let class = ClassId(0);
    let one = |order: u64, priority: Priority| Entry {
        client: ClientKey(0),
        priority,
        ..entry(order, 0, Standing::Fresh)
    };
    for order in 1..4 {
        queue.push(one(order, Priority::LOW));
    }
    for order in 10..80 {
        queue.push(one(order, Priority::HIGH));
    }
    for _ in 0..5 {
        let taken = queue.pop(class).map(|entry| entry.order);
        assert!(taken > Some(3));
    }
    let turn = queue.begin_turn(class, true).expect("tasks wait");
    assert_eq!(
        queue
            .take_first(&turn)
            .and_then(Taken::alone)
            .map(|entry| entry.order),
        Some(1)
    );
    queue.end_turn(turn);
    for _ in 1..OLDEST_EVERY {
        let taken = queue.pop(class).map(|entry| entry.order);
        assert!(taken > Some(3));
    }
    assert_eq!(queue.pop(class).map(|entry| entry.order), Some(2));
}
