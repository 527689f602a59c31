//! Values under small keys that are used again, each kind of key its own type.
//!
//! Owns: [`Arena`], which hands out the keys, and [`SecondaryMap`], which has a value for each key
//! of somebody else's arena. Never: takes a bare number, or the key of another arena. Invariants: a
//! key is given to nobody else until its value is removed, and then to the next who asks.

use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;
use core::ops::{Index, IndexMut};

use slab::Slab;

/// A small number of a type of its own. Made by the macro `arena_key`.
pub trait Key: Copy + Eq + fmt::Debug {
    /// The key with this number. Arenas that hold more than a key can tell apart do not exist: all
    /// have bounds far below.
    fn from_index(index: usize) -> Self;
    /// The number of this key.
    fn index(self) -> usize;
}

/// Defines the type of an arena's keys.
macro_rules! arena_key {
    ($(#[$doc:meta])* $visible:vis struct $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $visible struct $name(pub $inner);

        impl $crate::arena::Key for $name {
            fn from_index(index: usize) -> Self {
                debug_assert!(index <= <$inner>::MAX as usize, "{index} is no key");
                Self(index as $inner)
            }

            fn index(self) -> usize {
                self.0 as usize
            }
        }

        // Some arenas link their values, and need a key that no value has.
        #[allow(dead_code)]
        impl $name {
            /// The key that no value has: an arena is bounded long before.
            $visible const NONE: Self = Self(<$inner>::MAX);
        }
    };
}
pub(crate) use arena_key;

/// Values, and the keys under which they are.
#[derive(Clone)]
pub struct Arena<K, V> {
    values: Slab<V>,
    keys: PhantomData<fn(K) -> K>,
}

impl<K, V> Default for Arena<K, V> {
    fn default() -> Self {
        Self {
            values: Slab::new(),
            keys: PhantomData,
        }
    }
}

impl<K: Key, V: fmt::Debug> fmt::Debug for Arena<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<K: Key, V> Arena<K, V> {
    /// How many values there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Adds a value; its key may have been another's before.
    pub fn insert(&mut self, value: V) -> K {
        K::from_index(self.values.insert(value))
    }

    /// The key that the next value gets.
    #[must_use]
    pub fn next_key(&self) -> K {
        K::from_index(self.values.vacant_key())
    }

    /// Takes a value out. Its key is then free for another.
    ///
    /// # Panics
    /// If nothing is under this key, as for an index.
    pub fn remove(&mut self, key: K) -> V {
        self.values.remove(key.index())
    }

    /// Whether something is under this key.
    #[must_use]
    pub fn contains(&self, key: K) -> bool {
        self.values.contains(key.index())
    }

    /// What is under this key.
    #[must_use]
    pub fn get(&self, key: K) -> Option<&V> {
        self.values.get(key.index())
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, key: K) -> Option<&mut V> {
        self.values.get_mut(key.index())
    }

    /// All values, in order of their keys.
    pub fn iter(&self) -> Iter<'_, K, V> {
        Iter {
            values: self.values.iter(),
            keys: PhantomData,
        }
    }
}

/// The values of an arena, in order of their keys.
#[derive(Clone, Debug)]
pub struct Iter<'a, K, V> {
    values: slab::Iter<'a, V>,
    keys: PhantomData<fn() -> K>,
}

impl<'a, K: Key, V> Iterator for Iter<'a, K, V> {
    type Item = (K, &'a V);

    fn next(&mut self) -> Option<(K, &'a V)> {
        let (index, value) = self.values.next()?;
        Some((K::from_index(index), value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.values.size_hint()
    }
}

impl<K: Key, V> DoubleEndedIterator for Iter<'_, K, V> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let (index, value) = self.values.next_back()?;
        Some((K::from_index(index), value))
    }
}

impl<K: Key, V> ExactSizeIterator for Iter<'_, K, V> {}

impl<'a, K: Key, V> IntoIterator for &'a Arena<K, V> {
    type Item = (K, &'a V);
    type IntoIter = Iter<'a, K, V>;

    fn into_iter(self) -> Iter<'a, K, V> {
        self.iter()
    }
}

impl<K: Key, V> Index<K> for Arena<K, V> {
    type Output = V;

    fn index(&self, key: K) -> &V {
        &self.values[key.index()]
    }
}

impl<K: Key, V> IndexMut<K> for Arena<K, V> {
    fn index_mut(&mut self, key: K) -> &mut V {
        &mut self.values[key.index()]
    }
}

/// A value for each key of somebody else's arena, up to the highest that was set. The others are
/// as their type is by default.
#[derive(Clone)]
pub struct SecondaryMap<K, V> {
    values: Vec<V>,
    keys: PhantomData<fn(K) -> K>,
}

impl<K, V> Default for SecondaryMap<K, V> {
    fn default() -> Self {
        Self {
            values: Vec::new(),
            keys: PhantomData,
        }
    }
}

impl<K: Key, V: fmt::Debug> fmt::Debug for SecondaryMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<K: Key, V> SecondaryMap<K, V> {
    /// How many keys have been reached so far.
    #[must_use]
    pub fn reached(&self) -> usize {
        self.values.len()
    }

    /// Adds the value of the next key.
    pub fn push(&mut self, value: V) -> K {
        self.values.push(value);
        K::from_index(self.values.len() - 1)
    }

    /// The value of this key, if it has been reached.
    #[must_use]
    pub fn get(&self, key: K) -> Option<&V> {
        self.values.get(key.index())
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, key: K) -> Option<&mut V> {
        self.values.get_mut(key.index())
    }

    /// All values up to the highest key that was reached.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (K, &V)> {
        let values = self.values.iter().enumerate();
        values.map(|(index, value)| (K::from_index(index), value))
    }

    /// All values, to be changed.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.values.iter_mut()
    }

    /// All values up to the highest key that was reached.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &V> {
        self.values.iter()
    }
}

impl<K: Key, V: Default> SecondaryMap<K, V> {
    /// The value of this key, to be changed; it and all below it are reached.
    pub fn reach(&mut self, key: K) -> &mut V {
        let index = key.index();
        if self.values.len() <= index {
            self.values.resize_with(index + 1, V::default);
        }
        &mut self.values[index]
    }
}

impl<K, V> FromIterator<V> for SecondaryMap<K, V> {
    /// Of the lowest keys, as many as there are values.
    fn from_iter<I: IntoIterator<Item = V>>(values: I) -> Self {
        Self {
            values: values.into_iter().collect(),
            keys: PhantomData,
        }
    }
}

impl<K: Key, V> Index<K> for SecondaryMap<K, V> {
    type Output = V;

    fn index(&self, key: K) -> &V {
        &self.values[key.index()]
    }
}

impl<K: Key, V> IndexMut<K> for SecondaryMap<K, V> {
    fn index_mut(&mut self, key: K) -> &mut V {
        &mut self.values[key.index()]
    }
}

#[cfg(test)]
mod tests {
    use std::string::String;
    use std::vec::Vec;

    use super::*;

    arena_key!(
        /// Of a test.
        struct Place(u32)
    );

    #[test]
    fn a_key_is_free_again_when_its_value_is_gone() {
        let mut arena: Arena<Place, &str> = Arena::default();
        let [a, b] = ["a", "b"].map(|value| arena.insert(value));
        assert_eq!((arena.len(), arena[a], arena.get(b)), (2, "a", Some(&"b")));
        assert_eq!(arena.remove(a), "a");
        assert!(!arena.contains(a) && arena.get_mut(a).is_none());
        assert_eq!(arena.next_key(), a);
        assert_eq!(arena.insert("c"), a);
        arena[a] = "d";
        let all: Vec<_> = arena.iter().collect();
        assert_eq!(all, [(a, &"d"), (b, &"b")]);
        assert_eq!(arena.get(Place::NONE), None);
    }

    #[test]
    fn a_secondary_map_reaches_as_far_as_it_was_asked() {
        let mut map: SecondaryMap<Place, String> = SecondaryMap::default();
        assert_eq!(map.get(Place(0)), None);
        map.reach(Place(2)).push('x');
        map[Place(0)].push('y');
        let all: Vec<_> = map.values().map(String::as_str).collect();
        assert_eq!(all, ["y", "", "x"]);
        assert_eq!(map.push(String::new()), Place(3));
        map.values_mut().for_each(String::clear);
        assert_eq!((map.reached(), map.get(Place(4))), (4, None));
    }
}
