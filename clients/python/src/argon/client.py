"""The blocking client."""

from __future__ import annotations

import concurrent.futures
import queue
import sys
import time
import weakref
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    Optional,
    Sequence,
    TypeVar,
    Union,
    cast,
    overload,
)

from . import _wire as wire
from ._calls import addresses as _addresses
from ._calls import (
    Address,
    Function,
    Options,
    Prepared,
    Preparer,
    make_task,
    own_name,
)
from ._engine import Engine
from ._flow import End, Flow, at_hand
from ._keys import KeyFile, keys_of
from ._session import Task
from ._status import PAGES_MAX, RunningTask, Status, running_of, status_of
from .errors import NotConnected

if TYPE_CHECKING:
    from ._types import T, TaskOptions, Ts, Unpack

__all__ = ["Client", "Future"]

_T = TypeVar("_T")

MAX_PENDING = 10_000
MAX_PENDING_BYTES = 256 << 20
CONNECT_TIMEOUT = 10.0


class Future(concurrent.futures.Future[_T]):
    """A `concurrent.futures.Future` of a task, with its exceptions, callbacks, `wait` and all.

    `running` is true once the task is with the manager. Unlike a thread, a task can be cancelled
    while it runs: `cancel` ends the future at once, and the task where it is.
    """

    def __init__(self, engine: Engine, shipped: bool) -> None:
        super().__init__()
        self._engine = engine
        self.shipped = shipped
        self.seq = -1

    def running(self) -> bool:
        """Whether the task is with the manager, and has no outcome."""
        return not self.done() and self._engine.sent(self.seq)

    def cancel(self) -> bool:
        """Cancels the task, also if it runs: its process is killed. The future is cancelled at once.

        Returns False if it had ended before.
        """
        if not self._engine.withdraw([self.seq]):
            return self.cancelled()
        super().cancel()
        # Nobody else will: what `wait` and `as_completed` listen to.
        self.set_running_or_notify_cancel()
        return True

    def request_cancel(self) -> None:
        """Asks for the end of the task, and lets the future tell what came of it: `Cancelled`, with
        whether it may have run, or the result, if that was faster."""
        if not self.done():
            self._engine.cancel([self.seq])

    def begun(self, seqs: range) -> None:
        """For the client: it is taken in."""
        self.seq = seqs[0]

    def deliver(self, ends: List[End]) -> None:
        """For the client: ends it."""
        ((_, (ok, value)),) = ends
        try:
            if ok:
                self.set_result(value)
            else:
                self.set_exception(value)
        except SystemExit:
            # A callback that ends a program ends only itself: others wait for this thread.
            sys.excepthook(*sys.exc_info())


class _Inbox:
    """A place for what ends, from one thread to another."""

    def __init__(self) -> None:
        self._queue: "queue.SimpleQueue[List[End]]" = queue.SimpleQueue()

    def deliver(self, ends: List[End]) -> None:
        self._queue.put(ends)

    def wait(self, seconds: Optional[float]) -> List[End]:
        """What came; raises `queue.Empty` if nothing does in time."""
        return self._queue.get(timeout=seconds)


class Mapped(_Inbox):
    """Drives one `Flow`: all its tasks come here, and one thread hands on their results."""

    def __init__(self, client: "Client", flow: Flow, shipped: bool) -> None:
        super().__init__()
        # Who has the map may have nothing else of the client, which leaves when nobody has it.
        self._client = client
        self._engine = client._engine
        self._flow = flow
        self.shipped = shipped

    def begun(self, seqs: range) -> None:
        """For the client: tasks are taken in."""
        self._flow.begun(seqs)

    def submit(self) -> None:
        """Submits what is to be submitted now."""
        while True:
            lump = self._flow.lump()
            if not lump:
                return
            self.send(lump)

    def send(self, lump: List[Task]) -> None:
        """Submits these."""
        self._engine.submit(lump, self)

    def results(self, until: Optional[float] = None) -> Iterator[Any]:
        """All results, or the first exception. Whatever ends it cancels the others."""
        flow = self._flow
        try:
            while True:
                self.submit()
                while flow.waits:
                    left = None if until is None else max(0.0, until - time.monotonic())
                    try:
                        flow.ended(self.wait(left))
                    except queue.Empty:
                        raise concurrent.futures.TimeoutError() from None
                if flow.is_over:
                    return
                yield from flow.ready()
        finally:
            self.cancel(self.pending())

    def pending(self) -> List[int]:
        """The tasks that have no outcome, and some that have one by now."""
        return list(self._flow.open)

    def cancel(self, seqs: Iterable[int]) -> None:
        """Cancels tasks; their results are the exception of that."""
        cancelled = concurrent.futures.CancelledError
        gone = self._engine.withdraw(seqs)
        if gone:
            self.deliver([(seq, (False, cancelled())) for seq in gone])


class Client:
    """Submits tasks to a manager and hands on their outcomes; safe to use from several threads.

    `addresses` is "host:port", or several of them (a list, or with commas between): it uses the first
    that answers, and fails over. It connects at the first use and reconnects by itself; callers
    notice only the delay. If no manager lets it in within `connect_timeout` seconds of the first use
    (None: wait for ever), all ends as `NotConnected`.

    At most `max_pending` tasks and `max_pending_bytes` bytes of arguments are held without an
    outcome; `submit` then waits until there is room (not when called back from a future, where
    waiting would be for ever).

    What is to be called is a function or the name of a task. A function that can be imported goes by
    its name, `python:module:function`, with its arguments as JSON (tuples become lists) or as one
    argument of bytes. Any other (a lambda, a closure, one of `__main__`) is shipped, by cloudpickle
    if that is installed; only workers that were started with `--allow-eval` run it, and elsewhere it
    ends as `EvalRefused`. With `ship=True` all are shipped, so that arguments and results may be
    whatever can be pickled.

    All `options` are those of `Options` and hold for each task that does not say otherwise:
    `priority`, `deadline`, `time_limit`, `max_attempts`, `at_most_once`, `max_wait`, `retries`.

    `key` is the path of a key file (`argon keygen`), or several: the first is shown to the manager, and
    a manager whose key comes from the authority of any of them is trusted. Without it, the environment's
    ARGON_KEY names them, with commas between. With a key, connections are TLS; an empty list is none,
    whatever the environment says. The files are read again for each new connection.
    """

    def __init__(
        self,
        addresses: Union[Address, Sequence[Address]] = "127.0.0.1:8000",
        *,
        key: Union[None, KeyFile, Sequence[KeyFile]] = None,
        name: Optional[str] = None,
        connect_timeout: Optional[float] = CONNECT_TIMEOUT,
        max_pending: int = MAX_PENDING,
        max_pending_bytes: int = MAX_PENDING_BYTES,
        ship: bool = False,
        **options: Unpack[TaskOptions],
    ) -> None:
        if max_pending < 1:
            raise ValueError(f"max_pending is {max_pending}, but must be at least 1")
        #: What holds for tasks that do not say otherwise.
        self.options = Options().changed(options)
        self._defaults = self.options.fields()
        self._prepare = Preparer(ship)
        given = _addresses(addresses)
        called = own_name() if name is None else name
        wire.name_bytes(called)
        self._engine = Engine(
            given, called, connect_timeout, max_pending, max_pending_bytes, keys_of(key)
        )
        weakref.finalize(self, Engine.orphan, self._engine).atexit = False

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Leaves the manager. Tasks without an outcome end as `Cancelled`, here and there."""
        self._engine.close()

    @overload
    def submit(
        self,
        function: Callable[[Unpack[Ts]], T],
        *args: Unpack[Ts],
        kwargs: None = None,
        **options: Unpack[TaskOptions],
    ) -> Future[T]: ...
    @overload
    def submit(
        self,
        function: Callable[..., T],
        *args: Any,
        kwargs: Mapping[str, Any],
        **options: Unpack[TaskOptions],
    ) -> Future[T]: ...
    @overload
    def submit(
        self,
        function: str,
        *args: Any,
        kwargs: Optional[Mapping[str, Any]] = None,
        **options: Unpack[TaskOptions],
    ) -> Future[Any]: ...
    def submit(  # type: ignore[misc]
        self,
        function: Function,
        *args: Any,
        kwargs: Optional[Mapping[str, Any]] = None,
        **options: Any,
    ) -> Future[Any]:
        """Sends a call off and returns its `Future`.

        Raises TypeError or ValueError if the call cannot be sent as it is, `TooLarge` if it is too
        large, and `NotConnected` if no manager let this client in.
        """
        return self._submit(self._prepare(function), args, kwargs, self._fields(options))

    @overload
    def call(
        self,
        function: Callable[[Unpack[Ts]], T],
        *args: Unpack[Ts],
        kwargs: None = None,
        **options: Unpack[TaskOptions],
    ) -> T: ...
    @overload
    def call(
        self,
        function: Callable[..., T],
        *args: Any,
        kwargs: Mapping[str, Any],
        **options: Unpack[TaskOptions],
    ) -> T: ...
    @overload
    def call(
        self,
        function: str,
        *args: Any,
        kwargs: Optional[Mapping[str, Any]] = None,
        **options: Unpack[TaskOptions],
    ) -> Any: ...
    def call(  # type: ignore[misc]
        self,
        function: Function,
        *args: Any,
        kwargs: Optional[Mapping[str, Any]] = None,
        **options: Any,
    ) -> Any:
        """Calls a function and waits for its value, or raises what it raised.

        If waiting is interrupted (by KeyboardInterrupt, say), the task is cancelled.
        """
        future = self._submit(self._prepare(function), args, kwargs, self._fields(options))
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    @overload
    def map(
        self,
        function: Callable[..., T],
        *iterables: Iterable[Any],
        ordered: bool = True,
        in_flight: int = 1_000,
        **options: Unpack[TaskOptions],
    ) -> Iterator[T]: ...
    @overload
    def map(
        self,
        function: str,
        *iterables: Iterable[Any],
        ordered: bool = True,
        in_flight: int = 1_000,
        **options: Unpack[TaskOptions],
    ) -> Iterator[Any]: ...
    def map(
        self,
        function: Function,
        *iterables: Iterable[Any],
        ordered: bool = True,
        in_flight: int = 1_000,
        **options: Any,
    ) -> Iterator[Any]:
        """Calls a function for each item of the iterables, as `map` does, many at a time.

        Lazy, with bounded memory: takes items only as results are taken, so that at most `in_flight`
        have been begun and not been handed on. In the order of the items, or, with `ordered=False`,
        as they end. The first exception ends it; it and leaving the loop early cancel the others.
        """
        if in_flight < 1:
            raise ValueError(f"in_flight is {in_flight}, but must be at least 1")
        prepared, fields = self._prepare(function), self._fields(options)
        tasks = prepared.tasks(zip(*iterables), fields)
        flow = Flow(tasks, in_flight, ordered, at_hand(iterables))
        return Mapped(self, flow, prepared.shipped is not None).results()

    def status(self, timeout: Optional[float] = 10.0) -> Status:
        """What the manager says: what is queued, running and waiting, by worker and client.

        With a key that does not have the role `observe`, there are only the sums and the groups.
        """
        pages = self._pages(wire.StatusQuery, timeout)
        return status_of([cast(wire.Status, page) for page in pages])

    def running(self, timeout: Optional[float] = 10.0) -> List[RunningTask]:
        """Which task is with which worker; nothing with a key without the role `observe`."""
        pages = self._pages(wire.RunningQuery, timeout)
        return running_of([cast(wire.Running, page) for page in pages])

    def _fields(self, options: Mapping[str, Any]) -> Dict[str, Any]:
        return self.options.changed(options).fields() if options else self._defaults

    def _submit(
        self,
        prepared: Prepared,
        args: Sequence[Any],
        kwargs: Optional[Mapping[str, Any]],
        fields: Dict[str, Any],
    ) -> Future[Any]:
        return self._send(make_task(prepared, args, kwargs, fields), prepared)

    def _send(self, task: Task, prepared: Prepared) -> Future[Any]:
        future: Future[Any] = Future(self._engine, prepared.shipped is not None)
        self._engine.submit([task], future)
        return future

    def _pages(self, query: Callable[[int], Any], timeout: Optional[float]) -> List[Any]:
        until = None if timeout is None else time.monotonic() + timeout
        pages: List[Any] = []
        more = True
        while more:
            reply = _Inbox()
            question = self._engine.ask(query(len(pages)), reply)
            left = None if until is None else max(0.0, until - time.monotonic())
            try:
                ((_, (ok, value)),) = reply.wait(left)
            except queue.Empty:
                self._engine.forget(question)
                problem = self._engine.problem()
                raise NotConnected(
                    f"no answer within {timeout} seconds" + (f": {problem}" if problem else "")
                ) from None
            if not ok:
                raise value
            pages.append(value)
            more = pages[-1].more and len(pages) < PAGES_MAX
        return pages
