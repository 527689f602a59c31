"""Maps: many tasks of one call, without an object that waits for each.

`Flow` decides which tasks are begun, and whose turn it is, for all clients. It waits for nothing:
whoever drives it submits what it gives and tells it what has ended.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Deque, Dict, Iterable, Iterator, List, Mapping, Set, Tuple

from ._calls import read, value_of
from ._session import Answer, Completions, Task

#: Whether a task completed, and its value or its exception.
Outcome = Tuple[bool, Any]
End = Tuple[int, Outcome]

#: What is taken from these takes no time and asks nobody, so that some can be taken at once.
_AT_HAND = frozenset((list, tuple, range, str, bytes, bytearray, dict, set, frozenset))
#: Most tasks that are submitted at once: beyond some dozens, more of them save nothing. They are at
#: most a part of what is in flight, so that there is always work while results are handed on.
LUMP_MAX = 64
_LUMP_PART = 16
#: Bytes of arguments after which no more tasks are made before these are submitted.
_LUMP_BYTES = 64 << 10


def at_hand(iterables: Iterable[Any]) -> bool:
    """Whether several items may be taken at once: with others, the first is not to wait for the
    second."""
    return all(type(each) in _AT_HAND for each in iterables)


class Flow:
    """The tasks of one map: to be begun, begun, and ended but not handed on."""

    __slots__ = ("open", "_tasks", "_most", "_lump", "_ordered", "_held", "_turns", "_done", "_over")

    def __init__(self, tasks: Iterator[Task], most: int, ordered: bool, lumps: bool) -> None:
        #: Those that were submitted and have no outcome yet.
        self.open: Set[int] = set()
        self._tasks = tasks
        self._most = most
        self._lump = max(1, min(LUMP_MAX, most // _LUMP_PART)) if lumps else 1
        self._ordered = ordered
        # How many are begun and not handed on.
        self._held = 0
        self._turns: Deque[int] = deque()
        self._done: Dict[int, Outcome] = {}
        # There are no more tasks.
        self._over = False

    def lump(self) -> List[Task]:
        """Tasks to submit now; none if results are to be handed on first, or there are no more."""
        lump: List[Task] = []
        if self._over or self._held + self._lump > self._most:
            return lump
        size = 0
        for task in self._tasks:
            lump.append(task)
            size += len(task.payload)
            if len(lump) >= self._lump or size >= _LUMP_BYTES:
                break
        else:
            self._over = True
        self._held += len(lump)
        return lump

    def begun(self, seqs: range) -> None:
        """Tasks were submitted, in the order of the items."""
        self.open.update(seqs)
        if self._ordered:
            self._turns.extend(seqs)

    def ended(self, ends: List[End]) -> None:
        """Tasks have ended."""
        self._done.update(ends)
        seqs = [seq for seq, _ in ends]
        self.open.difference_update(seqs)
        if not self._ordered:
            self._turns.extend(seqs)

    @property
    def waits(self) -> bool:
        """Nothing can be handed on before something more ends."""
        return self._held > 0 and not (self._turns and self._turns[0] in self._done)

    @property
    def is_over(self) -> bool:
        """All is handed on."""
        return self._over and not self._held

    def ready(self) -> Iterator[Any]:
        """Hands on what there is, or raises it, until there are tasks to submit."""
        turns, done = self._turns, self._done
        while turns and turns[0] in done:
            self._held -= 1
            # Nothing here refers to what was handed on.
            yield _value(*done.pop(turns.popleft()))
            if not self._over and self._held + self._lump <= self._most:
                return


def _value(ok: bool, value: Any) -> Any:
    if not ok:
        raise value
    return value


def deliver(results: List[Any], sinks: Dict[int, Any], failure: Any = None) -> List[Answer]:
    """Hands ends to whoever waits for them, those of one sink together, and returns the answers.

    A sink has `shipped`, `begun(seqs)` and `deliver(ends)`. If there is a failure, it is what all end
    with.
    """
    shares: Dict[Any, List[End]] = {}
    answers: List[Answer] = []
    last, share = None, []
    for result in results:
        if isinstance(result, Answer):
            answers.append(result)
            continue
        if isinstance(result, Completions):
            content, seqs, payloads = result
        else:
            content, seqs, payloads = result.content, [result.seq], [result.payload]
        for seq, payload in zip(seqs, payloads):
            sink = sinks.pop(seq, None)
            if sink is None:
                continue
            if sink is not last:
                last, share = sink, shares.setdefault(sink, [])
            if failure is not None:
                share.append((seq, (False, failure())))
            elif result.__class__ is Completions:
                share.append((seq, read(content, payload, sink.shipped)))
            else:
                share.append((seq, value_of(result, sink.shipped)))
    for sink, share in shares.items():
        sink.deliver(share)
    return answers
