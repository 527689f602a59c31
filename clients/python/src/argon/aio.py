"""The asyncio client: `argon.aio.Client`.

    async with argon.aio.Client("manager:8000") as client:
        print(await client.call(module.function, 4, 7))

The same state machine as that of the blocking client, driven by the event loop; no threads.
"""

from __future__ import annotations

import asyncio
import collections
import os
import random
import socket
import time
from functools import partial
from typing import (
    TYPE_CHECKING,
    Any,
    AsyncIterator,
    Callable,
    Deque,
    Dict,
    Iterable,
    List,
    Mapping,
    Optional,
    Sequence,
    Set,
    Tuple,
    Union,
    cast,
    overload,
)

from . import _wire as wire
from ._calls import Address, Function, Options, Prepared, Preparer
from ._calls import addresses as _addresses
from ._calls import check_size, how_many, make_task, own_name, own_process
from ._doubts import warn
from ._flow import End, Flow, deliver
from ._keys import KeyFile, Tls, keys_of
from ._session import Session, Task
from ._status import PAGES_MAX, RunningTask, Status, running_of, status_of
from .client import CONNECT_TIMEOUT, MAX_PENDING, MAX_PENDING_BYTES
from .errors import Cancelled, NotConnected

if TYPE_CHECKING:
    from ._types import T, TaskOptions, Ts, Unpack

__all__ = ["Client"]

_now = time.monotonic_ns


class _Connection(asyncio.Protocol):
    """One connection; says what happens to the client. If there are keys, it is open when the manager
    has accepted ours."""

    def __init__(self, client: "Client", number: int, tls: Optional[Tls]) -> None:
        self.client = client
        self.number = number
        #: Done when it is open; has the problem if it did not come to that.
        self.opening: "asyncio.Future[None]" = asyncio.get_running_loop().create_future()
        self._tls = tls
        self._is_open = False
        self.transport: Optional[asyncio.Transport] = None
        self.backlog = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is None:
            self._open()
        else:
            self.transport.write(self._tls.take())

    def _open(self) -> None:
        if not self.opening.done():
            self.opening.set_result(None)
            self._is_open = True
            self.client._opened(self)

    def write(self, data: bytes) -> None:
        """Sends bytes of the protocol."""
        assert self.transport is not None
        self.transport.write(data if self._tls is None else self._tls.send(data))

    def close(self) -> None:
        """Sends what is left, and closes."""
        assert self.transport is not None
        if self._tls is not None:
            self.transport.write(self._tls.farewell())
        self.transport.close()

    def data_received(self, data: bytes) -> None:
        if self._tls is None:
            self.client._received(self, data)
            return
        assert self.transport is not None
        try:
            said = self._tls.receive(data)
        except OSError as error:
            self._fail(str(error))
            self.transport.abort()
            return
        reply = self._tls.take()
        if reply:
            self.transport.write(reply)
        if said:
            self.client._received(self, said)
        elif self._tls.ready:
            self._open()

    def connection_lost(self, error: Optional[Exception]) -> None:
        if self._tls is not None and not self._tls.ready:
            self._fail(self._tls.cut())
        else:
            self._fail(str(error) if error else "the manager closed the connection")

    def _fail(self, problem: str) -> None:
        if self._is_open:
            self.client._lost(self.number, problem)
        elif not self.opening.done():
            self.opening.set_exception(ConnectionError(problem))

    def resume_writing(self) -> None:
        self.client._progressed(self)


class _Single:
    """Whoever waits for one task or answer, by a future."""

    def __init__(self, future: "asyncio.Future[Any]", shipped: bool = False) -> None:
        self.future = future
        self.shipped = shipped
        self.seq = -1

    def begun(self, seqs: range) -> None:
        self.seq = seqs[0]

    def deliver(self, ends: List[End]) -> None:
        future = self.future
        if future.done():
            return
        ((_, (ok, value)),) = ends
        if ok:
            future.set_result(value)
            return
        future.set_exception(_settable(value))
        if isinstance(value, Cancelled):
            # The application has closed the client: nothing to warn of.
            future.exception()


class _Mapped:
    """Whoever waits for the tasks of a map."""

    def __init__(self, flow: Flow, shipped: bool) -> None:
        self.shipped = shipped
        self.begun = flow.begun
        self._flow = flow
        self._waiter: "Optional[asyncio.Future[None]]" = None

    def deliver(self, ends: List[End]) -> None:
        self._flow.ended(ends)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self) -> None:
        """Until something has ended."""
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter


def _settable(error: BaseException) -> BaseException:
    """An exception that a future takes: asyncio refuses StopIteration."""
    if isinstance(error, StopIteration):
        told = RuntimeError(f"the task raised StopIteration{error.args!r}")
        told.__cause__ = error
        return told
    return error


class Client:
    """As `argon.Client`, for asyncio; to be used in one event loop.

    `submit` and `call` wait without blocking while `max_pending` tasks have no outcome. Cancelling
    the future of `submit`, or the asyncio task that waits in `call`, cancels the task where it is.
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
        self._addresses = _addresses(addresses)
        self._keys = keys_of(key)
        self._connect_timeout = connect_timeout
        self._max_pending, self._max_pending_bytes = max_pending, max_pending_bytes
        called = own_name() if name is None else name
        wire.name_bytes(called)
        self._session = Session(
            peer=random.SystemRandom().getrandbits(64),
            name=called,
            addresses=len(self._addresses),
            rng=random.Random(random.SystemRandom().getrandbits(64)),
            now=_now(),
            in_flight=max_pending,
            within=own_process(),
        )
        self._loop: Optional[asyncio.AbstractEventLoop] = None
        self._pid = os.getpid()
        self._sinks: Dict[int, Any] = {}
        self._questions: Dict[int, _Single] = {}
        self._waiters: Deque["asyncio.Future[None]"] = collections.deque()
        self._connection: Optional[_Connection] = None
        self._dials: Set["asyncio.Task[None]"] = set()
        self._timer: Optional[asyncio.TimerHandle] = None
        self._flushing = False
        self._give_up_at: Optional[int] = None
        self._failure: Optional[NotConnected] = None
        self._closed = False

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Leaves the manager. Tasks without an outcome end as `Cancelled`, here and there."""
        if self._closed:
            return
        self._closed = True
        self._session.stop(_now())
        self._flush()
        for dial in list(self._dials):
            dial.cancel()
        if self._dials:
            await asyncio.gather(*self._dials, return_exceptions=True)

    @overload
    async def submit(
        self,
        function: Callable[[Unpack[Ts]], T],
        *args: Unpack[Ts],
        kwargs: None = None,
        **options: Unpack[TaskOptions],
    ) -> asyncio.Future[T]: ...
    @overload
    async def submit(
        self,
        function: Callable[..., T],
        *args: Any,
        kwargs: Mapping[str, Any],
        **options: Unpack[TaskOptions],
    ) -> asyncio.Future[T]: ...
    @overload
    async def submit(
        self,
        function: str,
        *args: Any,
        kwargs: Optional[Mapping[str, Any]] = None,
        **options: Unpack[TaskOptions],
    ) -> asyncio.Future[Any]: ...
    async def submit(  # type: ignore[misc]
        self,
        function: Function,
        *args: Any,
        kwargs: Optional[Mapping[str, Any]] = None,
        **options: Any,
    ) -> "asyncio.Future[Any]":
        """Sends a call off and returns the future of its value; waits only for room."""
        return await self._submit(self._prepare(function), args, kwargs, self._fields(options))

    @overload
    async def call(
        self,
        function: Callable[[Unpack[Ts]], T],
        *args: Unpack[Ts],
        kwargs: None = None,
        **options: Unpack[TaskOptions],
    ) -> T: ...
    @overload
    async def call(
        self,
        function: Callable[..., T],
        *args: Any,
        kwargs: Mapping[str, Any],
        **options: Unpack[TaskOptions],
    ) -> T: ...
    @overload
    async def call(
        self,
        function: str,
        *args: Any,
        kwargs: Optional[Mapping[str, Any]] = None,
        **options: Unpack[TaskOptions],
    ) -> Any: ...
    async def call(  # type: ignore[misc]
        self,
        function: Function,
        *args: Any,
        kwargs: Optional[Mapping[str, Any]] = None,
        **options: Any,
    ) -> Any:
        """Calls a function and waits for its value, or raises what it raised."""
        fields = self._fields(options)
        return await (await self._submit(self._prepare(function), args, kwargs, fields))

    @overload
    def map(
        self,
        function: Callable[..., T],
        *iterables: Iterable[Any],
        ordered: bool = True,
        in_flight: int = 1_000,
        **options: Unpack[TaskOptions],
    ) -> AsyncIterator[T]: ...
    @overload
    def map(
        self,
        function: str,
        *iterables: Iterable[Any],
        ordered: bool = True,
        in_flight: int = 1_000,
        **options: Unpack[TaskOptions],
    ) -> AsyncIterator[Any]: ...
    async def map(
        self,
        function: Function,
        *iterables: Iterable[Any],
        ordered: bool = True,
        in_flight: int = 1_000,
        **options: Any,
    ) -> AsyncIterator[Any]:
        """Calls a function for each item, at most `in_flight` at a time; lazy. In the order of the
        items, or, with `ordered=False`, as they end. The first exception ends it and cancels the
        others."""
        if in_flight < 1:
            raise ValueError(f"in_flight is {in_flight}, but must be at least 1")
        prepared, fields = self._prepare(function), self._fields(options)
        # Nothing is sent before this gives the event loop a turn, so that it can take some items at
        # once, whatever they come from.
        flow = Flow(prepared.tasks(zip(*iterables), fields), in_flight, ordered, True)
        mapped = _Mapped(flow, prepared.shipped is not None)
        try:
            while not flow.is_over:
                for lump in iter(flow.lump, []):
                    await self._send(lump, mapped)
                while flow.waits:
                    await mapped.wait()
                for result in flow.ready():
                    yield result
                    del result
        finally:
            self._withdraw(flow.open)

    async def status(self, timeout: Optional[float] = 10.0) -> Status:
        """What the manager says: what is queued, running and waiting, by worker and client.

        With a key that does not have the role `observe`, there are only the sums and the groups.
        """
        return status_of(await self._within(timeout, wire.StatusQuery))

    async def running(self, timeout: Optional[float] = 10.0) -> List[RunningTask]:
        """Which task is with which worker; nothing with a key without the role `observe`."""
        return running_of(await self._within(timeout, wire.RunningQuery))

    async def _within(self, timeout: Optional[float], query: Any) -> List[Any]:
        try:
            return await asyncio.wait_for(self._pages(query), timeout)
        except asyncio.TimeoutError:
            link = self._session.link
            problem = "" if link.is_up else f": {link.problem}"
            raise NotConnected(f"no answer within {timeout} seconds{problem}") from None

    # Tasks.

    def _fields(self, options: Mapping[str, Any]) -> Dict[str, Any]:
        return self.options.changed(options).fields() if options else self._defaults

    async def _submit(
        self,
        prepared: Prepared,
        args: Sequence[Any],
        kwargs: Optional[Mapping[str, Any]],
        fields: Dict[str, Any],
    ) -> "asyncio.Future[Any]":
        task = make_task(prepared, args, kwargs, fields)
        future: "asyncio.Future[Any]" = asyncio.get_running_loop().create_future()
        single = _Single(future, prepared.shipped is not None)
        await self._send([task], single)

        def ended(future: "asyncio.Future[Any]") -> None:
            if future.cancelled():
                self._withdraw([single.seq])

        future.add_done_callback(ended)
        return future

    async def _send(self, tasks: Sequence[Task], sink: Any) -> None:
        """Takes tasks, in their order; waits while as many are held as may be."""
        while tasks:
            loop = self._check()
            check_size(tasks[0], self._session.payload_max)
            while not (room := self._room_for(tasks)):
                waiter: "asyncio.Future[None]" = loop.create_future()
                self._waiters.append(waiter)
                try:
                    await waiter
                except asyncio.CancelledError:
                    # Somebody else can have the room that was meant for this one.
                    if waiter.done() and not waiter.cancelled():
                        self._make_room()
                    raise
                finally:
                    if not waiter.done():
                        self._waiters.remove(waiter)
                self._check()
            seqs = self._session.submit(_now(), tasks[:room])
            self._sinks.update(dict.fromkeys(seqs, sink))
            sink.begun(seqs)
            self._soon()
            tasks = tasks[room:]

    def _room_for(self, tasks: Sequence[Task]) -> int:
        return how_many(tasks, self._session, self._max_pending, self._max_pending_bytes)

    def _withdraw(self, seqs: Iterable[int]) -> None:
        for seq in seqs:
            if self._sinks.pop(seq, None) is not None:
                self._session.cancel(_now(), seq)
                self._soon()

    def _make_room(self) -> None:
        room = self._max_pending - len(self._session.tasks)
        while self._waiters and (room > 0 or self._closed):
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                room -= 1

    def _check(self) -> asyncio.AbstractEventLoop:
        if self._pid != os.getpid():
            raise RuntimeError("a client does not survive a fork; make a new one in the child")
        if self._failure is not None:
            raise NotConnected(str(self._failure))
        if self._closed:
            raise RuntimeError("the client is closed")
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
            if self._connect_timeout is not None:
                self._give_up_at = _now() + int(self._connect_timeout * 1e9)
        elif self._loop is not loop:
            raise RuntimeError("the client belongs to another event loop")
        return loop

    async def _pages(self, query: Any) -> List[Any]:
        pages: List[Any] = []
        while not pages or pages[-1].more and len(pages) < PAGES_MAX:
            loop = self._check()
            future: "asyncio.Future[Any]" = loop.create_future()
            question = self._session.ask(query(len(pages)))
            self._questions[question] = _Single(future)
            self._soon()
            try:
                pages.append(await future)
            finally:
                self._questions.pop(question, None)
                self._session.forget(question)
        return pages

    # The driver.

    def _soon(self) -> None:
        """What was submitted in one turn of the loop goes out together at its end."""
        if not self._flushing and self._loop is not None:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = _now()
        self._give_up_if_due(now)
        session, connection = self._session, self._connection
        transport = connection.transport if connection is not None else None
        backlog = transport.get_write_buffer_size() if transport is not None else 0
        if connection is not None:
            if backlog < connection.backlog:
                session.progressed(connection.number, now)
        session.settle(now, backlog)
        data = session.take_bytes()
        dial = session.take_dial(now)
        if connection is not None and transport is not None:
            if data:
                connection.write(data)
            connection.backlog = transport.get_write_buffer_size()
            if session.wants_more and not connection.backlog:
                self._soon()
            if not session.current(connection.number):
                connection.close()
                self._connection = None
        if dial is not None and self._loop is not None:
            task = self._loop.create_task(self._dial(*dial))
            self._dials.add(task)
            task.add_done_callback(self._dials.discard)
        self._deliver()
        nobody, session.nobody = session.nobody, []
        for each in nobody:
            warn(each, *self._addresses[session.link.address])
        until = session.next_timeout()
        if self._give_up_at is not None and not self._closed:
            until = min(until or self._give_up_at, self._give_up_at)
        if until is not None and self._loop is not None:
            self._timer = self._loop.call_later(max(0, until - _now()) / 1e9, self._flush)

    async def _dial(self, number: int, address: int) -> None:
        host, port = self._addresses[address]
        assert self._loop is not None
        loop = self._loop
        transport: Optional[asyncio.BaseTransport] = None

        async def opened() -> None:
            nonlocal transport
            tls = None if self._keys is None else self._keys.open()
            transport, protocol = await loop.create_connection(
                lambda: _Connection(self, number, tls), host, port
            )
            await protocol.opening

        try:
            await asyncio.wait_for(opened(), 1.5)
            transport = None
        except (OSError, asyncio.TimeoutError) as error:
            self._lost(number, f"{host}:{port}: {str(error) or 'no answer in time'}")
        finally:
            if transport is not None:
                cast(asyncio.Transport, transport).abort()

    def _opened(self, connection: _Connection) -> None:
        assert connection.transport is not None
        if self._closed or not self._session.current(connection.number):
            connection.transport.abort()
            return
        if self._connection is not None and self._connection.transport is not None:
            self._connection.close()
        self._connection = connection
        self._session.connected(connection.number, _now())
        self._flush()

    def _received(self, connection: _Connection, data: bytes) -> None:
        self._session.receive(connection.number, _now(), data)
        self._deliver()
        self._soon()

    def _progressed(self, connection: _Connection) -> None:
        self._session.progressed(connection.number, _now())
        self._soon()

    def _lost(self, number: int, problem: str) -> None:
        self._session.disconnected(number, _now(), problem)
        self._soon()

    def _give_up_if_due(self, now: int) -> None:
        session = self._session
        if session.was_up:
            self._give_up_at = None
            return
        due = self._give_up_at is not None and self._give_up_at <= now
        if self._closed or not (due or session.link.fatal):
            return
        where = ", ".join(f"{host}:{port}" for host, port in self._addresses)
        self._failure = NotConnected(f"no manager at {where} let us in: {session.link.problem}")
        self._closed = True
        session.stop(now)

    def _deliver(self) -> None:
        failure = None
        if self._failure is not None:
            failure = partial(NotConnected, str(self._failure))
        for answer in deliver(self._session.take_results(), self._sinks, failure):
            question = self._questions.pop(answer.question, None)
            if question is not None:
                question.deliver([(answer.question, (True, answer.message))])
        if self._closed:
            for number, question in self._questions.items():
                closed = self._failure or RuntimeError("the client is closed")
                question.deliver([(number, (False, closed))])
            self._questions.clear()
        self._make_room()
