"""The client's state machine: tasks from submission to the one outcome of each.

Bytes, commands and the time go in; bytes, outcomes and the next time-out come out. It has no
socket, no clock, no thread and no randomness of its own, so that the blocking and the asyncio
client drive the same code and tests run it in virtual time. Times are nanoseconds of the driver's
monotonic clock.

A driver does, whenever something happened:

1. `receive`, `connected`, `disconnected`, `submit`, `cancel` or `ask`, with what happened;
2. `settle`, which does what is due;
3. `take_results`, and hands them on; `take_bytes`, and sends them; `take_dial`, and dials;
4. waits for the next event, or until `next_timeout`.
"""

from __future__ import annotations

import heapq
import struct
from collections import OrderedDict, deque
from random import Random
from typing import Any, Deque, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

from . import _wire as wire
from ._doubts import Doubts, Nobody
from ._link import DIALING, MILLISECOND, SECOND, SHAKING, Link, backoff
from ._runs import Runs, read_outcomes, read_rejects
from ._window import Window

RETRY_FIRST = 25 * MILLISECOND
RETRY_MAX = 5 * SECOND
HINT_MAX = 60 * SECOND
LAST_WORDS = 20 * MILLISECOND
MOVE_EVERY = SECOND
#: How long a manager waits for a worker to claim what may run only once, and what a manager that
#: is restarted at once counts as.
RESUME_WINDOW = 30 * SECOND
RESTART = SECOND
ACK_AFTER = 5 * MILLISECOND
ACK_BYTES = 1 << 20
BACKLOG_MAX = 16 << 20
PAYLOAD_MAX = 67_108_864
# Names of workers that are known to be valid.
WORKERS_MAX = 1_024

WAITING, SENT, BACKOFF = range(3)
_RETRY, _EXPIRY = range(2)

_OUTCOME = int(next(tag for tag, (make, _) in wire.NATIVE.items() if make is wire.Outcome))
_OUTCOME_RUN = int(next(tag for tag, (make, _) in wire.NATIVE.items() if make is wire.OutcomeRun))
_LENGTH = struct.Struct("<I")
_COMPLETED_HEAD = struct.Struct("<IBIQIQQB")


class Terms(NamedTuple):
    """What tasks that are submitted together have in common. Times are nanoseconds."""

    name: bytes
    content: int
    priority: int = 4
    max_attempts: int = 3
    at_most_once: bool = False
    #: From submission on.
    deadline: Optional[int] = None
    max_wait: Optional[int] = None
    time_limit: Optional[int] = None
    retries: Optional[int] = 10


class Task:
    """A task, as it was submitted and as it fares."""

    __slots__ = (
        "terms",
        "payload",
        "deadline",
        "state",
        "may_have_run",
        "cancelled",
        "rejections",
        "retries",
        "watched",
        "asked",
        "unclaimed",
    )

    def __init__(self, terms: Terms, payload: bytes) -> None:
        self.terms = terms
        self.payload = payload
        #: An instant, as soon as the session has the task.
        self.deadline: Optional[int] = None
        self.state = WAITING
        self.may_have_run = False
        self.cancelled = False
        self.rejections = 0
        self.retries = 0
        #: An alarm for the deadline is set.
        self.watched = False
        #: The manager was asked about it on this connection, and it was not sent since.
        self.asked = False
        #: How long managers that are gone have waited for a worker to claim it.
        self.unclaimed = 0

    @property
    def uncertain(self) -> bool:
        """Whether it may have started, by what is known here."""
        return self.may_have_run or self.state == SENT


class Result(NamedTuple):
    """The end of a task."""

    seq: int
    ending: wire.Ending
    value: Any
    content: int
    payload: bytes


class Completions(NamedTuple):
    """The ends of tasks that completed, and whose results are of one content."""

    content: int
    seqs: List[int]
    payloads: List[bytes]


class Answer(NamedTuple):
    """The answer to a question: `Status` or `Running`."""

    question: int
    message: Any


class Session:
    """All that a client is, without its socket."""

    def __init__(
        self,
        *,
        peer: int,
        name: str,
        addresses: int,
        rng: Random,
        now: int,
        in_flight: int = 16_384,
        role: wire.Role = wire.Role.CLIENT,
        within: Optional[wire.Within] = None,
    ) -> None:
        self.within = within
        self.link = Link(peer, name, addresses, rng, now, role)
        self._runs = Runs(self.link)
        self.rng = rng
        self.window = Window(in_flight)
        self.tasks: Dict[int, Task] = {}
        #: Payload bytes of the tasks held.
        self.held_bytes = 0
        self.next_seq = 0
        #: Every sequence below it is finished.
        self.floor = 0
        #: A manager has let this client in at least once.
        self.was_up = False
        self.events: List[str] = []
        #: Names that nobody runs, for the driver to take and to tell.
        self.nobody: List[Nobody] = []
        self._doubts = Doubts()
        self._doubt: Optional[int] = None
        self._waiting: List["OrderedDict[int, None]"] = [OrderedDict() for _ in range(8)]
        self._recovering: "OrderedDict[int, None]" = OrderedDict()
        self._alarms: List[Tuple[int, int, int]] = []
        self._results: List[Any] = []
        self._chunks: List[bytes] = []
        self._workers: Set[bytes] = set()
        self._have = 0
        self._need = 4
        self._acks: List[int] = []
        self._acked_bytes = 0
        self._ack_at: Optional[int] = None
        self._abandoned: List[int] = []
        self._questions: "OrderedDict[int, Any]" = OrderedDict()
        self._asked: Dict[Any, Deque[int]] = {}
        self._next_question = 0
        self._moves = 0
        self._moved_at: Optional[int] = None
        self._move_at: Optional[int] = None
        self._more = False
        self._stopped = False
        # When the life of the manager that has the tasks began here, and when it was last lost.
        self._began = now
        self._cut_at = now

    # What the application wants.

    @property
    def payload_max(self) -> int:
        """The largest payload that can be sent, as far as is known."""
        known = self.link.payload_max
        return PAYLOAD_MAX if known is None else known

    def submit(self, now: int, tasks: Sequence[Task]) -> range:
        """Takes tasks in and returns their sequences; the end of each comes, once."""
        assert not self._stopped
        seqs = range(self.next_seq, self.next_seq + len(tasks))
        self.next_seq = seqs.stop
        self.tasks.update(zip(seqs, tasks))
        terms: Optional[Terms] = None
        for seq, task in zip(seqs, tasks):
            if task.terms is not terms:
                terms = task.terms
                waiting = self._waiting[terms.priority]
                self._doubts.submitted(now, terms.name)
            waiting[seq] = None
            self.held_bytes += len(task.payload)
            if terms.deadline is not None:
                task.deadline = now + terms.deadline
                self._watch(seq, task)
        return seqs

    def cancel(self, now: int, seq: int) -> None:
        """Asks for the end of a task. Its result still comes, whichever it is."""
        task = self.tasks.get(seq)
        if task is None:
            return
        if task.state != SENT:
            self._end(seq, wire.Ending.CANCELLED, task.may_have_run)
        elif not task.cancelled:
            task.cancelled = True
            self._send(wire.Cancel(seq))

    def ask(self, query: Any) -> int:
        """Asks for one page of `StatusQuery` or `RunningQuery`; returns what its `Answer` has."""
        question = self._next_question
        self._next_question += 1
        self._questions[question] = query
        if self.link.is_up:
            self._ask(question, query)
        return question

    def forget(self, question: int) -> None:
        """The answer is not wanted any more."""
        self._questions.pop(question, None)

    def stop(self, now: int) -> None:
        """Leaves: what has no outcome is given up, here and at the manager."""
        if self._stopped:
            return
        if self.link.is_up:
            self._flush_acks()
            self.link.send(wire.encode(wire.Goodbye()))
        for seq in list(self.tasks):
            self._end(seq, wire.Ending.CANCELLED, self.tasks[seq].uncertain)
        self._stopped = True
        self.link.stop()

    # What happens to the connection.

    def take_dial(self, now: int) -> Optional[Tuple[int, int]]:
        """The number and the address of a connection to open now. Whatever was open before is to
        be closed, after what `take_bytes` still had for it is sent."""
        return (self.link.number, self.link.address) if self.link.dial(now) else None

    def current(self, number: int) -> bool:
        """Whether the connection of this number is still wanted."""
        link = self.link
        return link.number == number and (link.state in (DIALING, SHAKING) or link.is_up)

    def connected(self, number: int, now: int) -> None:
        """The connection is open."""
        if self.link.number == number and self.link.state == DIALING:
            self._chunks, self._have, self._need = [], 0, 4
            self.link.connected(now)

    def disconnected(self, number: int, now: int, problem: str) -> None:
        """The connection has ended, or could not be opened."""
        if self.current(number):
            self._down(now, problem)

    def progressed(self, number: int, now: int) -> None:
        """Bytes that had to wait were taken by the network."""
        if self.current(number):
            self.link.heard(now)

    def receive(self, number: int, now: int, data: bytes) -> None:
        """Takes bytes in, in any portions."""
        if not self.current(number):
            return
        link = self.link
        link.heard(now)
        self._chunks.append(data)
        self._have += len(data)
        if self._have < self._need:
            return
        if len(self._chunks) > 1:
            data = b"".join(self._chunks)
        at, end = 0, len(data)
        try:
            while True:
                if end - at < 4:
                    self._need = 4
                    break
                (length,) = _LENGTH.unpack_from(data, at)
                most = 5 + wire.HEADER_MAX + PAYLOAD_MAX
                if not link.is_up:
                    most = wire.HANDSHAKE_FRAME_MAX
                elif link.payload_max is not None:
                    most = 5 + wire.HEADER_MAX + link.payload_max
                if not 5 <= length <= most:
                    raise wire.WireError(f"a frame of {length} bytes")
                stop = at + 4 + length
                if stop > end:
                    self._need = 4 + length
                    break
                self._frame(now, data, at, stop)
                at = stop
                if not self.current(number):
                    return
        except wire.WireError as error:
            self._down(now, f"the manager made no sense: {error}")
            return
        self._chunks = [data[at:]] if at < end else []
        self._have = end - at

    def _frame(self, now: int, data: bytes, at: int, stop: int) -> None:
        if (
            stop - at >= 38
            and data[at + 5] == _OUTCOME
            and data[at + 17] == 0
            and self.link.is_up
        ):
            # Nearly every message is this one: fixed offsets, no objects. A worker's name is read
            # the first time that it comes, and then only looked up.
            _, content, tag, seq, ending, _, _, length = _COMPLETED_HEAD.unpack_from(data, at)
            body = at + 39 + length
            worker = data[at + 38 : body - 1]
            if tag == _OUTCOME and ending == 0 and body <= stop and worker in self._workers:
                self.link.received += 1
                self._outcome(
                    now, seq, wire.Ending.COMPLETED, None, content, data[body:stop]
                )
                return
        elif stop - at > 5 and data[at + 5] == _OUTCOME_RUN and self.link.is_up:
            self._outcomes(now, data, at, stop)
            return
        message, content, payload = wire.decode(wire.NATIVE, data, at, stop)
        if isinstance(message, wire.Outcome) and message.end.kind == wire.Ending.COMPLETED:
            self._know(message.end.value.last.worker.encode())
        if self.link.is_up:
            self._message(now, message, content, payload)
        elif isinstance(message, wire.Welcome):
            if message.version.major != wire.VERSION.major:
                choice = wire.Choice(wire.RefuseReason.VERSION, message.version)
                self._refused(now, choice)
                return
            self._up(now, message)
        elif isinstance(message, wire.Refuse):
            self._refused(now, message.reason)
        else:
            raise wire.WireError("something before its Welcome")

    def _know(self, worker: bytes) -> None:
        if len(self._workers) >= WORKERS_MAX:
            self._workers.clear()
        self._workers.add(worker)

    def _outcomes(self, now: int, data: bytes, at: int, stop: int) -> None:
        """Takes in a frame that tells the ends of many tasks: one message, and each as if alone."""
        content, worker, seqs, sizes, at = read_outcomes(data, at, stop, self._workers)
        self._know(worker)
        self.link.received += 1
        self._must_ack(now, seqs, stop - at)
        ended: List[int] = []
        payloads: List[bytes] = []
        # What makes no sense further on takes nothing from those before.
        self._results.append(Completions(content, ended, payloads))
        for seq, size in zip(seqs, sizes):
            end = at + size
            if self._at_end(seq) is not None:
                ended.append(seq)
                payloads.append(data[at:end])
            at = end

    def _message(self, now: int, message: Any, content: int, payload: bytes) -> None:
        link = self.link
        if isinstance(message, wire.Pong):
            problem = link.pong(message)
            if problem is not None:
                self._down(now, problem)
            else:
                self.window.confirmed(link.confirmed)
            return
        if isinstance(message, wire.Paused):
            return  # What it says, that the manager lives, was heard with its bytes.
        link.received += 1
        if isinstance(message, wire.Outcome):
            end = message.end
            if end.kind == wire.Ending.REJECTED:
                raise wire.WireError("a rejection as outcome")
            ending = wire.Ending(end.kind)
            self._outcome(now, message.seq, ending, end.value, content, payload)
        elif isinstance(message, wire.Reject):
            self._reject(now, message)
        elif isinstance(message, wire.RejectRun):
            for reject in read_rejects(message):
                self._reject(now, reject)
        elif isinstance(message, wire.Unknown):
            for seq in message.seqs:
                self._unknown(seq)
        elif isinstance(message, (wire.Status, wire.Running)):
            self._answer(now, message)
        else:
            raise wire.WireError(f"{type(message).__name__} is not for clients")

    def _up(self, now: int, welcome: wire.Welcome) -> None:
        resumed = self.link.welcome(now, welcome)
        self.was_up = True
        self.events.append("resumed" if resumed else "up")
        if self.within is not None and not resumed:
            self._send(self.within)
        for seq in self._abandoned:
            self._send(wire.Cancel(seq))
        self._abandoned.clear()
        self._flush_acks(due=self.next_seq > 0)
        if resumed:
            self._resume()
        else:
            self._start_over(now)
        self._asked.clear()
        for question, query in self._questions.items():
            self._ask(question, query)

    def _resume(self) -> None:
        sent = [seq for seq, task in self.tasks.items() if task.state == SENT]
        for seq in sent:
            self.tasks[seq].asked = True
        for start in range(0, len(sent), wire.IDS_MAX):
            self._send(wire.Resume(sent[start : start + wire.IDS_MAX]))
        for seq in sent:
            if self.tasks[seq].cancelled:
                self._send(wire.Cancel(seq))

    def _start_over(self, now: int) -> None:
        """Nobody can say any more whether what was left at the last manager has started."""
        fresh = self._moves < self.link.addresses
        self.window.restart()
        held, self._began = self._cut_at - self._began, now
        for seq, task in list(self.tasks.items()):
            if task.state == SENT:
                if self._is_given_up(task, held):
                    self._end(seq, wire.Ending.LOST, [])
                    continue
                task.may_have_run = True
                self._unsend(seq, task, WAITING)
                self._recovering[seq] = None
            elif task.state == BACKOFF and fresh:
                # What the last manager advised is not this one's advice.
                self._ready(seq, task)

    @staticmethod
    def _is_given_up(task: Task, held: int) -> bool:
        """Whether managers, each restarted before it could tell, have together waited for a worker
        to claim a task as long as one alone would. One that had it for so long and did not end it
        has had it claimed."""
        if not task.terms.at_most_once or not task.may_have_run:
            return False
        task.unclaimed = task.unclaimed + max(held, RESTART) if held < RESUME_WINDOW else 0
        return task.unclaimed >= RESUME_WINDOW

    def _refused(self, now: int, reason: wire.Choice) -> None:
        words = {
            wire.RefuseReason.OLD_CONNECTION: "it knows a newer connection of this client",
            wire.RefuseReason.FULL: "it is full",
            wire.RefuseReason.BAD_HELLO: "it does not understand the greeting",
            wire.RefuseReason.BAD_CAPACITY: "it does not like the capacity",
            wire.RefuseReason.REPLACED: "another worker has its name",
            wire.RefuseReason.KEY_REQUIRED: "it wants a key, and this client has none: give the "
            "key file that it trusts (key=... or ARGON_KEY)",
            wire.RefuseReason.NOT_ALLOWED: "this client's key does not have the role `submit`; "
            "whoever holds the cluster's key can make one that has (argon keygen --from KEY "
            "--role submit)",
            wire.RefuseReason.OTHER_HOLDER: "its session belongs to another key's holder",
        }
        kind = wire.RefuseReason(reason.kind)
        if kind is wire.RefuseReason.VERSION:
            spoken = f"{reason.value.major}.{reason.value.minor}"
            ours = f"{wire.VERSION.major}.{wire.VERSION.minor}"
            text = f"it speaks version {spoken} of the protocol, and this client {ours}"
        else:
            text = words[kind]
        self.link.fatal = kind in (wire.RefuseReason.VERSION, wire.RefuseReason.BAD_HELLO)
        self._down(now, f"the manager refused: {text}")

    def _down(self, now: int, problem: str) -> None:
        was_up = self.link.is_up
        self.link.closed(now, problem)
        self._chunks, self._have, self._need = [], 0, 4
        if not was_up:
            return
        self.events.append("down")
        self._cut_at = now
        # Outcomes come again after resuming, and so do their acknowledgements.
        self._acks.clear()
        self._acked_bytes, self._ack_at = 0, None
        self._move_at = None
        self.window.down()
        for seq, task in self.tasks.items():
            if task.state == SENT:
                self._watch(seq, task)

    # What the manager says about tasks.

    def _outcome(
        self, now: int, seq: int, ending: wire.Ending, value: Any, content: int, payload: bytes
    ) -> None:
        self._must_ack(now, [seq], len(payload))
        task = self._at_end(seq)
        if task is None:
            return
        if ending in (wire.Ending.EXPIRED, wire.Ending.CANCELLED):
            value = value or task.may_have_run
        self._results.append(Result(seq, ending, value, content, payload))

    def _must_ack(self, now: int, seqs: List[int], size: int) -> None:
        self._acks += seqs
        self._acked_bytes += size
        if self._ack_at is None:
            self._ack_at = now + ACK_AFTER

    def _at_end(self, seq: int) -> Optional[Task]:
        """The manager says that a task has ended: it is held no more. None if it was not."""
        task = self.tasks.get(seq)
        if task is None:
            return None
        if task.state == SENT:
            self.window.outcome()
            self._moves = 0
            self._move_at = None
        elif not task.may_have_run and not task.rejections:
            raise wire.WireError("the end of a task that it was not sent")
        self._drop(seq, task)
        return task

    def _reject(self, now: int, reject: wire.Reject) -> None:
        seq, reason = reject.seq, reject.reason
        task = self.tasks.get(seq)
        if task is None or task.state != SENT:
            return
        task.may_have_run = task.may_have_run or reject.may_have_run
        self._unsend(seq, task, BACKOFF)
        hint = min(reject.retry_after, HINT_MAX)
        delay = hint + backoff(self.rng, RETRY_FIRST, RETRY_MAX, task.rejections)
        task.rejections += 1
        self.window.refused(reason, now + delay)
        if task.cancelled:
            self._end(seq, wire.Ending.CANCELLED, task.may_have_run)
        elif reason >= wire.Reason.TOO_LARGE:
            self._end_refused(seq, task, reason, reject.similar)
        else:
            if reason == wire.Reason.NO_WORKERS:
                self._want_move(now)
            if not task.may_have_run:
                allowed = task.terms.retries
                if allowed is not None and task.retries >= allowed:
                    self._end_refused(seq, task, reason, [])
                    return
                task.retries += 1
            self._alarm(now + delay, _RETRY, seq)

    def _unknown(self, seq: int) -> None:
        """What the manager never had, it never started."""
        task = self.tasks.get(seq)
        if task is None or task.state != SENT:
            return
        if not task.asked:
            # To send again whatever it calls unknown would go round for ever.
            raise wire.WireError("a task that it was just sent is unknown")
        self._unsend(seq, task, WAITING)
        if task.cancelled:
            self._end(seq, wire.Ending.CANCELLED, task.may_have_run)
        elif task.may_have_run:
            self._recovering[seq] = None
        else:
            self._ready(seq, task)

    def _answer(self, now: int, message: Any) -> None:
        asked = self._asked.get(type(message))
        if not asked:
            raise wire.WireError("an answer to no question")
        question = asked.popleft()
        if self._questions.pop(question, None) is None:
            return
        if question == self._doubt:
            self._doubt = None
            self.nobody += self._doubts.judge(now, message)
        else:
            self._results.append(Answer(question, message))

    def _ask(self, question: int, query: Any) -> None:
        answer = wire.Status if isinstance(query, wire.StatusQuery) else wire.Running
        self._asked.setdefault(answer, deque()).append(question)
        self._send(query)

    # Time.

    def settle(self, now: int, backlog: int = 0) -> None:
        """Does what is due: time-outs, acknowledgements, tasks. `backlog` is how many bytes of
        earlier `take_bytes` are not sent yet."""
        if self._stopped:
            return
        problem = self.link.timeout(now)
        if problem is not None:
            self._down(now, problem)
        while self._alarms and self._alarms[0][0] <= now:
            _, kind, seq = heapq.heappop(self._alarms)
            self._on_alarm(now, kind, seq)
        self._more = False
        if not self.link.is_up:
            return
        if self._move_at is not None and self._move_at <= now:
            self._move(now)
            return
        self._send_tasks(now, backlog)
        self._ask_who_runs(now)
        if self._acks and (
            self.link.out
            or len(self._acks) >= 64
            or self._acked_bytes >= ACK_BYTES
            or (self._ack_at is not None and self._ack_at <= now)
        ):
            self._flush_acks()

    def _ask_who_runs(self, now: int) -> None:
        due = self._doubts.next()
        if self._doubt is None and due is not None and due <= now:
            self._doubt = self.ask(wire.StatusQuery(0))

    def next_timeout(self) -> Optional[int]:
        """When `settle` has something to do, if nothing happens before."""
        if self._stopped:
            return None
        times = [self.link.next_timeout()]
        if self._alarms:
            times.append(self._alarms[0][0])
        if self.link.is_up:
            times.append(self._ack_at)
            times.append(self._move_at)
            if self._doubt is None:
                times.append(self._doubts.next())
            if self.window.paused_until and any(self._waiting):
                times.append(self.window.paused_until)
        return min((time for time in times if time is not None), default=None)

    @property
    def wants_more(self) -> bool:
        """Sending stopped because of the backlog, or to let answers be read in between."""
        return self._more

    def take_bytes(self) -> bytes:
        """What to send on the current connection."""
        out = self.link.out
        if not out:
            return b""
        data = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        return data

    def take_results(self) -> List[Any]:
        """`Result`s, `Completions` and `Answer`s since the last call."""
        results, self._results = self._results, []
        return results

    def _alarm(self, at: int, kind: int, seq: int) -> None:
        heapq.heappush(self._alarms, (at, kind, seq))
        if len(self._alarms) > 4 * len(self.tasks) + 64:
            self._alarms = [alarm for alarm in self._alarms if alarm[2] in self.tasks]
            heapq.heapify(self._alarms)

    def _watch(self, seq: int, task: Task) -> None:
        if task.deadline is not None and not task.watched:
            task.watched = True
            self._alarm(task.deadline, _EXPIRY, seq)

    def _on_alarm(self, now: int, kind: int, seq: int) -> None:
        task = self.tasks.get(seq)
        if task is None:
            return
        if kind == _RETRY:
            if task.state == BACKOFF:
                self._ready(seq, task)
            return
        task.watched = False
        if task.state == SENT:
            if self.link.is_up:
                return  # The manager keeps the deadline, and will tell.
            until = (task.deadline or 0) + self.link.lease
            if until > now:
                task.watched = True
                self._alarm(until, _EXPIRY, seq)
                return
            if len(self._abandoned) < wire.IDS_MAX:
                self._abandoned.append(seq)
        self._end(seq, wire.Ending.EXPIRED, task.uncertain)

    # Sending.

    def _send_tasks(self, now: int, backlog: int) -> None:
        if self._move_at is not None:
            return
        is_done = self._submit_tasks(now, BACKLOG_MAX - backlog)
        self._runs.flush()
        if is_done and self.window.wants_word(self.link.sent):
            self.link.ping(now)

    def _submit_tasks(self, now: int, room: int) -> bool:
        """Submits what the window admits. Returns whether there was room in bytes for all of it,
        and it may be sent now."""
        # First what may be running somewhere, so that it is claimed before it is tried again. The
        # manager before had these, so the window has no say.
        while self._recovering:
            if room <= 0:
                self._more = True
                return False
            seq, _ = self._recovering.popitem(last=False)
            room -= self._send_task(now, seq, self.payload_max)
        window = self.window
        if window.paused_until > now:
            return False
        window.paused_until = 0
        window.limiting = False
        payload_max = self.payload_max
        for priority, waiting in enumerate(self._waiting):
            while waiting:
                if not window.admits(priority):
                    window.limiting = True
                    break
                if room <= 0:
                    self._more = window.limiting = True
                    return False
                seq, _ = waiting.popitem(last=False)
                room -= self._send_task(now, seq, payload_max)
        return True

    def _send_task(self, now: int, seq: int, payload_max: int) -> int:
        """Sends a task that was taken from its queue. Returns about how many bytes that is."""
        task = self.tasks[seq]
        left = wire.NO_LIMIT
        size = len(task.payload)
        if task.deadline is not None:
            left = task.deadline - now
            if left <= 0:
                self._end(seq, wire.Ending.EXPIRED, task.may_have_run)
                return 0
        if size > payload_max:
            self._end_refused(seq, task, wire.Reason.TOO_LARGE, [])
            return 0
        task.state, task.asked = SENT, False
        self.window.add(task.terms.priority)
        self._runs.submit(seq, task, left)
        if task.cancelled:
            self._runs.flush()
            self._send(wire.Cancel(seq))
        return 46 + len(task.terms.name) + size

    def _send(self, message: Any) -> None:
        if self.link.is_up:
            self.link.send(wire.encode(message))

    def _flush_acks(self, due: bool = False) -> None:
        if self._acks or due:
            floor = self.floor
            while floor < self.next_seq and floor not in self.tasks:
                floor += 1
            self.floor = floor
            # Mostly tasks end in about the order they came in, and the floor says it all.
            seqs = [seq for seq in self._acks if seq >= floor]
            self._send(wire.AckOutcomes(floor, seqs[: wire.IDS_MAX]))
            for start in range(wire.IDS_MAX, len(seqs), wire.IDS_MAX):
                self._send(wire.AckOutcomes(floor, seqs[start : start + wire.IDS_MAX]))
        self._acks.clear()
        self._acked_bytes, self._ack_at = 0, None

    # Moving on to another manager.

    def _want_move(self, now: int) -> None:
        if self.link.addresses < 2 or self._move_at is not None:
            return
        self._move_at = now + LAST_WORDS
        if self._moves >= self.link.addresses and self._moved_at is not None:
            self._move_at = max(self._move_at, self._moved_at + MOVE_EVERY)

    def _move(self, now: int) -> None:
        self._flush_acks()
        self._send(wire.Goodbye())
        farewell = list(self.link.out)
        self._down(now, "the manager has no workers")
        self.link.move(now)
        self.link.out.extend(farewell)
        self._moves += 1
        self._moved_at = now

    # Where a task is.

    def _ready(self, seq: int, task: Task) -> None:
        task.state = WAITING
        if task.may_have_run:
            self._recovering[seq] = None
            return
        waiting = self._waiting[task.terms.priority]
        waiting[seq] = None
        if not self.window.probing:
            # It is older than the others. When there is room for one alone, others try first, so
            # that no task pays for all with its retries.
            waiting.move_to_end(seq, last=False)

    def _unsend(self, seq: int, task: Task, state: int) -> None:
        task.state = state
        self.window.remove(task.terms.priority)
        self._watch(seq, task)

    def _unqueue(self, seq: int, task: Task) -> None:
        if self._recovering:
            self._recovering.pop(seq, None)
        self._waiting[task.terms.priority].pop(seq, None)

    def _end_refused(
        self, seq: int, task: Task, reason: wire.Reason, similar: List[str]
    ) -> None:
        if task.may_have_run:
            # Rejected would promise that it never ran.
            self._end(seq, wire.Ending.LOST, [])
        else:
            rejection = wire.Rejection(reason, task.retries, similar)
            self._end(seq, wire.Ending.REJECTED, rejection)

    def _end(self, seq: int, ending: wire.Ending, value: Any) -> None:
        self._drop(seq, self.tasks[seq])
        self._results.append(Result(seq, ending, value, 0, b""))

    def _drop(self, seq: int, task: Task) -> None:
        del self.tasks[seq]
        self.held_bytes -= len(task.payload)
        terms = task.terms
        if self._doubts.any:
            self._doubts.ended(terms.name)
        if task.state == SENT:
            self.window.remove(terms.priority)
        else:
            self._unqueue(seq, task)
