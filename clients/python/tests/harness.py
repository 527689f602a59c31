"""Drives a session in virtual time, with a manager whose words the test chooses."""

from __future__ import annotations

import random
from typing import Any, Dict, List, Optional, Tuple

from argon import _wire as wire
from argon._session import Answer, Completions, Result, Session, Task, Terms

MS = 1_000_000
SECOND = 1_000 * MS
LEASE = 2 * SECOND


def frames(data: bytes) -> List[Tuple[Any, int, bytes]]:
    """The messages of some whole frames."""
    found, at = [], 0
    while at < len(data):
        stop = at + 4 + int.from_bytes(data[at : at + 4], "little")
        found.append(wire.decode(wire.NATIVE, data, at, stop))
        at = stop
    assert at == len(data)
    return found


def singles(sent: Tuple[Any, int, bytes]) -> List[Tuple[Any, int, bytes]]:
    """A run of submissions as what it stands for; anything else as it is."""
    message, content, payload = sent
    if not isinstance(message, wire.SubmitRun):
        return [sent]
    first, found, at = message.first, [], 0
    for by, size in enumerate(message.sizes):
        found.append((first._replace(seq=first.seq + by), content, payload[at : at + size]))
        at += size
    assert at == len(payload) and len(found) > 1
    return found


class Bench:
    """A session on the bench: its driver, its clock and its manager in one."""

    def __init__(
        self, addresses: int = 1, seed: int = 1, in_flight: int = 16_384, within: Any = None
    ) -> None:
        self.now = 5 * SECOND
        self.session = Session(
            peer=7,
            name="bench",
            addresses=addresses,
            rng=random.Random(seed),
            now=self.now,
            in_flight=in_flight,
            within=within,
        )
        self.connection: Optional[Tuple[int, int]] = None
        self.sent: List[Tuple[Any, int, bytes]] = []
        self.results: Dict[int, Result] = {}
        self.answers: List[Answer] = []
        #: What pings said was received.
        self.pings: List[int] = []
        #: When, and which address, was dialled.
        self.dials: List[Tuple[int, int]] = []

    def settle(self) -> None:
        """One round of the driver."""
        session = self.session
        for _ in range(3):
            session.settle(self.now)
            data = session.take_bytes()
            assert not data or self.connection, "bytes for nobody"
            self.sent += frames(data)
            if self.connection and not session.current(self.connection[0]):
                self.connection = None
                self.take(wire.Ping)  # nobody is there any more to answer
            dial = session.take_dial(self.now)
            if dial:
                assert self.connection is None
                self.connection = dial
                self.dials.append((self.now, dial[1]))
            self.collect()

    def collect(self) -> None:
        """Takes the results; each task has one."""
        for result in self.session.take_results():
            if isinstance(result, Answer):
                self.answers.append(result)
            elif isinstance(result, Completions):
                for seq, payload in zip(result.seqs, result.payloads):
                    assert seq not in self.results, "two results of one task"
                    done = Result(seq, wire.Ending.COMPLETED, None, result.content, payload)
                    self.results[seq] = done
            else:
                assert result.seq not in self.results, "two results of one task"
                self.results[result.seq] = result

    def pass_time(self, nanos: int) -> None:
        """Lets time go by, waking the session whenever it asked for it."""
        end = self.now + nanos
        for _ in range(100_000):
            self.settle()
            wake = self.session.next_timeout()
            if wake is None or wake > end:
                break
            self.now = max(self.now, wake)
        else:
            raise AssertionError("it wakes up without an end")
        self.now = end
        self.settle()

    def open(
        self,
        epoch: int = 1,
        resumed: bool = False,
        payload_max: int = 1 << 20,
        lease: int = LEASE,
        version: wire.Version = wire.VERSION,
    ) -> Any:
        """The manager lets it in; returns the Hello."""
        self.settle()
        while self.connection is None:
            wake = self.session.next_timeout()
            assert wake is not None and wake < self.now + 2 * SECOND, "it does not dial"
            self.now = max(self.now, wake)
            self.settle()
        self.sent.clear()
        self.session.connected(self.connection[0], self.now)
        self.settle()
        (hello,) = self.take(wire.Hello)
        assert not self.sent, "more than Hello before the Welcome"
        self.say(wire.Welcome(version, epoch, resumed, lease, payload_max))
        return hello

    def say(self, message: Any, content: int = 0, payload: bytes = b"", portion: int = 0) -> None:
        """The manager says something."""
        assert self.connection is not None
        data = wire.encode(message, content, payload)
        size = portion or len(data)
        for start in range(0, len(data), size):
            self.session.receive(self.connection[0], self.now, data[start : start + size])
        self.settle()

    def complete(self, seq: int, payload: bytes = b"1") -> None:
        """The manager has a result."""
        done = wire.Choice(wire.Ending.COMPLETED, wire.Completion(wire.LastAttempt(1, 2, "w"), 0))
        self.say(wire.Outcome(seq, done), wire.JSON, payload)

    def complete_run(self, seq: int, ends: List[Tuple[int, bytes]], **changes: Any) -> None:
        """The manager has results of tasks, each so far above `seq`."""
        common = wire.Common(seq, 2, 0, "w")
        said = [wire.End(offset, 1, len(result)) for offset, result in ends]
        results = b"".join(result for _, result in ends)
        self.say(wire.OutcomeRun(common, said), wire.JSON, changes.get("payload", results))

    def reject(self, seq: int, reason: Any, after: int = 0, may: bool = False) -> None:
        """The manager has no room."""
        self.say(wire.Reject(seq, reason, after, may, []))

    def cut(self) -> None:
        """The connection ends."""
        assert self.connection is not None
        number, self.connection = self.connection[0], None
        self.session.disconnected(number, self.now, "cut")
        self.settle()

    def submit(self, **options: Any) -> int:
        """A task, sent if there is somebody to send it to."""
        (seq,) = self.session.submit(self.now, [Task(Terms(b"noop", 1, **options), b"[1]")])
        self.settle()
        return seq

    def answer_pings(self) -> None:
        """The manager answers what it was asked, and has taken in everything."""
        for ping in self.take(wire.Ping):
            self.pings.append(ping.received)
            self.say(wire.Pong(ping.nonce, self.session.link.sent))

    def wait(self, nanos: int) -> None:
        """Time goes by, and the manager answers pings."""
        end = self.now + nanos
        while True:
            self.settle()
            self.answer_pings()
            if self.now >= end:
                return
            wake = self.session.next_timeout()
            self.now = min(end, max(self.now, end if wake is None else wake))

    def refuse_for(self, nanos: int) -> None:
        """Time goes by, and nobody lets it in."""
        end = self.now + nanos
        while True:
            self.settle()
            if self.connection:
                number, self.connection = self.connection[0], None
                self.session.disconnected(number, self.now, "refused")
                continue
            wake = self.session.next_timeout()
            if wake is None or wake > end:
                self.now = end
                return
            self.now = max(self.now, wake)

    def take(self, kind: Any) -> List[Any]:
        """Takes what was sent of one kind, in order. Runs are of the kind of what they stand for."""
        if kind is wire.Submit:
            self.sent = [single for sent in self.sent for single in singles(sent)]
        found = [sent[0] for sent in self.sent if isinstance(sent[0], kind)]
        self.sent = [sent for sent in self.sent if not isinstance(sent[0], kind)]
        return found
