//! Who may try to show a key, while many try at once or in vain.
//!
//! A handshake costs a manager a fifth of a millisecond, whatever comes of it. So only so many are under
//! way at a time, of one address no more than half of them; and where handshakes fail, only so many in a
//! second are begun. What is beyond is closed at once. A peer with a key that meets such a crowd is
//! closed like the others; it comes again by itself, and gets in, for there is always some room.
//!
//! Owns: the counts, by address. Never: sees a byte. Invariants: as many are under way as were let in
//! and have not ended; no more addresses are remembered than a constant, and with all of these taken
//! those that are new are counted as one. An IPv6 address counts as its network of 64 bits, which one
//! host can have to itself.

use alloc::collections::BTreeMap;
use core::net::{IpAddr, Ipv6Addr};
use core::time::Duration;

use crate::limits::{
    FAILURES_MAX, FAILURES_PER_ADDRESS, STRANGER_ADDRESSES, STRANGER_LINE_EVERY, STRANGERS_MAX,
    STRANGERS_PER_ADDRESS,
};
use crate::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

/// See the [module](self).
#[derive(Clone, Debug, Default)]
pub struct Strangers {
    all: Crowd,
    /// `None` counts those for which there is no place of their own.
    by_address: BTreeMap<Option<IpAddr>, Crowd>,
    /// When places were last looked through for some that are free: that takes a while.
    swept: Option<Instant>,
}

/// The right of one connection to show a key; to be given back.
#[derive(Debug)]
#[must_use = "it has to be given back"]
pub struct Ticket(Option<IpAddr>);

/// Peers that have yet to show a key, of one address or of all.
#[derive(Clone, Copy, Debug, Default)]
struct Crowd {
    under_way: usize,
    /// When the second began in which failures are counted.
    since: Instant,
    failures: u32,
    /// When it last was worth a line in the log.
    told: Option<Instant>,
}

impl Crowd {
    fn failures(&self, now: Instant) -> u32 {
        if now.since(self.since) < SECOND {
            self.failures
        } else {
            0
        }
    }

    fn fail(&mut self, now: Instant) {
        if now.since(self.since) >= SECOND {
            self.since = now;
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
    }

    /// Whether nothing of it matters any more.
    fn is_over(&self, now: Instant) -> bool {
        self.under_way == 0
            && self.failures(now) == 0
            && self
                .told
                .is_none_or(|told| now.since(told) >= STRANGER_LINE_EVERY)
    }
}

impl Strangers {
    /// A connection has come from an address. `None` if it is to be closed at once.
    pub fn enter(&mut self, now: Instant, from: Option<IpAddr>) -> Option<Ticket> {
        if self.all.under_way >= STRANGERS_MAX || self.all.failures(now) >= FAILURES_MAX {
            return None;
        }
        let place = self.place(now, from);
        let crowd = self.by_address.entry(place).or_default();
        if crowd.under_way >= STRANGERS_PER_ADDRESS || crowd.failures(now) >= FAILURES_PER_ADDRESS {
            return None;
        }
        crowd.under_way += 1;
        self.all.under_way += 1;
        Some(Ticket(place))
    }

    /// One that was let in has shown a key, or has not. `failed` says whether a handshake was
    /// begun in vain.
    pub fn leave(&mut self, now: Instant, ticket: Ticket, failed: bool) {
        self.all.under_way = self.all.under_way.saturating_sub(1);
        if failed {
            self.all.fail(now);
        }
        let Some(crowd) = self.by_address.get_mut(&ticket.0) else {
            return;
        };
        crowd.under_way = crowd.under_way.saturating_sub(1);
        if failed {
            crowd.fail(now);
        }
        if crowd.is_over(now) {
            self.by_address.remove(&ticket.0);
        }
    }

    /// Whether that something failed with this address is worth a line in the log: once in a while.
    pub fn is_worth_a_line(&mut self, now: Instant, from: Option<IpAddr>) -> bool {
        let place = self.place(now, from);
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
    pub fn under_way(&self) -> usize {
        self.all.under_way
    }

    /// Addresses that are remembered.
    #[must_use]
    pub fn addresses(&self) -> usize {
        self.by_address.len()
    }

    /// Where an address is counted.
    fn place(&mut self, now: Instant, from: Option<IpAddr>) -> Option<IpAddr> {
        let place = from.map(network);
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

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(1_000_000_000 + millis * 1_000_000)
    }

    fn host(number: u32) -> Option<IpAddr> {
        Some(Ipv4Addr::from_bits(number).into())
    }

    #[test]
    fn one_address_never_takes_all_the_room() {
        let mut strangers = Strangers::default();
        let entered = (0..).map_while(|_| strangers.enter(at(0), host(1)));
        let tickets: Vec<Ticket> = entered.collect();
        assert_eq!(tickets.len(), STRANGERS_PER_ADDRESS);
        assert!(strangers.enter(at(0), host(2)).is_some());
        for ticket in tickets {
            strangers.leave(at(1), ticket, false);
        }
        assert!(strangers.enter(at(1), host(1)).is_some());
    }

    #[test]
    fn there_is_a_bound_for_all_together() {
        let mut strangers = Strangers::default();
        let entered = (0..).map_while(|number| strangers.enter(at(0), host(number)));
        let tickets: Vec<Ticket> = entered.collect();
        assert_eq!(tickets.len(), STRANGERS_MAX);
        assert_eq!(strangers.under_way(), STRANGERS_MAX);
    }

    #[test]
    fn whoever_fails_often_waits_for_the_next_second() {
        let mut strangers = Strangers::default();
        let mut begun = 0;
        while let Some(ticket) = strangers.enter(at(0), host(1)) {
            begun += 1;
            strangers.leave(at(0), ticket, true);
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
            if let Some(ticket) = strangers.enter(at(0), host(number)) {
                begun += 1;
                strangers.leave(at(0), ticket, true);
            }
        }
        assert_eq!(begun, FAILURES_MAX);
    }

    #[test]
    fn those_who_have_a_key_leave_no_trace() {
        let mut strangers = Strangers::default();
        for number in 0..100 {
            let ticket = strangers.enter(at(0), host(number)).expect("room");
            strangers.leave(at(0), ticket, false);
        }
        assert_eq!((strangers.under_way(), strangers.addresses()), (0, 0));
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
        let entered = (0..).map_while(|low| strangers.enter(at(0), address(low)));
        assert_eq!(entered.collect::<Vec<_>>().len(), STRANGERS_PER_ADDRESS);
    }

    #[test]
    fn memory_of_addresses_is_bounded_and_counts_stay_true() {
        let mut strangers = Strangers::default();
        let many = 2 * STRANGER_ADDRESSES as u32;
        for number in 0..many {
            assert!(strangers.addresses() <= STRANGER_ADDRESSES + 1);
            strangers.is_worth_a_line(at(0), host(number));
        }
        let ticket = strangers.enter(at(0), host(many)).expect("room");
        assert_eq!(ticket.0, None, "it has no place of its own");
        // A minute later the places are free again, and the count of the crowd without one is right.
        assert!(strangers.is_worth_a_line(at(60_001), host(many)));
        strangers.leave(at(60_001), ticket, false);
        assert_eq!((strangers.under_way(), strangers.addresses()), (0, 1));
    }
}
