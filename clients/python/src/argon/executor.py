"""`concurrent.futures` on a cluster."""

from __future__ import annotations

import atexit
import concurrent.futures
import itertools
import os
import threading
import time
import weakref
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Iterable,
    Iterator,
    List,
    Optional,
    Sequence,
    Set,
    Union,
    overload,
)

from ._calls import ALLOWS, Address, Function, Prepared, Preparer
from ._session import Task
from .client import Client, Future
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
        content, payload = prepared.payload(args, kwargs)
        task = Task(prepared.name, content, payload, **self._fields)
        return self._send(task, prepared)

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

    def _send(self, task: Task, prepared: Any) -> Future[Any]:
        with self._lock:
            if self._shut:
                raise RuntimeError("cannot schedule new futures after shutdown")
            self._entering += 1
        future = None
        try:
            future = self._client._send(task, prepared)
        finally:
            with self._lock:
                self._entering -= 1
                if future is not None:
                    self._futures.add(future)
                elif not self._entering and not self._futures:
                    self._empty.notify_all()
        # After it is in the set: a future that has ended calls back at once.
        future.add_done_callback(self._ended)
        return future

    def _ended(self, future: Any) -> None:
        with self._lock:
            self._futures.discard(future)
            if self._shut and not self._futures and not self._entering:
                self._empty.notify_all()
                leave = self._own
            else:
                leave = False
        if leave:
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
        futures: List[Future[Any]] = []
        try:
            if chunksize == 1:
                for args in zip(*iterables):
                    content, payload = prepared.payload(args, None)
                    task = Task(prepared.name, content, payload, **self._fields)
                    futures.append(self._send(task, prepared))
            else:
                calls = zip(*iterables)
                while True:
                    chunk = list(itertools.islice(calls, chunksize))
                    if not chunk:
                        break
                    name, content, payload = prepared.chunk(chunk)
                    task = Task(name, content, payload, **self._fields)
                    futures.append(self._send(task, prepared))
        except BaseException:
            for future in futures:
                future.cancel()
            raise
        results = _results(futures, until)
        return results if chunksize == 1 else itertools.chain.from_iterable(results)

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        # One Ctrl-C is enough: nobody wants what is under way any more.
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            with self._lock:
                pending = list(self._futures)
            for future in pending:
                future.cancel()
        self.shutdown(wait=True)

    def _cancel_unstarted(self, pending: List[Future[Any]]) -> None:
        for future in pending:
            if not future.running():
                future.cancel()
        sent = [future for future in pending if not future.done()]
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
        peer = self._client._engine.session.link.peer
        for future in sent:
            if (peer, future.seq) not in begun:
                future.cancel()

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
            pending = list(self._futures) if cancel_futures else []
        if pending:
            self._cancel_unstarted(pending)
        with self._lock:
            idle = not self._futures and not self._entering
            if wait:
                while self._futures or self._entering:
                    self._empty.wait()
                idle = True
        if idle and self._own:
            self._client.close()


def _results(futures: List[Future[Any]], until: Optional[float]) -> Iterator[Any]:
    futures.reverse()
    try:
        while futures:
            # Nothing here refers to what was handed on.
            yield _take(futures, until)
    finally:
        for future in futures:
            future.cancel()


def _take(futures: List[Future[Any]], until: Optional[float]) -> Any:
    future = futures.pop()
    try:
        return future.result(None if until is None else until - time.monotonic())
    except BaseException:
        future.cancel()
        raise


def _finish_all() -> None:
    """What was submitted is done before the interpreter ends, as with other executors."""
    for executor in list(_open):
        # A child that was forked does not wait for its parent's tasks.
        if executor._pid == os.getpid():
            executor.shutdown(wait=True)


atexit.register(_finish_all)
