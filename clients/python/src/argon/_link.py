"""One connection to a manager after the other: dialling, the handshake, heartbeats.

Owns when to dial which address, and when a connection counts as dead. Knows nothing of tasks, and
has no socket and no clock: the driver tells it what happened and when, in nanoseconds.
"""

from __future__ import annotations

from collections import deque
from random import Random
from typing import Deque, List, Optional, Tuple

from . import _wire as wire

MILLISECOND = 1_000_000
SECOND = 1_000 * MILLISECOND

HANDSHAKE = 1_500 * MILLISECOND
DELAY_FIRST = 25 * MILLISECOND
DELAY_MAX = SECOND
LEASE_DEFAULT = 2 * SECOND
#: A manager cannot have us ping without rest, nor wait for ever for one that is gone.
LEASE_MIN = 20 * MILLISECOND
LEASE_MAX = 3_600 * SECOND
#: Bytes, whatever a manager says that it takes.
PAYLOAD_MAX_CEILING = 1 << 30
# A connection that ends sooner than this counts as a failed one when it comes to the next delay.
SETTLED = SECOND

DOWN, DIALING, SHAKING, UP, STOPPED = range(5)


def backoff(rng: Random, first: int, most: int, tries: int) -> int:
    """A delay with full jitter: anything from 0 to `first`, doubled `tries` times, at most `most`."""
    return rng.randrange(min(most, first << min(tries, 40)) + 1)


class Link:
    """The connection to the manager, whichever number it has."""

    def __init__(
        self, peer: int, name: str, addresses: int, rng: Random, now: int, role: wire.Role
    ) -> None:
        self.peer, self.name, self.addresses, self.role = peer, name, addresses, role
        self.rng = rng
        self.state = DOWN
        #: The number of the connection, and the address that it goes or went to.
        self.number = 0
        self.address = 0
        #: The life of the manager that was last spoken to.
        self.epoch: Optional[int] = None
        self.lease = LEASE_DEFAULT
        self.payload_max: Optional[int] = None
        #: Whether the manager understands messages that speak of many tasks.
        self.has_runs = False
        #: Why the last attempt to connect came to nothing.
        self.problem = "no connection was tried yet"
        #: Set if no manager will ever let us in.
        self.fatal = False
        self.out: List[bytes] = []
        #: Messages sent and taken in on this connection, and what the manager says it took in.
        self.sent = self.received = self.confirmed = 0
        self.failures = 0
        self._dial_at: Optional[int] = now
        self._shaken_by = 0
        self._up_since = 0
        self._heard = 0
        self._ping_at = 0
        self._nonce = 0
        # (nonce, when, how many messages had been sent) of the pings of one lease.
        self._pings: Deque[Tuple[int, int, int]] = deque()
        self._seen = now

    @property
    def is_up(self) -> bool:
        """Whether a manager has let us in."""
        return self.state == UP

    def next_timeout(self) -> Optional[int]:
        """When `timeout` has something to do."""
        if self.state == DOWN:
            return self._dial_at
        if self.state in (DIALING, SHAKING):
            return self._shaken_by
        if self.state == UP:
            return min(self._ping_at, self._heard + self.lease)
        return None

    def dial(self, now: int) -> bool:
        """Whether to open a connection now; its number and address are then set."""
        if self.state != DOWN or self._dial_at is None or self._dial_at > now:
            return False
        self.state = DIALING
        self.number += 1
        self._shaken_by = now + HANDSHAKE
        return True

    def connected(self, now: int) -> None:
        """The connection that was dialled is open."""
        self.state = SHAKING
        self.sent = self.received = self.confirmed = 0
        self._pings.clear()
        self.out.clear()
        role = wire.Choice(self.role)
        hello = wire.Hello(
            wire.MAGIC, wire.VERSION, role, self.peer, self.number, self.epoch, self.name
        )
        self.out.append(wire.encode(hello))

    def welcome(self, now: int, welcome: wire.Welcome) -> bool:
        """The manager lets us in. Returns whether it knows our session."""
        resumed = welcome.resumed and self.epoch == welcome.epoch
        self.epoch = welcome.epoch
        # Whatever the manager says, within reason.
        lease = LEASE_DEFAULT if welcome.lease == wire.NO_LIMIT else welcome.lease
        self.lease = min(max(lease, LEASE_MIN), LEASE_MAX)
        self.payload_max = min(welcome.payload_max, PAYLOAD_MAX_CEILING)
        self.has_runs = welcome.version >= wire.RUNS
        self.state = UP
        self._up_since = self._heard = self._seen = now
        self._ping_at = now + self.lease // 4
        return resumed

    def send(self, frame: bytes) -> None:
        """Queues a message; only while up."""
        self.out.append(frame)
        self.sent += 1

    def heard(self, now: int) -> None:
        """Bytes came, or bytes that had been waiting to be sent went."""
        self._heard = now

    def ping(self, now: int) -> None:
        """Asks for a sign of life, and how much was taken in."""
        self._nonce += 1
        self._pings.append((self._nonce, now, self.sent))
        self._ping_at = now + self.lease // 4
        self.out.append(wire.encode(wire.Ping(self._nonce, self.received)))

    def pong(self, pong: wire.Pong) -> Optional[str]:
        """Takes the answer to a ping; returns what is wrong with it."""
        if pong.received > self.sent:
            return "the manager says that it received more than was sent"
        self.confirmed = max(self.confirmed, pong.received)
        asked = next((when for nonce, when, _ in self._pings if nonce == pong.nonce), None)
        if asked is None:
            return None
        # What had been sent a lease before this ping was sent must be there by now. Connections
        # keep the order, so an answer without it does not come from a manager that listens.
        overdue = 0
        while self._pings and self._pings[0][1] + self.lease <= asked:
            overdue = self._pings.popleft()[2]
        if pong.received < overdue:
            return "the manager answers, but does not take in what it is sent"
        return None

    def timeout(self, now: int) -> Optional[str]:
        """Does what is due; returns why the connection is dead, if it is."""
        late = now - self._seen > max(self.lease // 2, MILLISECOND)
        self._seen = now
        if self.state in (DIALING, SHAKING):
            return "no answer in time" if now >= self._shaken_by else None
        if self.state != UP:
            return None
        if late:
            # This process did not run, or was not asked: it cannot judge the silence of others.
            self._heard = max(self._heard, now - self.lease // 2)
        if now >= self._heard + self.lease:
            return "the manager is silent"
        if now >= self._ping_at:
            self.ping(now)
        return None

    def closed(self, now: int, problem: str) -> None:
        """There is no connection any more, or it did not come about: when to try again?"""
        self.problem = problem
        was_up = self.state == UP
        self.state = DOWN
        self.out.clear()
        if was_up and now - self._up_since >= SETTLED:
            self.failures = 0
        if not was_up:
            self.address = (self.address + 1) % self.addresses
        # The first round at once; then the delays double with each.
        rounds = self.failures // self.addresses
        self.failures += 1
        delay = backoff(self.rng, DELAY_FIRST, DELAY_MAX, rounds) if rounds else 0
        self._dial_at = now + delay

    def move(self, now: int) -> None:
        """Leaves for the next address, for good."""
        self.epoch = None
        self.state = DOWN
        self.address = (self.address + 1) % self.addresses
        self._dial_at = now

    def stop(self) -> None:
        """Never again."""
        self.state = STOPPED
        self._dial_at = None
