"""Drives the session with a socket, in one background thread. Thread-safe."""

from __future__ import annotations

import os
import random
import selectors
import socket
import threading
import time
from collections import deque
from functools import partial
from typing import Any, Deque, Dict, Iterable, List, Optional, Sequence, Tuple

from . import _wire as wire
from ._calls import check_size, how_many, own_process
from ._doubts import warn
from ._keys import Keys, Tls
from ._link import UP
from ._flow import deliver
from ._session import SENT, Session, Task
from .errors import NotConnected

_now = time.monotonic_ns
_RECEIVE = 1 << 18
_FAREWELL_SECONDS = 0.2
# For the connection, and for showing keys; the session allows as much for both together.
_DIAL_SECONDS = 1.5


class Connection:
    """A socket, TLS if there are keys, and what the socket has not taken yet."""

    def __init__(self, number: int, sock: socket.socket, tls: Optional[Tls]) -> None:
        self.number = number
        self.sock = sock
        self._tls = tls
        self._out: Deque[memoryview] = deque()
        self.backlog = 0

    def write(self, data: bytes) -> int:
        """Sends what can be sent, and keeps the rest. Returns how many bytes went."""
        self._append(self._tls.send(data) if self._tls is not None and data else data)
        return self._flush()

    def _append(self, data: bytes) -> None:
        if data:
            self._out.append(memoryview(data))
            self.backlog += len(data)

    def _flush(self) -> int:
        gone = 0
        while self._out:
            first = self._out[0]
            try:
                sent = self.sock.send(first)
            except (BlockingIOError, InterruptedError):
                break
            gone += sent
            self.backlog -= sent
            if sent == len(first):
                self._out.popleft()
            else:
                self._out[0] = first[sent:]
        return gone

    def read(self) -> Optional[bytes]:
        """What has come: nothing at the end, and None if there may be more later."""
        try:
            data = self.sock.recv(_RECEIVE)
        except (BlockingIOError, InterruptedError):
            return None
        if self._tls is None or not data:
            return data
        said = self._tls.receive(data)
        # TLS has words of its own to answer, now and then.
        self._append(self._tls.take())
        return said or None

    def finish(self) -> None:
        """Sends what is left if that goes quickly, and closes."""
        try:
            if self._tls is not None:
                self._append(self._tls.farewell())
            if self.backlog:
                self.sock.settimeout(_FAREWELL_SECONDS)
                for part in self._out:
                    self.sock.sendall(part)
            self.sock.close()
        except OSError:
            self.sock.close()


class Engine:
    """A session, its thread, and the callers that wait for it.

    Who waits for tasks is a sink: anything with `deliver(ends)`, `begun(seqs)`, which must not wait,
    and the attribute `shipped`.
    """

    def __init__(
        self,
        addresses: List[Tuple[str, int]],
        name: str,
        connect_timeout: Optional[float],
        max_pending: int,
        max_pending_bytes: int,
        keys: Optional[Keys],
    ) -> None:
        self.addresses = addresses
        self.keys = keys
        self.connect_timeout = connect_timeout
        self.max_pending, self.max_pending_bytes = max_pending, max_pending_bytes
        self.lock = threading.Lock()
        self.room = threading.Condition(self.lock)
        self.sinks: Dict[int, Any] = {}
        self.session = Session(
            peer=random.SystemRandom().getrandbits(64),
            name=name,
            addresses=len(addresses),
            rng=random.Random(random.SystemRandom().getrandbits(64)),
            now=_now(),
            in_flight=max(1, max_pending),
            within=own_process(),
        )
        self._questions: Dict[int, Any] = {}
        self._thread: Optional[threading.Thread] = None
        self._pid = os.getpid()
        self._closed = False
        self._orphaned = False
        self._failure: Optional[NotConnected] = None
        self._awake = False
        self._waiting = 0
        self._give_up_at: Optional[int] = None
        self._dialed: Deque[Tuple[int, Optional[socket.socket], Optional[Tls], str]] = deque()
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)

    # What callers do.

    def submit(self, tasks: Sequence[Task], sink: Any) -> None:
        """Takes tasks, in their order; blocks while as many are held as may be."""
        while tasks:
            with self.lock:
                self._check()
                check_size(tasks[0], self.session.payload_max)
                room = self._room_for(tasks)
                if not room:
                    self._waiting += 1
                    try:
                        while not room:
                            self.room.wait()
                            self._check()
                            room = self._room_for(tasks)
                    finally:
                        self._waiting -= 1
                seqs = self.session.submit(_now(), tasks[:room])
                self.sinks.update(dict.fromkeys(seqs, sink))
                sink.begun(seqs)
                wake = self._must_wake()
            if wake:
                self._wake()
            tasks = tasks[room:]

    def _room_for(self, tasks: Sequence[Task]) -> int:
        """How many of these tasks may be taken now."""
        if threading.current_thread() is self._thread:
            return 1  # It would wait for itself.
        session = self.session
        return how_many(tasks, session, self.max_pending, self.max_pending_bytes)

    def cancel(self, seqs: Iterable[int]) -> None:
        """Asks for the end of tasks."""
        with self.lock:
            if self._closed:
                return
            for seq in seqs:
                self.session.cancel(_now(), seq)
            wake = self._must_wake()
        if wake:
            self._wake()

    def withdraw(self, seqs: Iterable[int]) -> List[int]:
        """Cancels tasks and takes them from their sink. Returns those that had not ended: it is up to
        the caller to end them."""
        gone = [seq for seq in seqs if self.sinks.pop(seq, None) is not None]
        if gone:
            self.cancel(gone)
        return gone

    def sent(self, seq: int) -> bool:
        """Whether the task is with the manager."""
        with self.lock:
            task = self.session.tasks.get(seq)
            return task is not None and task.state == SENT

    def ask(self, query: Any, future: Any) -> int:
        """Asks the manager; the future gets its message."""
        with self.lock:
            self._check()
            question = self.session.ask(query)
            self._questions[question] = future
            wake = self._must_wake()
        if wake:
            self._wake()
        return question

    def forget(self, question: int) -> None:
        """Nobody waits for this answer any more."""
        with self.lock:
            self._questions.pop(question, None)
            self.session.forget(question)

    def problem(self) -> str:
        """Why there is no connection; empty if there is one."""
        with self.lock:
            return "" if self.session.link.state == UP else self.session.link.problem

    def close(self) -> None:
        """Leaves. What has no outcome ends as cancelled."""
        with self.lock:
            if self._pid != os.getpid():
                return
            started = self._thread is not None
            if not self._closed:
                self._closed = True
                self.session.stop(_now())
                self.room.notify_all()
        if not started:
            self._wake_in.close()
            self._wake_out.close()
            return
        self._wake()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def orphan(self) -> None:
        """Nobody has the client any more: it leaves when its last task has ended. Takes no lock, as
        the interpreter may collect garbage anywhere."""
        self._orphaned = True
        if self._thread is None:
            self._wake_in.close()
            self._wake_out.close()
        else:
            self._wake()

    @property
    def closed(self) -> bool:
        """Whether it takes nothing any more."""
        return self._closed

    def _check(self) -> None:
        if self._pid != os.getpid():
            raise RuntimeError("a client does not survive a fork; make a new one in the child")
        if self._failure is not None:
            raise NotConnected(str(self._failure))
        if self._closed:
            raise RuntimeError("the client is closed")
        if self._thread is None:
            if self.connect_timeout is not None:
                self._give_up_at = _now() + int(self.connect_timeout * 1e9)
            thread = threading.Thread(target=self._run, name="argon", daemon=True)
            # If there can be no thread now, there may be one at the next use.
            thread.start()
            self._awake = True
            self._thread = thread

    def _must_wake(self) -> bool:
        if self._awake:
            return False
        self._awake = True
        return True

    def _wake(self) -> None:
        try:
            self._wake_out.send(b"\0")
        except (BlockingIOError, OSError):
            pass

    # The thread.

    def _run(self) -> None:
        try:
            self._drive()
        except BaseException as error:
            # A bug, but nobody is to wait for ever because of it.
            with self.lock:
                self._failure = NotConnected(f"the client has failed: {error!r}")
                self._closed = True
                self.room.notify_all()
            while self.sinks:
                seq, sink = self.sinks.popitem()
                sink.deliver([(seq, (False, NotConnected(str(self._failure))))])
            self._deliver([])
            raise

    def _drive(self) -> None:
        selector = selectors.DefaultSelector()
        selector.register(self._wake_in, selectors.EVENT_READ)
        connection: Optional[Connection] = None
        session = self.session
        try:
            while True:
                connection = self._adopt(selector, connection)
                now = _now()
                with self.lock:
                    self._give_up_if_due(now)
                    if self._orphaned and not self._closed and not session.tasks:
                        self._closed = True
                        session.stop(now)
                    session.settle(now, connection.backlog if connection else 0)
                    data = session.take_bytes()
                    dial = session.take_dial(now)
                    results = session.take_results()
                    nobody, session.nobody = session.nobody, []
                    asked = self.addresses[session.link.address]
                    self._make_room()
                    current = connection is not None and session.current(connection.number)
                    until = session.next_timeout()
                    if self._give_up_at is not None:
                        until = min(until or self._give_up_at, self._give_up_at)
                    closed = self._closed
                    self._awake = False
                if connection is not None:
                    self._write(connection, data)
                    if not current:
                        selector.unregister(connection.sock)
                        connection.finish()
                        connection = None
                if dial is not None:
                    self._dial(*dial)
                if results:
                    self._deliver(results)
                for each in nobody:
                    warn(each, *asked)
                if closed:
                    break
                if connection is not None:
                    events = selectors.EVENT_READ
                    if connection.backlog:
                        events |= selectors.EVENT_WRITE
                    key = selector.get_key(connection.sock)
                    if key.events != events:
                        selector.modify(connection.sock, events)
                pause = None if until is None else max(0, until - _now()) / 1e9
                if session.wants_more and not (connection and connection.backlog):
                    pause = 0.0
                for key, events in selector.select(pause):
                    if key.fileobj is self._wake_in:
                        try:
                            self._wake_in.recv(64)
                        except BlockingIOError:
                            pass
                    elif connection is not None:
                        if events & selectors.EVENT_WRITE:
                            self._write(connection, b"")
                        if events & selectors.EVENT_READ:
                            self._read(connection)
        finally:
            selector.close()
            self._wake_in.close()
            self._wake_out.close()
            if connection is not None:
                connection.sock.close()
            self._clear_dialed()

    def _read(self, connection: Connection) -> None:
        session = self.session
        try:
            read = connection.read()
            if read is None:
                return
            data, problem = read, "" if read else "the manager closed the connection"
        except OSError as error:
            data, problem = b"", str(error)
        with self.lock:
            if data:
                session.receive(connection.number, _now(), data)
            else:
                session.disconnected(connection.number, _now(), problem)
            results = session.take_results()
            self._make_room()
        self._deliver(results)

    def _make_room(self) -> None:
        if self._waiting and len(self.session.tasks) < self.max_pending:
            self.room.notify_all()

    def _write(self, connection: Connection, data: bytes) -> None:
        before = connection.backlog
        try:
            sent = connection.write(data)
        except OSError as error:
            with self.lock:
                self.session.disconnected(connection.number, _now(), str(error))
            return
        if before and sent:
            with self.lock:
                self.session.progressed(connection.number, _now())

    def _dial(self, number: int, address: int) -> None:
        host, port = self.addresses[address]

        def dial() -> None:
            sock = None
            try:
                sock = socket.create_connection((host, port), timeout=_DIAL_SECONDS)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                tls = None if self.keys is None else _shake(sock, self.keys.open())
                sock.setblocking(False)
                self._dialed.append((number, sock, tls, ""))
            except Exception as error:
                # Whatever it is: nobody else would tell the session that this came to nothing.
                if sock is not None:
                    sock.close()
                self._dialed.append((number, None, None, f"{host}:{port}: {error}"))
            self._wake()

        try:
            threading.Thread(target=dial, name="argon dial", daemon=True).start()
        except RuntimeError as error:
            self._dialed.append((number, None, None, f"{host}:{port}: {error}"))
            self._wake()

    def _adopt(
        self, selector: selectors.BaseSelector, connection: Optional[Connection]
    ) -> Optional[Connection]:
        while self._dialed:
            number, sock, tls, problem = self._dialed.popleft()
            with self.lock:
                wanted = self.session.current(number)
                if wanted and sock is not None:
                    self.session.connected(number, _now())
                elif wanted:
                    self.session.disconnected(number, _now(), problem)
            if sock is not None and not wanted:
                sock.close()
            elif sock is not None:
                if connection is not None:
                    selector.unregister(connection.sock)
                    connection.finish()
                connection = Connection(number, sock, tls)
                selector.register(sock, selectors.EVENT_READ)
        return connection

    def _clear_dialed(self) -> None:
        while self._dialed:
            _, sock, _, _ = self._dialed.popleft()
            if sock is not None:
                sock.close()

    def _give_up_if_due(self, now: int) -> None:
        session = self.session
        if session.was_up:
            self._give_up_at = None
            return
        due = self._give_up_at is not None and self._give_up_at <= now
        if self._closed or not (due or session.link.fatal):
            return
        where = ", ".join(f"{host}:{port}" for host, port in self.addresses)
        self._failure = NotConnected(f"no manager at {where} let us in: {session.link.problem}")
        self._closed = True
        session.stop(now)
        self.room.notify_all()

    def _deliver(self, results: List[Any]) -> None:
        failure = None
        if self._failure is not None:
            failure = partial(NotConnected, str(self._failure))
        for answer in deliver(results, self.sinks, failure):
            with self.lock:
                sink = self._questions.pop(answer.question, None)
            if sink is not None:
                sink.deliver([(answer.question, (True, answer.message))])
        if self._closed:
            with self.lock:
                questions, self._questions = self._questions, {}
            for question, sink in questions.items():
                closed = self._failure or RuntimeError("the client is closed")
                sink.deliver([(question, (False, closed))])


def _shake(sock: socket.socket, tls: Tls) -> Tls:
    """Shows the key, and waits until the manager has accepted it. Blocks, within bounds."""
    until = time.monotonic() + _DIAL_SECONDS
    while not tls.ready:
        try:
            sock.sendall(tls.take())
            sock.settimeout(max(0.001, until - time.monotonic()))
            data = sock.recv(_RECEIVE)
        except socket.timeout:
            raise OSError("no answer in time") from None
        except ConnectionError:
            data = b""
        if not data:
            raise ConnectionError(tls.cut())
        tls.receive(data)
    return tls
