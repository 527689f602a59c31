"""The state machine against a small manager, with faults from a seed, in virtual time.

The manager here is the page docs/protocol.md in a hundred lines: it keeps sessions and tasks, runs
tasks, has little room, loses its memory, drops connections and loses what was on them. Checked: each
task has one result; what completed ran; what was rejected, or expired or cancelled without the flag,
never started; no task starts twice in one session; and a seed gives the same bytes again.
"""

from __future__ import annotations

import hashlib
import random

import pytest
from harness import LEASE, MS, SECOND, frames

from argon import _wire as wire
from argon._session import Completions, Result, Session, Task, Terms
from argon._wire import Ending, Reason



COMPLETED = wire.Choice(Ending.COMPLETED, wire.Completion(wire.LastAttempt(1, 1, "w"), 0))


class Life:
    """One life of one manager: all that it knows."""

    def __init__(self, epoch):
        self.epoch = epoch
        #: Every other manager is of before runs.
        self.version = wire.Version(1, epoch % 2)
        self.session = False
        # seq -> "queued", "running" or the outcome
        self.tasks = {}
        self.started = set()
        self.floor = 0
        self.uncertain = set()


class World:
    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.now = 0
        self.epochs = iter(range(1, 10_000))
        self.addresses = self.rng.choice([1, 1, 2, 3])
        self.lives = [Life(next(self.epochs)) for _ in range(self.addresses)]
        self.session = Session(
            peer=1, name="c", addresses=self.addresses, rng=random.Random(seed + 1), now=0
        )
        self.room = self.rng.choice([2, 5, 50])
        self.dropping = self.rng.choice([0.0, 0.003, 0.02])
        self.connection = None  # (number, address)
        self.to_client = b""
        self.cancelled = set()
        self.ever_started = set()
        self.results = {}
        self.trace = hashlib.sha256()
        self.calm = False
        self.runs = 0

    # What the manager does.

    def say(self, message, payload=b""):
        self.to_client += wire.encode(message, wire.JSON if payload else 0, payload)

    @property
    def life(self):
        return self.lives[self.connection[1]]

    def hear(self, message):
        life = self.life
        if isinstance(message, wire.Hello):
            resumed = life.session and message.session == life.epoch
            if not resumed:
                life.session = True
                self.forget(life)
            self.say(wire.Welcome(life.version, life.epoch, resumed, LEASE, 1 << 20))
            if resumed:
                for seq, state in sorted(life.tasks.items()):
                    if isinstance(state, wire.Choice):
                        self.tell(seq, state)
            self.received = 0
            return
        if isinstance(message, wire.Ping):
            self.say(wire.Pong(message.nonce, self.received))
            return
        self.received += 1
        if isinstance(message, wire.Submit):
            self.submitted(life, message)
        elif isinstance(message, wire.SubmitRun) and life.version >= wire.RUNS:
            for by in range(len(message.sizes)):
                self.submitted(life, message.first._replace(seq=message.first.seq + by))
            self.runs += 1
        elif isinstance(message, wire.Cancel):
            if life.tasks.get(message.seq) == "queued":
                flag = message.seq in life.uncertain
                self.finish(life, message.seq, wire.Choice(Ending.CANCELLED, flag))
        elif isinstance(message, wire.Resume):
            unknown = [seq for seq in message.seqs if seq not in life.tasks]
            if unknown:
                self.say(wire.Unknown(unknown))
        elif isinstance(message, wire.AckOutcomes):
            assert message.floor >= life.floor
            life.floor = message.floor
            for seq, state in list(life.tasks.items()):
                if seq < message.floor or seq in message.seqs:
                    assert seq in self.results, "acknowledged what was not handed on"
                    del life.tasks[seq]
        elif isinstance(message, wire.Goodbye):
            life.session = False
            self.forget(life)
        else:
            raise AssertionError(f"a client said {message}")

    def forget(self, life):
        # What had started goes on somewhere, for nobody.
        life.tasks.clear()
        life.uncertain.clear()
        life.started.clear()

    def submitted(self, life, submit):
        seq = submit.seq
        if seq < life.floor or seq in life.tasks:
            return
        assert seq not in self.results or seq in self.cancelled, "submitted after its end"
        if seq in self.ever_started:
            assert submit.may_have_run, "it has started before, and the client hides it"
        if len(life.tasks) >= self.room and not self.calm:
            reason = self.rng.choice([Reason.QUEUE_FULL, Reason.NO_WORKERS, Reason.DISPLACED])
            after = self.rng.randrange(20 * MS)
            self.say(wire.Reject(seq, reason, after, submit.may_have_run, []))
            return
        life.tasks[seq] = "queued"
        if submit.may_have_run:
            life.uncertain.add(seq)

    def work(self):
        for life in self.lives:
            done = []
            for seq, state in sorted(life.tasks.items()):
                if state == "queued" and self.rng.random() < 0.3:
                    assert (life.epoch, seq) not in life.started, "twice in one session"
                    life.started.add((life.epoch, seq))
                    self.ever_started.add(seq)
                    life.tasks[seq] = "running"
                elif state == "running" and self.rng.random() < 0.3:
                    done.append(seq)
            if len(done) < 2 or life.version < wire.RUNS:
                for seq in done:
                    self.finish(life, seq, COMPLETED)
            else:
                self.finish_run(life, done)

    def finish_run(self, life, seqs):
        for seq in seqs:
            life.tasks[seq] = COMPLETED
        if self.connection and self.life is life and self.session.link.is_up:
            first = min(seqs)
            self.rng.shuffle(seqs)
            results = [b"%d" % seq for seq in seqs]
            ends = [wire.End(seq - first, 1, len(result)) for seq, result in zip(seqs, results)]
            self.say(wire.OutcomeRun(wire.Common(first, 1, 0, "w"), ends), b"".join(results))
            self.runs += 1

    def finish(self, life, seq, end):
        life.tasks[seq] = end
        if self.connection and self.life is life and self.session.link.is_up:
            self.tell(seq, end)

    def tell(self, seq, end):
        self.say(wire.Outcome(seq, end), b"%d" % seq if end.kind == Ending.COMPLETED else b"")

    # What happens to the client.

    def faults(self):
        if self.calm:
            return
        if self.connection and self.rng.random() < self.dropping:
            self.drop()
        if self.rng.random() < self.dropping / 4:
            at = self.rng.randrange(self.addresses)
            if self.connection and self.connection[1] == at:
                self.drop()
            self.lives[at] = Life(next(self.epochs))

    def drop(self):
        # What was on its way is lost.
        self.to_client = b""
        number, self.connection = self.connection[0], None
        self.session.disconnected(number, self.now, "cut")

    def drive(self):
        session = self.session
        for _ in range(4):
            session.settle(self.now)
            data = session.take_bytes()
            self.trace.update(data)
            if data and self.connection:
                # The connection may end in the middle of what is sent.
                lost = not self.calm and self.rng.random() < self.dropping
                heard = frames(data)
                if lost:
                    heard = heard[: self.rng.randrange(len(heard) + 1)]
                for message, _, _ in heard:
                    self.hear(message)
                if lost:
                    self.drop()
            if self.connection and not session.current(self.connection[0]):
                self.connection, self.to_client = None, b""
            dial = session.take_dial(self.now)
            if dial:
                self.connection = dial
                if not self.calm and self.rng.random() < 10 * self.dropping:
                    self.drop()
                else:
                    session.connected(dial[0], self.now)
            if self.to_client and self.connection:
                cut = len(self.to_client)
                if self.rng.random() < 0.3:
                    cut = self.rng.randrange(1, cut + 1)
                data, self.to_client = self.to_client[:cut], self.to_client[cut:]
                session.receive(self.connection[0], self.now, data)
            for result in session.take_results():
                if isinstance(result, Completions):
                    content, seqs, payloads = result
                    for seq, payload in zip(seqs, payloads):
                        self.ended(Result(seq, Ending.COMPLETED, None, content, payload))
                else:
                    self.ended(result)

    def ended(self, result):
        seq = result.seq
        assert seq not in self.results, "two results of one task"
        self.results[seq] = result
        started = seq in self.ever_started
        if result.ending is Ending.COMPLETED:
            assert started and result.payload == b"%d" % seq
        elif result.ending is Ending.REJECTED:
            assert not started
        elif result.ending in (Ending.EXPIRED, Ending.CANCELLED):
            assert result.value or not started
        else:
            assert result.ending is Ending.LOST

    def run(self, count=120):
        session, rng = self.session, self.rng
        submitted = 0
        for step in range(60_000):
            if submitted < count and rng.random() < 0.3:
                for _ in range(rng.choice([1, 1, 10])):
                    deadline = rng.choice([None, None, None, rng.randrange(2 * SECOND)])
                    session.submit(
                        self.now,
                        [Task(Terms(b"t", 1, rng.randrange(8), deadline=deadline), b"[]")],
                    )
                    submitted += 1
            if submitted and rng.random() < 0.02:
                seq = rng.randrange(submitted)
                self.cancelled.add(seq)
                session.cancel(self.now, seq)
            self.calm = submitted >= count and step > 1_500
            self.faults()
            self.work()
            self.drive()
            if submitted >= count and not session.tasks:
                break
            self.now += rng.choice([0, MS, 5 * MS, 20 * MS])
        assert len(self.results) == submitted, "a task without an end"
        assert session.window.total == 0 and sum(session.window.at_manager) == 0
        assert session.held_bytes == 0 and not any(session._waiting) and not session._recovering
        return self


@pytest.mark.parametrize("seeds", [range(start, start + 25) for start in range(0, 200, 25)], ids=str)
def test_faults(seeds):
    for seed in seeds:
        try:
            World(seed).run()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error


def test_faults_reach_what_they_are_for():
    endings, epochs, runs = set(), 0, 0
    for seed in range(60):
        world = World(seed).run()
        endings |= {result.ending for result in world.results.values()}
        epochs += next(world.epochs) - 1 - world.addresses
        runs += world.runs
    assert endings >= {Ending.COMPLETED, Ending.EXPIRED, Ending.CANCELLED, Ending.REJECTED}
    assert epochs > 20 and runs > 100


def test_a_seed_gives_the_same_bytes_again():
    for seed in range(10):
        assert World(seed).run().trace.digest() == World(seed).run().trace.digest()
