//! Notices that a peer is gone although its socket is not.
//!
//! Two things count as silence: nothing was heard for a lease, or what was sent a lease ago has
//! not been taken in although the peer answers. Instants are on the machine's awake clock.

use core::time::Duration;

use crate::time::AwakeInstant;

/// What one side knows of the other's life on one connection.
#[derive(Clone, Copy, Debug)]
pub struct FailureDetector {
    heard: AwakeInstant,
    sent: u64,
    received: u64,
    confirmed: u64,
    /// The oldest unconfirmed state of `sent`, and when it was reached.
    mark: Option<(AwakeInstant, u64)>,
}

impl FailureDetector {
    /// A detector on a connection that is up since `now`.
    #[must_use]
    pub fn new(now: AwakeInstant) -> Self {
        Self {
            heard: now,
            sent: 0,
            received: 0,
            confirmed: 0,
            mark: None,
        }
    }

    /// Something counted was sent.
    pub fn on_sent(&mut self, now: AwakeInstant) {
        self.sent += 1;
        if self.mark.is_none() {
            self.mark = Some((now, self.sent));
        }
    }

    /// Something counted was taken in.
    pub fn on_received(&mut self, now: AwakeInstant) {
        self.received += 1;
        self.heard = now;
    }

    /// Bytes moved in either direction, or an uncounted message came.
    pub fn on_progress(&mut self, now: AwakeInstant) {
        self.heard = now;
        if let Some((since, _)) = &mut self.mark {
            *since = now;
        }
    }

    /// A heartbeat came: the peer has taken in `received` counted messages. False if it claims
    /// more than were sent.
    #[must_use]
    pub fn on_beat(&mut self, now: AwakeInstant, received: u64) -> bool {
        if received > self.sent {
            return false;
        }
        self.heard = now;
        self.confirmed = self.confirmed.max(received);
        if let Some((_, sent)) = self.mark
            && self.confirmed >= sent
        {
            self.mark = (self.confirmed < self.sent).then_some((now, self.sent));
        }
        true
    }

    /// How many counted messages were taken in; goes into the next heartbeat.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// How many counted messages were sent.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// How many of them the peer has confirmed.
    #[must_use]
    pub fn confirmed(&self) -> u64 {
        self.confirmed
    }

    /// When the peer counts as silent unless something is heard before.
    #[must_use]
    pub fn silent_at(&self, lease: Duration) -> AwakeInstant {
        let oldest = self
            .mark
            .map_or(self.heard, |(since, _)| since.min(self.heard));
        oldest + lease
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(2);

    fn s(seconds: u64) -> AwakeInstant {
        AwakeInstant::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn a_peer_that_answers_but_takes_nothing_in_is_silent() {
        let mut detector = FailureDetector::new(s(0));
        detector.on_sent(s(1));
        assert!(detector.on_beat(s(2), 0));
        assert!(detector.on_beat(s(3), 0));
        assert_eq!(detector.silent_at(LEASE), s(3));
        assert!(detector.on_beat(s(3), 1));
        assert_eq!(detector.silent_at(LEASE), s(5));
    }

    #[test]
    fn what_was_sent_after_the_mark_starts_a_new_lease() {
        let mut detector = FailureDetector::new(s(0));
        detector.on_sent(s(1));
        detector.on_sent(s(2));
        assert!(detector.on_beat(s(2), 1));
        assert_eq!(detector.silent_at(LEASE), s(4));
        assert!(!detector.on_beat(s(2), 3), "more than was sent is a lie");
    }

    #[test]
    fn progress_of_bytes_counts_as_hearing() {
        let mut detector = FailureDetector::new(s(0));
        detector.on_sent(s(0));
        detector.on_progress(s(5));
        assert_eq!(detector.silent_at(LEASE), s(7));
    }

    #[test]
    fn what_is_sent_later_does_not_renew_the_wait_for_what_was_sent() {
        let mut detector = FailureDetector::new(s(0));
        for second in 1..4 {
            detector.on_sent(s(second));
            assert!(detector.on_beat(s(second), 0));
        }
        assert_eq!(detector.silent_at(LEASE), s(3));
        // The first was taken in; the others are waited for from now.
        assert!(detector.on_beat(s(4), 1));
        detector.on_received(s(5));
        assert_eq!(detector.silent_at(LEASE), s(6));
    }

    #[test]
    fn a_peer_that_has_taken_in_all_is_silent_when_it_says_nothing() {
        let mut detector = FailureDetector::new(s(0));
        detector.on_sent(s(1));
        assert!(detector.on_beat(s(2), 1));
        detector.on_received(s(5));
        assert_eq!((detector.silent_at(LEASE), detector.heard), (s(7), s(5)));
        assert_eq!(
            (detector.sent(), detector.confirmed(), detector.received()),
            (1, 1, 1)
        );
    }
}
