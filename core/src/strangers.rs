//! Who may try to show a key, while many try at once or in vain.
//!
//! A handshake costs a manager a fifth of a millisecond, whatever comes of it. So only so many strangers
//! are waited for at a time, of one address no more than half of them; and where handshakes fail, only so
//! many in a second are begun: what is beyond is closed at once.
//!
//! Where there is no room, whoever is new is let in all the same, and displaces another: the oldest of the
//! address that has most. A peer with a key needs its place for milliseconds; a flood displaces itself. Who
//! shares an address with one is displaced when half of the room has come after it from there, or an equal
//! share of the room where many addresses flood; who is alone at its address, only when every place is taken
//! by another address.
//!
//! Owns: who is waited for, and counts, by address. Never: sees a byte. Invariants: no more are waited for
//! than there are places; no more addresses are remembered than a constant, and with all of these taken
//! those that are new are counted as one; each step takes a time that grows with the logarithm of the
//! places. An IPv6 address counts as its network of 64 bits, which one host can have to itself.

use alloc::collections::{BTreeMap, BTreeSet};
use core::cmp::Reverse;
use core::net::{IpAddr, Ipv6Addr};
use core::time::Duration;

use crate::limits::{
    FAILURES_MAX, FAILURES_PER_ADDRESS, STRANGER_ADDRESSES, STRANGER_LINE_EVERY, STRANGERS_MAX,
    STRANGERS_PER_ADDRESS,
};
use crate::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

/// Where a stranger is counted; `None` is for those for which there is no place of their own.
type Place = Option<IpAddr>;

/// See the [module](self).
#[derive(Clone, Debug, Default)]
pub struct Strangers {
    last: StrangerId,
    waited_for: usize,
    failures: Failures,
    by_address: BTreeMap<Place, Crowd>,
    /// Addresses with somebody that is waited for, in the order in which these are displaced, last first:
    /// by how many they are, and by who is the oldest.
    by_size: BTreeSet<(usize, Reverse<StrangerId>, Place)>,
    /// When places were last looked through for some that are free: that takes a while.
    swept: Option<Instant>,
}

/// A connection whose peer has yet to show a key. Who comes later has a larger one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct StrangerId(u64);

/// The right of one connection to show a key; to be given back.
#[derive(Debug)]
#[must_use = "it has to be given back"]
pub struct Ticket {
    id: StrangerId,
    place: Place,
}

impl Ticket {
    /// Whose it is.
    #[must_use]
    pub fn id(&self) -> StrangerId {
        self.id
    }
}

/// What comes of a connection that is let in.
#[derive(Debug)]
pub struct Entry {
    /// Its right to show a key.
    pub ticket: Ticket,
    /// Whom it displaces: to be closed. Its own ticket is to be given back all the same.
    pub displaced: Option<StrangerId>,
}

/// Handshakes that came to nothing, within a second.
#[derive(Clone, Copy, Debug, Default)]
struct Failures {
    /// When that second began.
    since: Instant,
    count: u32,
}

impl Failures {
    fn count(&self, now: Instant) -> u32 {
        if now.since(self.since) < SECOND {
            self.count
        } else {
            0
        }
    }

    fn add(&mut self, now: Instant) {
        if now.since(self.since) >= SECOND {
            self.since = now;
            self.count = 0;
        }
        self.count = self.count.saturating_add(1);
    }
}

/// Peers of one address that have yet to show a key.
#[derive(Clone, Debug, Default)]
struct Crowd {
    waited_for: BTreeSet<StrangerId>,
    failures: Failures,
    /// When it last was worth a line in the log.
    told: Option<Instant>,
}

impl Crowd {
    /// Whether nothing of it matters any more.
    fn is_over(&self, now: Instant) -> bool {
        self.waited_for.is_empty()
            && self.failures.count(now) == 0
            && self
                .told
                .is_none_or(|told| now.since(told) >= STRANGER_LINE_EVERY)
    }

    /// Where it stands among others; `None` if nobody of it is waited for.
    fn rank(&self, place: Place) -> Option<(usize, Reverse<StrangerId>, Place)> {
        let oldest = *self.waited_for.first()?;
        Some((self.waited_for.len(), Reverse(oldest), place))
    }
}

impl Strangers {
    /// A connection has come from an address. `None` if it is to be closed at once.
    pub fn enter(&mut self, now: Instant, from: Option<IpAddr>) -> Option<Entry> {
        if self.failures.count(now) >= FAILURES_MAX {
            return None;
        }
        let place = self.place(now, from.map(network));
        let crowd = self.by_address.entry(place).or_default();
        if crowd.failures.count(now) >= FAILURES_PER_ADDRESS {
            return None;
        }
        let displaced = if crowd.waited_for.len() >= STRANGERS_PER_ADDRESS {
            self.displace(place)
        } else if self.waited_for >= STRANGERS_MAX {
            let largest = self.by_size.last().map(|(_, _, place)| *place);
            largest.and_then(|place| self.displace(place))
        } else {
            None
        };
        self.last.0 += 1;
        let id = self.last;
        self.change(place, |crowd| crowd.waited_for.insert(id));
        self.waited_for += 1;
        let ticket = Ticket { id, place };
        Some(Entry { ticket, displaced })
    }

    /// One that was let in has shown a key, or has not, or was displaced. `failed` says whether a
    /// handshake was begun in vain.
    pub fn leave(&mut self, now: Instant, ticket: Ticket, failed: bool) {
        let Ticket { id, place } = ticket;
        self.forget(id, place);
        let mut place = place;
        if failed {
            // Who was displaced may have left no trace.
            place = self.place(now, place);
            self.failures.add(now);
            self.by_address.entry(place).or_default().failures.add(now);
        }
        let is_over = |crowd: &Crowd| crowd.is_over(now);
        if self.by_address.get(&place).is_some_and(is_over) {
            self.by_address.remove(&place);
        }
    }

    /// Whether that something failed with this address is worth a line in the log: once in a while.
    pub fn is_worth_a_line(&mut self, now: Instant, from: Option<IpAddr>) -> bool {
        let place = self.place(now, from.map(network));
        let crowd = self.by_address.entry(place).or_default();
        let told = crowd.told;
        let is_due = told.is_none_or(|told| now.since(told) >= STRANGER_LINE_EVERY);
        if is_due {
            crowd.told = Some(now);
        }
        is_due
    }

    /// How many have yet to show a key.
    #[must_use]
    pub fn waited_for(&self) -> usize {
        self.waited_for
    }

    /// Addresses that are remembered.
    #[must_use]
    pub fn addresses(&self) -> usize {
        self.by_address.len()
    }

    /// Waits no longer for the oldest of an address.
    fn displace(&mut self, place: Place) -> Option<StrangerId> {
        let oldest = *self.by_address.get(&place)?.waited_for.first()?;
        self.forget(oldest, place);
        Some(oldest)
    }

    fn forget(&mut self, id: StrangerId, place: Place) {
        if self.change(place, |crowd| crowd.waited_for.remove(&id)) {
            self.waited_for -= 1;
        }
    }

    /// Changes who is waited for at an address, and with it where that stands among others.
    fn change(&mut self, place: Place, change: impl FnOnce(&mut Crowd) -> bool) -> bool {
        let Some(crowd) = self.by_address.get_mut(&place) else {
            return false;
        };
        if let Some(rank) = crowd.rank(place) {
            self.by_size.remove(&rank);
        }
        let changed = change(crowd);
        self.by_size.extend(crowd.rank(place));
        changed
    }

    /// Where an address is counted.
    fn place(&mut self, now: Instant, place: Place) -> Place {
        if self.by_address.len() < STRANGER_ADDRESSES || self.by_address.contains_key(&place) {
            return place;
        }
        if self.swept.is_none_or(|swept| now.since(swept) >= SECOND) {
            self.swept = Some(now);
            self.by_address.retain(|_, crowd| !crowd.is_over(now));
        }
        place.filter(|_| self.by_address.len() < STRANGER_ADDRESSES)
    }
}

/// What counts as one address.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use core::net::Ipv4Addr;

    use proptest::collection::vec;
    use proptest::prelude::*;

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(1_000_000_000 + millis * 1_000_000)
    }

    fn host(number: u32) -> Option<IpAddr> {
        Some(Ipv4Addr::from_bits(number).into())
    }

    /// Lets one in; all of these tests may expect that.
    fn enter(strangers: &mut Strangers, host: Option<IpAddr>) -> Entry {
        strangers.enter(at(0), host).expect("it is let in")
    }

    #[test]
    fn one_address_never_takes_all_the_room_and_displaces_its_oldest() {
        let mut strangers = Strangers::default();
        let first: Vec<Entry> = (0..STRANGERS_PER_ADDRESS)
            .map(|_| enter(&mut strangers, host(1)))
            .collect();
        assert!(first.iter().all(|entry| entry.displaced.is_none()));
        for older in &first {
            let newer = enter(&mut strangers, host(1));
            assert_eq!(newer.displaced, Some(older.ticket.id()));
            assert_eq!(strangers.waited_for(), STRANGERS_PER_ADDRESS);
        }
        assert_eq!(enter(&mut strangers, host(2)).displaced, None);
    }

    #[test]
    fn there_is_a_bound_for_all_together_and_the_oldest_goes_among_equals() {
        let mut strangers = Strangers::default();
        // Neither the highest address nor the lowest is always the one to go.
        let hosts = (0..STRANGERS_MAX as u32).map(|number| host(number ^ 0x2aa));
        let first: Vec<Entry> = hosts.map(|host| enter(&mut strangers, host)).collect();
        for (older, number) in first.iter().zip(10_000..) {
            let newer = enter(&mut strangers, host(number));
            assert_eq!(newer.displaced, Some(older.ticket.id()));
            assert_eq!(strangers.waited_for(), STRANGERS_MAX);
        }
    }

    #[test]
    fn who_is_alone_at_its_address_outlasts_a_flood_from_all_but_as_many_as_there_are_places() {
        let mut strangers = Strangers::default();
        let alone = enter(&mut strangers, host(0)).ticket;
        let others = STRANGERS_MAX as u32 - 1;
        for number in 0..10 * others {
            let entry = enter(&mut strangers, host(1 + number % (others - 1)));
            assert_ne!(entry.displaced, Some(alone.id()));
        }
        let displaced = (0..2 * others).map(|number| enter(&mut strangers, host(5_000 + number)));
        assert!({ displaced }.any(|entry| entry.displaced == Some(alone.id())));
    }

    #[test]
    fn who_shares_its_address_with_a_flood_goes_when_half_of_the_room_came_after_it() {
        let mut strangers = Strangers::default();
        for _ in 0..2 * STRANGERS_PER_ADDRESS {
            let _ = enter(&mut strangers, host(1));
        }
        let honest = enter(&mut strangers, host(1)).ticket;
        for _ in 1..STRANGERS_PER_ADDRESS {
            let entry = enter(&mut strangers, host(1));
            assert_ne!(entry.displaced, Some(honest.id()));
        }
        let entry = enter(&mut strangers, host(1));
        assert_eq!(entry.displaced, Some(honest.id()));
    }

    #[test]
    fn who_was_displaced_from_a_handshake_counts_as_failed() {
        let mut strangers = Strangers::default();
        let mut displaced = Vec::new();
        for number in 0..STRANGERS_MAX as u32 + FAILURES_PER_ADDRESS {
            displaced.push(enter(&mut strangers, host(number)).ticket);
        }
        assert_eq!(strangers.waited_for(), STRANGERS_MAX);
        for ticket in displaced.drain(..FAILURES_PER_ADDRESS as usize) {
            strangers.leave(at(0), ticket, true);
        }
        assert_eq!(
            strangers.waited_for(),
            STRANGERS_MAX,
            "none is counted twice"
        );
        assert_eq!(strangers.failures.count(at(0)), FAILURES_PER_ADDRESS);
        assert_eq!(strangers.by_address[&host(0)].failures.count(at(0)), 1);
    }

    /// All that are waited for, looked through each time.
    #[derive(Default)]
    struct Model(Vec<(Ticket, usize)>);

    impl Model {
        const HOSTS: usize = 6;

        fn whom_to_displace(&self, newcomer: usize) -> Option<StrangerId> {
            let mut sizes = [0; Self::HOSTS];
            for (_, host) in &self.0 {
                sizes[*host] += 1;
            }
            let is_candidate = |host: usize| {
                if sizes[newcomer] == STRANGERS_PER_ADDRESS {
                    host == newcomer
                } else {
                    self.0.len() == STRANGERS_MAX && Some(&sizes[host]) == sizes.iter().max()
                }
            };
            let candidates = self.0.iter().filter(|(_, host)| is_candidate(*host));
            candidates.map(|(ticket, _)| ticket.id()).min()
        }

        fn take(&mut self, id: StrangerId) -> Ticket {
            let index = self.0.iter().position(|(ticket, _)| ticket.id() == id);
            self.0.remove(index.expect("it is waited for")).0
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn crowds_of_all_sizes_are_bounded_and_the_right_one_is_displaced(
            steps in vec((0..Model::HOSTS, 1..400_usize, 0..3_u8, any::<usize>()), 1..16)
        ) {
            let mut strangers = Strangers::default();
            let mut model = Model::default();
            for (number, times, kind, which) in steps {
                for _ in 0..times {
                    if kind == 0 && !model.0.is_empty() {
                        let (ticket, _) = model.0.remove(which % model.0.len());
                        strangers.leave(at(0), ticket, false);
                    } else if kind > 0 {
                        let expected = model.whom_to_displace(number);
                        let entry = enter(&mut strangers, host(number as u32));
                        prop_assert_eq!(entry.displaced, expected);
                        if let Some(displaced) = expected {
                            strangers.leave(at(0), model.take(displaced), false);
                        }
                        model.0.push((entry.ticket, number));
                    }
                }
                prop_assert_eq!(strangers.waited_for(), model.0.len());
                prop_assert!(strangers.waited_for() <= STRANGERS_MAX);
                prop_assert!(strangers.by_size.last().is_none_or(|most| most.0 <= STRANGERS_PER_ADDRESS));
            }
            for (ticket, _) in model.0 {
                strangers.leave(at(0), ticket, false);
            }
            prop_assert_eq!((strangers.waited_for(), strangers.addresses()), (0, 0));
            prop_assert!(strangers.by_size.is_empty());
        }
    }

    #[test]
    fn whoever_fails_often_waits_for_the_next_second() {
        let mut strangers = Strangers::default();
        let mut begun = 0;
        while let Some(entry) = strangers.enter(at(0), host(1)) {
            begun += 1;
            strangers.leave(at(0), entry.ticket, true);
        }
        assert_eq!(begun, FAILURES_PER_ADDRESS);
        assert!(strangers.enter(at(999), host(1)).is_none());
        // Neighbours are not to suffer for it, and a second later it may try again.
        assert!(strangers.enter(at(999), host(2)).is_some());
        assert!(strangers.enter(at(1_000), host(1)).is_some());
    }

    #[test]
    fn failures_of_all_addresses_together_are_bounded_too() {
        let mut strangers = Strangers::default();
        let mut begun = 0;
        for number in 0..2 * FAILURES_MAX {
            if let Some(entry) = strangers.enter(at(0), host(number)) {
                begun += 1;
                strangers.leave(at(0), entry.ticket, true);
            }
        }
        assert_eq!(begun, FAILURES_MAX);
    }

    #[test]
    fn those_who_have_a_key_leave_no_trace() {
        let mut strangers = Strangers::default();
        for number in 0..100 {
            let ticket = enter(&mut strangers, host(number)).ticket;
            strangers.leave(at(0), ticket, false);
        }
        assert_eq!((strangers.waited_for(), strangers.addresses()), (0, 0));
    }

    #[test]
    fn an_address_is_worth_a_line_once_in_a_while() {
        let mut strangers = Strangers::default();
        assert!(strangers.is_worth_a_line(at(0), host(1)));
        assert!(!strangers.is_worth_a_line(at(59_999), host(1)));
        assert!(strangers.is_worth_a_line(at(59_999), host(2)));
        assert!(strangers.is_worth_a_line(at(60_000), host(1)));
    }

    #[test]
    fn the_addresses_of_a_large_network_are_one() {
        let mut strangers = Strangers::default();
        let address = |low: u128| Some(Ipv6Addr::from_bits(0x2001_0db8 << 96 | low).into());
        for low in 0..STRANGERS_MAX as u128 {
            let _ = enter(&mut strangers, address(low));
        }
        assert_eq!(strangers.waited_for(), STRANGERS_PER_ADDRESS);
    }

    #[test]
    fn memory_of_addresses_is_bounded_and_counts_stay_true() {
        let mut strangers = Strangers::default();
        let many = 2 * STRANGER_ADDRESSES as u32;
        for number in 0..many {
            assert!(strangers.addresses() <= STRANGER_ADDRESSES + 1);
            strangers.is_worth_a_line(at(0), host(number));
        }
        let ticket = enter(&mut strangers, host(many)).ticket;
        assert_eq!(ticket.place, None, "it has no place of its own");
        // A minute later the places are free again, and the count of the crowd without one is right.
        assert!(strangers.is_worth_a_line(at(60_001), host(many)));
        strangers.leave(at(60_001), ticket, false);
        assert_eq!((strangers.waited_for(), strangers.addresses()), (0, 1));
    }
}
