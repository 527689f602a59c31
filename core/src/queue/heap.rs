//! A heap whose items can be moved and taken out.
//!
//! The queue keeps flows sorted in several ways at once, and with every dispatch the keys of one
//! flow change a little. A B-tree would take the old key out and put the new one in, and allocate
//! now and then; here the item's place is known, and a changed key moves it as far as it must go.
//! Equal keys are told apart by the item's number, so the order is total and the same every time.

use alloc::vec::Vec;
use core::marker::PhantomData;

use crate::arena::Key;

/// Children of one item: four keep the heap flat, and they lie side by side.
const CHILDREN: usize = 4;
/// The place of an item that is in no heap.
const NOWHERE: u32 = u32::MAX;

/// Where each item is. Heaps that never share an item may share one of these.
#[derive(Clone, Debug)]
pub(super) struct Places<I> {
    places: Vec<u32>,
    items: PhantomData<fn(I)>,
}

impl<I> Default for Places<I> {
    fn default() -> Self {
        Self {
            places: Vec::new(),
            items: PhantomData,
        }
    }
}

impl<I: Key> Places<I> {
    fn get(&self, item: I) -> Option<usize> {
        match self.places.get(item.index()) {
            None | Some(&NOWHERE) => None,
            Some(&place) => Some(place as usize),
        }
    }

    fn set(&mut self, item: I, place: usize) {
        self.places[item.index()] = place as u32;
    }

    fn ensure(&mut self, item: I) {
        if self.places.len() <= item.index() {
            self.places.resize(item.index() + 1, NOWHERE);
        }
    }
}

/// Items, which an arena numbers, by something that changes, the least first.
#[derive(Clone, Debug)]
pub(super) struct Heap<K, I> {
    items: Vec<(K, I)>,
}

impl<K, I> Default for Heap<K, I> {
    fn default() -> Self {
        Self { items: Vec::new() }
    }
}

impl<K: Ord + Copy, I: Key + Ord> Heap<K, I> {
    /// The least key, with its item.
    pub(super) fn first(&self) -> Option<(K, I)> {
        self.items.first().copied()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// The key of `item`, if it is in this heap.
    pub(super) fn key(&self, places: &Places<I>, item: I) -> Option<K> {
        let (key, found) = *self.items.get(places.get(item)?)?;
        (found == item).then_some(key)
    }

    /// Puts `item` in, or gives it another key if it is in already.
    pub(super) fn put(&mut self, places: &mut Places<I>, item: I, key: K) {
        if let Some(place) = places.get(item) {
            let before = self.items[place].0;
            if key == before {
                return;
            }
            self.items[place].0 = key;
            // One alone, as where a client's tasks are all of a kind, is where it belongs.
            if self.items.len() > 1 {
                if key < before {
                    self.rise(places, place);
                } else {
                    self.sink(places, place);
                }
            }
        } else {
            places.ensure(item);
            self.items.push((key, item));
            self.rise(places, self.items.len() - 1);
        }
    }

    /// Takes `item` out, if it is in.
    pub(super) fn remove(&mut self, places: &mut Places<I>, item: I) {
        let Some(place) = places.get(item) else {
            return;
        };
        places.set(item, NOWHERE as usize);
        let last = self.items.len() - 1;
        self.items.swap_remove(place);
        if place < last {
            // What filled the gap came from the end; it may belong on either side of here.
            let moved = self.items[place].1;
            self.rise(places, place);
            if self.items[place].1 == moved {
                self.sink(places, place);
            }
        }
    }

    fn rise(&mut self, places: &mut Places<I>, mut place: usize) {
        let rising = self.items[place];
        while place > 0 {
            let parent = (place - 1) / CHILDREN;
            if self.items[parent] <= rising {
                break;
            }
            self.items[place] = self.items[parent];
            places.set(self.items[place].1, place);
            place = parent;
        }
        self.items[place] = rising;
        places.set(rising.1, place);
    }

    fn sink(&mut self, places: &mut Places<I>, mut place: usize) {
        let sinking = self.items[place];
        loop {
            let first = place * CHILDREN + 1;
            let end = (first + CHILDREN).min(self.items.len());
            let Some(least) = (first..end).min_by_key(|&child| self.items[child]) else {
                break;
            };
            if sinking <= self.items[least] {
                break;
            }
            self.items[place] = self.items[least];
            places.set(self.items[place].1, place);
            place = least;
        }
        self.items[place] = sinking;
        places.set(sinking.1, place);
    }

    /// Asserts that the order holds and that every item is where `places` says.
    pub(super) fn check_invariants(&self, places: &Places<I>) {
        for (place, item) in self.items.iter().enumerate() {
            assert_eq!(places.get(item.1), Some(place), "place of {:?}", item.1);
            if place > 0 {
                assert!(self.items[(place - 1) / CHILDREN] < *item, "heap order");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;
    use crate::arena::arena_key;

    arena_key!(
        /// What is in the heap.
        struct Item(u32)
    );

    proptest! {
        #[test]
        fn agrees_with_a_sorted_set(steps in prop::collection::vec((0u32..40, 0u8..10, any::<bool>()), 0..300)) {
            let mut heap = Heap::default();
            let mut places = Places::default();
            let mut model = BTreeSet::new();
            for (item, key, put) in steps {
                let item = Item(item);
                model.retain(|&(_, other)| other != item);
                if put {
                    heap.put(&mut places, item, key);
                    model.insert((key, item));
                } else {
                    heap.remove(&mut places, item);
                }
                heap.check_invariants(&places);
                prop_assert_eq!(heap.first(), model.first().copied());
                prop_assert_eq!(heap.len(), model.len());
            }
            let mut drained = Vec::new();
            while let Some((key, item)) = heap.first() {
                heap.remove(&mut places, item);
                drained.push((key, item));
            }
            prop_assert_eq!(drained, model.into_iter().collect::<Vec<_>>());
        }
    }
}
