"""`concurrent.futures` on a cluster."""

from __future__ import annotations

import atexit
import concurrent.futures
import itertools
import os
import sys
import threading
import time
import weakref
from functools import partial
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    Optional,
    Sequence,
    Set,
    Union,
    overload,
)

from ._calls import ALLOWS, Address, Function, Prepared, Preparer, make_task
from ._flow import End, Flow, at_hand
from ._session import Task
from .client import Client, Future, Mapped
from .errors import NotConnected

if TYPE_CHECKING:
    from ._types import P, T

__all__ = ["Executor"]

# Between two looks at whether the workers run shipped code, while there are none, in seconds.
_LOOK_AGAIN = 1.0
# How long the manager may take to answer.
_ANSWER = 10.0

_open: "weakref.WeakSet[Executor]" = weakref.WeakSet()


class Executor(concurrent.futures.Executor):
    """A `concurrent.futures.Executor` whose workers are those of an Argon cluster.

        with argon.Executor("manager:8000") as executor:
            for result in executor.map(module.function, range(1000)):
                print(result)

    Takes what `Client` takes, its `key` and the options of its tasks included (`priority`, ...), or a
    `client` to share, which is then not closed at shutdown. The differences to other executors:

    - `submit` and `map` wait while `max_pending` tasks have no outcome, instead of queueing for ever.
    - A future is `running` once its task is with the manager, and can be cancelled all the same.
    - Where all Python workers run shipped code (`argon worker --allow-eval`), calls are pickled, as by
      process pools. Elsewhere arguments and results are JSON or bytes, and whatever those would change
      (a tuple, a subclass, a number of numpy) is a TypeError; what workers cannot import by its name
      does not run there. `ship=True` and `ship=False` decide this without asking the manager.
    """

    def __init__(
        self,
        addresses: Union[Address, Sequence[Address]] = "127.0.0.1:8000",
        *,
        client: Optional[Client] = None,
        ship: Optional[bool] = None,
        **options: Any,
    ) -> None:
        for name in ("max_workers", "initializer", "initargs", "mp_context"):
            if name in options:
                raise TypeError(
                    f"{name} is for pools of this process; an argon.Executor uses the workers of a "
                    "cluster: argon worker --workers N, with what its program loads at its start"
                )
        if isinstance(addresses, int):
            raise TypeError(
                f"argon.Executor({addresses}): the first argument is the address of a manager, and "
                "how many tasks run at once is up to its workers"
            )
        self._own = client is None
        if client is None:
            self._client = Client(addresses, **options)
            self._fields = self._client._defaults
        else:
            self._client = client
            self._fields = client.options.changed(options).fields()
        if ship is None and self._client._prepare.ship:
            ship = True
        self._preparer = None if ship is None else Preparer(ship, strict=True)
        self._by_name = Preparer(False, strict=True)
        self._looked: Optional[float] = None
        self._lock = threading.Lock()
        self._empty = threading.Condition(self._lock)
        self._futures: Set[Future[Any]] = set()
        # Submissions that wait for room; their futures are not in the set yet.
        self._entering = 0
        #: Tasks of maps that have no outcome, and the maps, as long as anybody has them.
        self._mapped = 0
        self._maps: "weakref.WeakSet[_Mapped]" = weakref.WeakSet()
        self._shut = False
        self._pid = os.getpid()
        _open.add(self)

    @property
    def client(self) -> Client:
        """The client that does the work, for instance for its `status`."""
        return self._client

    @overload
    def submit(
        self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Future[T]: ...
    @overload
    def submit(self, fn: str, /, *args: Any, **kwargs: Any) -> Future[Any]: ...
    def submit(self, fn: Function, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Schedules `fn(*args, **kwargs)` and returns its future. `fn` may be a task's name."""
        prepared = self._prepare(fn)
        return self._send(make_task(prepared, args, kwargs, self._fields), prepared)

    def _prepare(self, fn: Function) -> Prepared:
        if self._shut:
            raise RuntimeError("cannot schedule new futures after shutdown")
        if self._preparer is None and not isinstance(fn, str):
            ships = self._workers_take_code()
            if ships is not None:
                self._preparer = Preparer(ships, strict=True)
        return (self._preparer or self._by_name)(fn)

    def _workers_take_code(self) -> Optional[bool]:
        """Whether all Python workers run shipped code; None while there are none."""
        now = time.monotonic()
        if self._looked is not None and now - self._looked < _LOOK_AGAIN:
            return None
        self._looked = now
        try:
            groups = self._client.status(_ANSWER).groups
        except NotConnected:
            return None  # The task will say so.
        python = [
            group for group in groups if any(name.startswith("python:") for name in group.names)
        ]
        return all(ALLOWS in group.names for group in python) if python else None

    def _enter(self) -> None:
        with self._lock:
            if self._shut:
                raise RuntimeError("cannot schedule new futures after shutdown")
            self._entering += 1

    @property
    def _idle(self) -> bool:
        return not (self._futures or self._entering or self._mapped)

    def _send(self, task: Task, prepared: Any) -> Future[Any]:
        self._enter()
        future = None
        try:
            future = self._client._send(task, prepared)
        finally:
            with self._lock:
                self._entering -= 1
                if future is not None:
                    self._futures.add(future)
                elif self._idle:
                    self._empty.notify_all()
        # After it is in the set: a future that has ended calls back at once.
        future.add_done_callback(self._ended)
        return future

    def _ended(self, future: Any) -> None:
        with self._lock:
            self._futures.discard(future)
        self._leave_if_idle()

    def _leave_if_idle(self) -> None:
        with self._lock:
            last = self._shut and self._idle
            if last:
                self._empty.notify_all()
        if last and self._own:
            # The last one after shutdown(wait=False): nobody else will close the client.
            self._client.close()

    @overload
    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: Optional[float] = None,
        chunksize: int = 1,
    ) -> Iterator[T]: ...
    @overload
    def map(
        self,
        fn: str,
        *iterables: Iterable[Any],
        timeout: Optional[float] = None,
        chunksize: int = 1,
    ) -> Iterator[Any]: ...
    def map(
        self,
        fn: Function,
        *iterables: Iterable[Any],
        timeout: Optional[float] = None,
        chunksize: int = 1,
    ) -> Iterator[Any]:
        """Like `map(fn, *iterables)`, many at a time; results in order.

        The iterables are taken at once, as by other executors, and this waits while `max_pending`
        tasks have no outcome (`Client.map` is lazy instead). `timeout` counts from this call;
        concurrent.futures.TimeoutError is raised when a result is not there by then. With
        `chunksize`, so many calls make one task: worth it for functions of microseconds. One that
        raises ends its whole chunk.
        """
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        until = None if timeout is None else timeout + time.monotonic()
        prepared = self._prepare(fn)
        calls = zip(*iterables)
        if chunksize == 1:
            tasks = prepared.tasks(calls, self._fields)
        else:
            tasks = prepared.chunks(calls, chunksize, self._fields)
        flow = Flow(tasks, sys.maxsize, True, at_hand(iterables))
        mapped = _Mapped(self, flow, prepared.shipped is not None)
        with self._lock:
            self._maps.add(mapped)
        try:
            mapped.submit()
        except BaseException:
            mapped.cancel(mapped.pending())
            raise
        results = mapped.results(until)
        return results if chunksize == 1 else itertools.chain.from_iterable(results)

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        # One Ctrl-C is enough: nobody wants what is under way any more.
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            for cancel in self._pending().values():
                cancel()
        self.shutdown(wait=True)

    def _pending(self) -> Dict[int, Callable[[], Any]]:
        """What cancels each task that has no outcome."""
        with self._lock:
            found: Dict[int, Callable[[], Any]] = {each.seq: each.cancel for each in self._futures}
            maps = list(self._maps)
        for each in maps:
            found.update((seq, partial(each.cancel, [seq])) for seq in each.pending())
        return found

    def _cancel_unstarted(self, pending: Dict[int, Callable[[], Any]]) -> None:
        engine = self._client._engine
        for seq, cancel in pending.items():
            if not engine.sent(seq):
                cancel()
        sent = [seq for seq in pending if seq in engine.sinks]
        if not sent:
            return
        try:
            status = self._client.status(_ANSWER)
            if status.manager.workers and not status.workers:
                return  # A key without the role `observe` is not told what runs.
            slots = {row.name: row.capacity for row in status.workers}
            rows = sorted(self._client.running(_ANSWER), key=lambda row: -row.age)
        except NotConnected:
            return  # They may run; nobody can say.
        begun = set()
        for row in rows:
            if slots.get(row.worker, 0) > 0:
                slots[row.worker] -= 1
                begun.add(row.task)
        peer = engine.session.link.peer
        for seq in sent:
            if (peer, seq) not in begun:
                pending[seq]()

    @property
    def _max_workers(self) -> int:
        """How many tasks the cluster runs at once: what libraries ask executors for."""
        return max(1, self._client.status().manager.capacity)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Takes nothing more. With `wait`, returns when all futures have ended.

        `cancel_futures` cancels those that no process can have begun: all but the oldest at each worker,
        as many as it runs at once. With a key, that takes one with the role `observe` too; without it
        only what was not sent yet is cancelled.
        """
        with self._lock:
            self._shut = True
        pending = self._pending() if cancel_futures else {}
        if pending:
            self._cancel_unstarted(pending)
        with self._lock:
            idle = self._idle
            if wait:
                while not self._idle:
                    self._empty.wait()
                idle = True
        if idle and self._own:
            self._client.close()


class _Mapped(Mapped):
    """A map of an executor, which counts the tasks that have not ended."""

    def __init__(self, executor: Executor, flow: Flow, shipped: bool) -> None:
        super().__init__(executor._client, flow, shipped)
        self._executor = executor

    def send(self, lump: List[Task]) -> None:
        executor = self._executor
        executor._enter()
        try:
            super().send(lump)
        finally:
            with executor._lock:
                executor._entering -= 1
            executor._leave_if_idle()

    def begun(self, seqs: range) -> None:
        super().begun(seqs)
        with self._executor._lock:
            self._executor._mapped += len(seqs)

    def deliver(self, ends: List[End]) -> None:
        super().deliver(ends)
        with self._executor._lock:
            self._executor._mapped -= len(ends)
        self._executor._leave_if_idle()


def _finish_all() -> None:
    """What was submitted is done before the interpreter ends, as with other executors."""
    for executor in list(_open):
        # A child that was forked does not wait for its parent's tasks.
        if executor._pid == os.getpid():
            executor.shutdown(wait=True)


atexit.register(_finish_all)
