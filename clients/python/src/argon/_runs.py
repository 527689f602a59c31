"""Runs: messages of the native protocol that speak of many tasks at once.

Nearly all tasks go and end in them, so few operations of Python are done for each. docs/protocol.md
has the frames.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Container, List, Optional, Sequence, Tuple

from . import _wire as wire
from ._link import Link

if TYPE_CHECKING:
    from ._session import Task, Terms

#: Most tasks in a run: beyond a few dozen, more of them save nothing.
TASKS_MAX = 1_024
#: Most bytes of arguments in a run that is sent. The manager copies them, which it does not do with
#: long ones that come alone.
BYTES_MAX = 30 * 1_024

_TAGS = {make: tag for tag, (make, _) in wire.NATIVE.items()}
_SUBMIT, _SUBMIT_RUN = _TAGS[wire.Submit], _TAGS[wire.SubmitRun]
_SUBMIT_HEAD = struct.Struct("<IBIQBBBBQQQB")
# Without the length of the frame, what the header and the content's byte have besides the name.
_SUBMIT_REST = _SUBMIT_HEAD.size - 4
_OUTCOME_RUN_HEAD = struct.Struct("<IBIQQBB")
_COUNT = struct.Struct("<Q")
_END = struct.Struct("<HII")


class Runs:
    """Submissions on their way to the link: those in a row that are alike go as one message.

    Nothing waits here. Whoever submits says `flush` before it sends something else, and at the end.
    """

    __slots__ = ("_link", "_first", "_next", "_terms", "_may_have_run", "_left", "_payloads", "_bytes")

    def __init__(self, link: Link) -> None:
        self._link = link
        self._first = 0
        self._next = -1
        self._terms: Optional["Terms"] = None
        self._may_have_run = False
        self._left = 0
        self._payloads: List[bytes] = []
        self._bytes = 0

    def submit(self, seq: int, task: "Task", left: int) -> None:
        """Queues a task that has `left` nanoseconds until its deadline."""
        payload = task.payload
        size = self._bytes + len(payload)
        if (
            seq == self._next
            and size <= BYTES_MAX
            and (task.terms is self._terms or task.terms == self._terms)
            and left == self._left
            and task.may_have_run == self._may_have_run
            and len(self._payloads) < TASKS_MAX
            and self._link.has_runs
        ):
            self._payloads.append(payload)
            self._next += 1
            self._bytes = size
            return
        self.flush()
        self._first, self._next = seq, seq + 1
        self._terms, self._may_have_run, self._left = task.terms, task.may_have_run, left
        self._payloads.append(payload)
        self._bytes = len(payload)

    def flush(self) -> None:
        """Hands what is queued to the link."""
        payloads, terms = self._payloads, self._terms
        if not payloads or terms is None:
            return
        tag, sizes = _SUBMIT, b""
        if len(payloads) > 1:
            tag = _SUBMIT_RUN
            sizes = struct.pack(f"<Q{len(payloads)}I", len(payloads), *map(len, payloads))
        head = _SUBMIT_HEAD.pack(
            _SUBMIT_REST + len(terms.name) + len(sizes) + self._bytes,
            terms.content,
            tag,
            self._first,
            terms.priority,
            terms.max_attempts,
            terms.at_most_once,
            self._may_have_run,
            self._left,
            wire.NO_LIMIT if terms.max_wait is None else terms.max_wait,
            wire.NO_LIMIT if terms.time_limit is None else terms.time_limit,
            len(terms.name),
        )
        self._link.send(b"".join((head, terms.name, sizes, *payloads)))
        self._next = -1
        payloads.clear()


def read_outcomes(
    data: bytes, at: int, stop: int, workers: Container[bytes]
) -> Tuple[int, bytes, List[int], Sequence[int], int]:
    """Reads the `OutcomeRun` that is `data[at:stop]`: the content of the results, the worker, the
    tasks, how long the result of each is, and where the first begins. Names of workers that are in
    `workers` are known to be valid.

    Raises `WireError` if it makes no sense.
    """
    if stop - at < _OUTCOME_RUN_HEAD.size:
        raise wire.WireError("the header is cut short")
    _, content, _, first, _, _, length = _OUTCOME_RUN_HEAD.unpack_from(data, at)
    names_end = at + _OUTCOME_RUN_HEAD.size + length
    worker = data[names_end - length : names_end]
    if worker not in workers or names_end + _COUNT.size > stop:
        # It is the first of this worker, or is cut short: whatever is wrong with it is found here.
        wire.decode(wire.NATIVE, data, at, stop)
    (count,) = _COUNT.unpack_from(data, names_end)
    begin = names_end + _COUNT.size
    results = begin + _END.size * count
    if not 2 <= count <= TASKS_MAX or results > stop:
        raise wire.WireError(f"a run of {count}")
    offsets, _, sizes = zip(*_END.iter_unpack(data[begin:results]))
    if sum(sizes) != stop - results:
        raise wire.WireError("a run with results of other sizes")
    if first + max(offsets) > wire.NO_LIMIT:
        raise wire.WireError("a run with numbers that there are not")
    return content, worker, [first + offset for offset in offsets], sizes, results


def read_rejects(run: wire.RejectRun) -> List[wire.Reject]:
    """What a `RejectRun` says of each task.

    Raises `WireError` if it makes no sense.
    """
    if not 2 <= run.size <= TASKS_MAX:
        raise wire.WireError(f"a run of {run.size}")
    last = run.first + run.size - 1
    if last > wire.NO_LIMIT:
        raise wire.WireError("a run with numbers that there are not")
    return [
        wire.Reject(seq, run.reason, run.retry_after, run.may_have_run, [])
        for seq in range(run.first, last + 1)
    ]
