"""`concurrent.futures` on a cluster."""

from __future__ import annotations

import atexit
import concurrent.futures
import itertools
import os
import threading
import time
import weakref
from typing import Any, Iterable, Iterator, List, Optional, Sequence, Set, Union

from ._calls import Address, Function
from ._session import Task
from .client import Client, Future

__all__ = ["Executor"]

_open: "weakref.WeakSet[Executor]" = weakref.WeakSet()


class Executor(concurrent.futures.Executor):
    """A `concurrent.futures.Executor` whose workers are those of an Argon cluster.

        with argon.Executor("manager:8000") as executor:
            for result in executor.map(module.function, range(1000)):
                print(result)

    Takes what `Client` takes, the options of its tasks included (`priority`, `deadline`, ...), or a
    `client` to share, which is then not closed at shutdown. The differences to other executors:

    - `submit` and `map` wait while `max_pending` tasks have no outcome, instead of queueing for ever.
    - A future is `running` once its task is with the manager, and can be cancelled all the same.
    - What cannot be imported by the workers is shipped, and needs workers with `--allow-eval`; other
      arguments and results are JSON or bytes, unless `ship=True`. See `Client`.
    """

    def __init__(
        self,
        addresses: Union[Address, Sequence[Address]] = "127.0.0.1:8000",
        *,
        client: Optional[Client] = None,
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
        self._lock = threading.Lock()
        self._empty = threading.Condition(self._lock)
        self._futures: Set[Future] = set()
        # Submissions that wait for room; their futures are not in the set yet.
        self._entering = 0
        self._shut = False
        self._pid = os.getpid()
        _open.add(self)

    @property
    def client(self) -> Client:
        """The client that does the work, for instance for its `status`."""
        return self._client

    def submit(self, fn: Function, /, *args: Any, **kwargs: Any) -> Future:
        """Schedules `fn(*args, **kwargs)` and returns its future. `fn` may be a task's name."""
        prepared = self._client._prepare(fn)
        content, payload = prepared.payload(args, kwargs)
        task = Task(prepared.name, content, payload, **self._fields)
        return self._send(task, prepared)

    def _send(self, task: Task, prepared: Any) -> Future:
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
        prepared = self._client._prepare(fn)
        futures: List[Future] = []
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

    @property
    def _max_workers(self) -> int:
        """How many tasks the cluster runs at once: what libraries ask executors for."""
        return max(1, self._client.status().manager.capacity)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Takes nothing more. With `wait`, returns when all futures have ended.

        `cancel_futures` cancels those that are not running, that is, not with the manager yet.
        """
        with self._lock:
            self._shut = True
            pending = list(self._futures) if cancel_futures else []
        for future in pending:
            if not future.running():
                future.cancel()
        with self._lock:
            idle = not self._futures and not self._entering
            if wait:
                while self._futures or self._entering:
                    self._empty.wait()
                idle = True
        if idle and self._own:
            self._client.close()


def _results(futures: List[Future], until: Optional[float]) -> Iterator[Any]:
    futures.reverse()
    try:
        while futures:
            # No reference is kept to what was handed on.
            future = futures[-1]
            value = future.result(None if until is None else until - time.monotonic())
            futures.pop()
            del future
            yield value
            del value
    finally:
        for future in futures:
            future.cancel()


def _finish_all() -> None:
    """What was submitted is done before the interpreter ends, as with other executors."""
    for executor in list(_open):
        # A child that was forked does not wait for its parent's tasks.
        if executor._pid == os.getpid():
            executor.shutdown(wait=True)


atexit.register(_finish_all)
