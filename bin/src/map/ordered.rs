//! Puts what ends in any order back into the order in which it began.

use std::collections::VecDeque;

/// Holds what has ended until all before it has been taken.
#[derive(Debug)]
pub(crate) struct Ordered<T> {
    /// The number of the first that has not been taken.
    head: u64,
    /// From the head on; `None` has not ended.
    places: VecDeque<Option<T>>,
    /// What is held, by `weight`.
    weight: usize,
}

impl<T> Default for Ordered<T> {
    fn default() -> Self {
        Self {
            head: 0,
            places: VecDeque::new(),
            weight: 0,
        }
    }
}

/// What a thing that is held costs, in bytes.
pub(crate) trait Weigh {
    /// Bytes, about.
    fn weight(&self) -> usize;
}

impl<T: Weigh> Ordered<T> {
    /// Makes a place for the next in order and gives its number.
    pub(crate) fn begin(&mut self) -> u64 {
        self.places.push_back(None);
        self.head + self.places.len() as u64 - 1
    }

    /// Takes in the end of the one that was given `number`. Each ends once.
    pub(crate) fn end(&mut self, number: u64, value: T) {
        let place = number
            .checked_sub(self.head)
            .and_then(|index| usize::try_from(index).ok())
            .and_then(|index| self.places.get_mut(index));
        debug_assert!(
            matches!(place, Some(None)),
            "{number} never began or ended twice"
        );
        if let Some(place @ None) = place {
            self.weight += value.weight();
            *place = Some(value);
        }
    }

    /// The first, if it has ended.
    pub(crate) fn take(&mut self) -> Option<T> {
        let value = self.places.front_mut()?.take()?;
        self.places.pop_front();
        self.head += 1;
        self.weight -= value.weight();
        Some(value)
    }

    /// Takes what has ended although others before it have not.
    pub(crate) fn take_any(&mut self) -> Option<T> {
        while let Some(place) = self.places.pop_front() {
            self.head += 1;
            if let Some(value) = place {
                self.weight -= value.weight();
                return Some(value);
            }
        }
        None
    }

    /// How many have begun and not been taken.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Bytes held, about.
    pub(crate) fn weight(&self) -> usize {
        self.weight
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl Weigh for u64 {
        fn weight(&self) -> usize {
            usize::try_from(*self).unwrap()
        }
    }

    proptest! {
        #[test]
        fn any_order_of_ends_gives_the_order_of_begins(
            ends in Just((0..20u64).collect::<Vec<_>>()).prop_shuffle(),
        ) {
            let mut ordered = Ordered::default();
            let numbers: Vec<u64> = (0..20).map(|_| ordered.begin()).collect();
            prop_assert_eq!(&numbers, &(0..20).collect::<Vec<_>>());
            let mut taken = Vec::new();
            for (count, number) in ends.iter().enumerate() {
                ordered.end(*number, *number);
                while let Some(value) = ordered.take() {
                    taken.push(value);
                }
                // As soon as it can be: everything below the first that has not ended.
                let first = (0..20).find(|number| !ends[..=count].contains(number));
                prop_assert_eq!(taken.len() as u64, first.unwrap_or(20));
            }
            prop_assert_eq!(taken, numbers);
            prop_assert_eq!((ordered.len(), ordered.weight()), (0, 0));
        }
    }

    #[test]
    fn the_rest_can_be_taken_past_gaps() {
        let mut ordered = Ordered::default();
        for _ in 0..4 {
            ordered.begin();
        }
        ordered.end(1, 1);
        ordered.end(3, 3);
        assert_eq!(ordered.weight(), 4);
        assert_eq!(ordered.take(), None);
        assert_eq!(
            [ordered.take_any(), ordered.take_any(), ordered.take_any()],
            [Some(1), Some(3), None]
        );
    }
}
