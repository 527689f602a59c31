"""Calls as payloads, and what comes back as values and exceptions."""

from __future__ import annotations

import dataclasses
import datetime
import getpass
import itertools
import json
import os
import pickle
import socket
import sys
from typing import Any, Callable, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

from . import _ship
from . import _wire as wire
from ._session import Result, Session, Task, Terms
from .errors import Cancelled, Expired, Failed, Lost, Rejected, RemoteTraceback, TooLarge

#: Priorities by name; any number from 0 (most important) to 7 will do.
HIGH, NORMAL, LOW = 2, 4, 6

Seconds = Union[int, float, datetime.timedelta]
Function = Union[str, Callable[..., Any]]
Address = Union[str, Tuple[str, int]]

EVAL = "python:eval"
CHUNK = "python:argon._chunks:run"
# What processes offer that run code which clients ship; nobody calls it.
ALLOWS = "argon:runs-shipped-code"
DEFAULT_PORT = 8000


@dataclasses.dataclass(frozen=True)
class Options:
    """How a task is to be treated. Times are seconds, or timedeltas."""

    #: From 0 (most important) to 7.
    priority: int = NORMAL
    #: From submission to the end, whatever happens; the task then ends as `Expired`.
    deadline: Optional[Seconds] = None
    #: Of one attempt; a longer one is killed, and the task fails with `Kind.TIME_LIMIT`.
    time_limit: Optional[Seconds] = None
    #: How many attempts may be lost with their workers or crash, 1 to 16.
    max_attempts: int = 3
    #: Never start it twice; if it may have started and is lost, it ends as `Lost`.
    at_most_once: bool = False
    #: The longest time until it starts; what has not started by then is rejected.
    max_wait: Optional[Seconds] = None
    #: How often a rejected task is tried again; None: for ever.
    retries: Optional[int] = 10

    def __post_init__(self) -> None:
        if not 0 <= self.priority <= 7:
            raise ValueError(f"priority is {self.priority}, but must be from 0 to 7")
        if not 1 <= self.max_attempts <= 16:
            raise ValueError(f"max_attempts is {self.max_attempts}, but must be from 1 to 16")
        if self.retries is not None and self.retries < 0:
            raise ValueError(f"retries is {self.retries}, but must not be negative")

    def changed(self, options: Mapping[str, Any]) -> "Options":
        """These, with some of them other."""
        if not options:
            return self
        unknown = sorted(set(options) - {field.name for field in dataclasses.fields(self)})
        if unknown:
            raise TypeError(
                f"{unknown[0]!r} is no option of a task; keyword arguments of the function itself "
                "go in kwargs={...}"
            )
        return dataclasses.replace(self, **options)

    def fields(self) -> Dict[str, Any]:
        """As the session takes them."""
        return {
            "priority": self.priority,
            "max_attempts": self.max_attempts,
            "at_most_once": self.at_most_once,
            "deadline": nanos(self.deadline),
            "max_wait": nanos(self.max_wait),
            "time_limit": nanos(self.time_limit),
            "retries": self.retries,
        }


def nanos(value: Optional[Seconds]) -> Optional[int]:
    """Seconds as nanoseconds that fit the wire."""
    if value is None:
        return None
    seconds = value.total_seconds() if isinstance(value, datetime.timedelta) else value
    return max(0, min(int(seconds * 1_000_000_000), wire.NO_LIMIT - 1))


def addresses(given: Union[Address, Sequence[Address]]) -> List[Tuple[str, int]]:
    """Hosts and ports of one address or several."""
    several: Sequence[Any]
    if isinstance(given, str):
        several = [part.strip() for part in given.split(",")]
    elif isinstance(given, tuple) and len(given) == 2 and isinstance(given[1], int):
        several = [given]
    else:
        several = given
    found = [_address(each) for each in several]
    if not found:
        raise ValueError("a client needs the address of a manager")
    return found


def _address(given: Address) -> Tuple[str, int]:
    if not isinstance(given, str):
        return given[0], int(given[1])
    host, colon, port = given.rpartition(":")
    # An IPv6 address has colons of its own, and brackets before a port.
    bare = given.count(":") > 1 and not given.startswith("[")
    if not colon or "]" in port or bare:
        host, port = given, str(DEFAULT_PORT)
    if not host or not port.isdigit() or not 0 < int(port) < 65_536:
        raise ValueError(f"{given!r} is no address; it should be HOST:PORT")
    return host.strip("[]"), int(port)


def own_name() -> str:
    """What this client is called in the manager's status."""
    try:
        user = getpass.getuser()
    except (KeyError, ImportError, OSError):  # Nobody knows this user.
        user = str(os.getuid())
    command = os.path.basename(sys.argv[0] if sys.argv else "") or "python"
    name = f"{user}@{socket.gethostname()}:{os.getpid()} {command}"
    name = "".join(char for char in name if not (ord(char) < 32 or 127 <= ord(char) < 160))
    return name.encode("utf-8", "replace")[:255].decode("utf-8", "ignore")


def own_process() -> Optional[wire.Within]:
    """The process of a worker's pool that this one is, or was started by."""
    parts = os.environ.get("ARGON_PROCESS", "").split(".")
    try:
        worker, slot, life = parts
        return wire.Within(int(worker, 16), int(slot), int(life))
    except ValueError:
        return None


# Values as JSON.

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
_PLAIN = frozenset((int, str, float, bool, type(None)))


# How values are written that are nearly always arguments; `_encode` would take longer to begin.
_WRITE: Dict[type, Callable[[Any], str]] = {
    int: int.__repr__,
    str: json.encoder.encode_basestring,
    bool: lambda value: "true" if value else "false",
    type(None): lambda value: "null",
}
_read_json = json.JSONDecoder().raw_decode


def _plain_list(values: Sequence[Any]) -> Optional[bytes]:
    """A list as JSON, if only such values are in it and there is nothing to say of them."""
    try:
        return ("[" + ",".join([_WRITE[type(each)](each) for each in values]) + "]").encode()
    except (KeyError, ValueError):
        return None


def to_json(value: Any, strict: bool = False) -> bytes:
    """A value as JSON. Raises TypeError or ValueError for what JSON would change or cannot hold;
    unless it is to be `strict`, a tuple is let through as a list, and a subclass as what it is of."""
    if strict:
        _check_types(value)
    else:
        _check_keys(value)
    text = _encode(value)
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        found = text[error.start : error.end]
        raise ValueError(
            f"a text that holds {found!r}, which is no character (a surrogate, as in names of files "
            "that are not UTF-8): send bytes, as os.fsencode makes them"
        ) from None


def _check_types(value: Any) -> None:
    kind = type(value)
    if kind is list:
        for each in value:
            if type(each) not in _PLAIN:
                _check_types(each)
    elif kind is dict:
        for key, each in value.items():
            if type(key) is not str:
                raise TypeError(f"a dict with the key {key!r}, where JSON has only text as keys")
            if type(each) not in _PLAIN:
                _check_types(each)
    elif kind not in _PLAIN:
        name = kind.__qualname__
        if kind.__module__ not in ("builtins", "__main__"):
            name = f"{kind.__module__}.{name}"
        raise TypeError(f"a {name} would not arrive as one, or not at all")


def _check_keys(value: Any) -> None:
    if isinstance(value, (list, tuple)):
        for each in value:
            if type(each) not in _PLAIN:
                _check_keys(each)
    elif isinstance(value, dict):
        for key, each in value.items():
            if not isinstance(key, str):
                raise TypeError(f"a dict with the key {key!r}, where JSON has only text as keys")
            if type(each) not in _PLAIN:
                _check_keys(each)


# Calls.


class Prepared:
    """A function that is to be called, perhaps often: its name, or its bytes."""

    __slots__ = ("name", "shipped", "_label", "_function", "_strict")

    def __init__(self, function: Function, ship: bool = False, strict: bool = False) -> None:
        self.shipped: Optional[bytes] = None
        self._strict = strict
        self._function: Any = function
        if isinstance(function, str):
            self._label = function
            self.name = wire.name_bytes(function)
            return
        if not callable(function):
            raise TypeError(f"a function or the name of a task is wanted, and not {function!r}")
        known = _ship.importable(function)
        if known is not None and not ship:
            self._label = "python:{}:{}".format(*known)
            self.name = wire.name_bytes(self._label)
            return
        self._label = EVAL
        self.name = EVAL.encode()
        self.shipped = _ship.dumps(function)

    def payload(self, args: Sequence[Any], kwargs: Optional[Mapping[str, Any]]) -> Tuple[int, bytes]:
        """The content and the payload of one call."""
        if self.shipped is not None:
            return wire.PICKLE, _ship.dumps((self.shipped, tuple(args), dict(kwargs or {})))
        raws = bytes if self._strict else (bytes, bytearray, memoryview)
        if len(args) == 1 and not kwargs and isinstance(args[0], raws):
            raw = bytes(args[0])
            if not raw and not isinstance(self._function, str):
                raise TypeError("no bytes at all cannot be told from no argument; send None")
            return wire.RAW, raw
        return wire.JSON, self._arguments(list(args), kwargs)

    def _arguments(self, args: List[Any], kwargs: Optional[Mapping[str, Any]] = None) -> bytes:
        plain = None if kwargs else _plain_list(args)
        # What other languages call takes a list.
        if self._strict and self._label.startswith("python:"):
            if plain is not None:
                return b'{"args":%b,"kwargs":{},"strict":true}' % plain
            return self._json({"args": args, "kwargs": dict(kwargs or {}), "strict": True})
        if plain is not None:
            return plain
        if kwargs:
            return self._json({"args": args, "kwargs": dict(kwargs)})
        return self._json(args)

    def chunk(self, calls: List[Tuple[Any, ...]]) -> Tuple[bytes, int, bytes]:
        """The name, content and payload of a task that makes several calls."""
        if self.shipped is not None:
            from ._chunks import apply

            shipped = _ship.dumps(apply)
            payload = _ship.dumps((shipped, (_Shipped(self.shipped), calls), {}))
            return self.name, wire.PICKLE, payload
        if not self._label.startswith("python:"):
            raise ValueError("chunks are for functions of Python")
        return CHUNK.encode(), wire.JSON, self._arguments([self._label, [list(c) for c in calls]])

    def tasks(self, calls: Iterable[Tuple[Any, ...]], fields: Mapping[str, Any]) -> Iterator[Task]:
        """The tasks of many calls, made as they are taken."""
        common: Dict[int, Terms] = {}
        for args in calls:
            content, payload = self.payload(args, None)
            terms = common.get(content)
            if terms is None:
                terms = common[content] = Terms(self.name, content, **fields)
            yield Task(terms, payload)

    def chunks(
        self, calls: Iterator[Tuple[Any, ...]], size: int, fields: Mapping[str, Any]
    ) -> Iterator[Task]:
        """As `tasks`, of so many calls each."""
        for chunk in iter(lambda: list(itertools.islice(calls, size)), []):
            name, content, payload = self.chunk(chunk)
            yield Task(Terms(name, content, **fields), payload)

    def _json(self, value: Any) -> bytes:
        try:
            return to_json(value, self._strict)
        except (TypeError, ValueError) as error:
            raise type(error)(
                f"the arguments of {self._label} go as JSON, or as one argument of bytes: {error}. "
                "Workers that are started with argon worker --allow-eval take anything that can be pickled "
                "(ship=True)"
            ) from error


class _Shipped:
    """A function that is unpickled where it is called."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __reduce__(self) -> Tuple[Any, ...]:
        return pickle.loads, (self.data,)


class Preparer:
    """Prepares functions, and remembers those that go by name."""

    def __init__(self, ship: bool, strict: bool = False) -> None:
        self.ship = ship
        self._strict = strict
        self._known: Dict[Any, Prepared] = {}

    def __call__(self, function: Function) -> Prepared:
        try:
            known = self._known.get(function)
        except TypeError:  # callable, but not hashable
            return Prepared(function, self.ship, self._strict)
        if known is None:
            known = Prepared(function, self.ship, self._strict)
            # What is shipped may have changed when it is shipped again.
            if known.shipped is None:
                if len(self._known) >= 1024:
                    self._known.clear()
                self._known[function] = known
        return known


def make_task(
    prepared: Prepared,
    args: Sequence[Any],
    kwargs: Optional[Mapping[str, Any]],
    fields: Dict[str, Any],
) -> Task:
    """The task of one call."""
    content, payload = prepared.payload(args, kwargs)
    return Task(Terms(prepared.name, content, **fields), payload)


def check_size(task: Task, most: int) -> None:
    """Raises `TooLarge` if the manager would."""
    if len(task.payload) > most:
        raise TooLarge(
            f"a payload of {len(task.payload):,} bytes, where at most {most:,} are allowed"
        )


def how_many(tasks: Sequence[Task], session: Session, pending: int, size: int) -> int:
    """How many of these tasks a client may take that holds at most so many, with so many bytes of
    arguments. One alone may have more."""
    held, held_bytes, count = len(session.tasks), session.held_bytes, 0
    payload_max = session.payload_max
    for task in tasks:
        held_bytes += len(task.payload)
        if held >= pending or held and held_bytes > size:
            break
        if count and len(task.payload) > payload_max:
            break  # It is told of when it is the first.
        held += 1
        count += 1
    return count


# What comes back.


def value_of(result: Result, shipped: bool) -> Tuple[bool, Any]:
    """(True, the value) of a task that completed, or (False, the exception)."""
    if result.ending != wire.Ending.COMPLETED:
        return False, _exception(result, shipped)
    return read(result.content, result.payload, shipped)


def read(content: int, payload: bytes, shipped: bool) -> Tuple[bool, Any]:
    """(True, the value) that is a result, or (False, the exception) if it is none."""
    try:
        if content == wire.JSON:
            return True, _from_json(payload)
        if content == wire.RAW:
            return True, payload
        if content == wire.PICKLE and shipped:
            return True, pickle.loads(payload)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever unpickling may raise
        failed = Failed(wire.Kind.BAD_PAYLOAD, f"the result cannot be read here: {error!r}")
        failed.__cause__ = error
        return False, failed
    takes = "JSON, bytes" + (" or a pickle" if shipped else "")
    return False, Failed(
        wire.Kind.BAD_PAYLOAD, f"the result came as content {content}, and this client takes {takes}"
    )


def _from_json(payload: bytes) -> Any:
    try:
        text = payload.decode()
        value, end = _read_json(text)
        if end == len(text):
            return value
    except ValueError:
        pass
    # Space around it, another encoding, or something wrong.
    return json.loads(payload)


def _exception(result: Result, shipped: bool) -> BaseException:
    ending, value = result.ending, result.value
    if ending == wire.Ending.EXPIRED:
        return Expired(value)
    if ending == wire.Ending.CANCELLED:
        return Cancelled(value)
    if ending == wire.Ending.LOST:
        return Lost(value)
    if ending == wire.Ending.REJECTED:
        if value.reason == wire.Reason.TOO_LARGE:
            return TooLarge(
                "the payload is larger than the manager takes: send less, or raise --max-payload of "
                "argon manager and argon worker"
            )
        return Rejected(value.reason, value.retries, value.similar)
    return _failure(value, result.content, result.payload, shipped)


def _failure(
    failure: wire.Failure, content: int, payload: bytes, shipped: bool
) -> BaseException:
    kind, message, backtrace, stderr = failure.error
    if kind.kind == wire.Kind.RAISED and payload:
        own = None
        if content == wire.JSON:
            own = _raised(payload)
        elif content == wire.PICKLE and shipped:
            own = _unpickled(payload)
        if own is not None:
            own.__cause__ = _trace(failure, backtrace or f"{kind.value}: {message}")
            return own
    failed = Failed(
        wire.Kind(kind.kind),
        message,
        type=kind.value if kind.kind == wire.Kind.RAISED else None,
        code=kind.value if kind.kind in (wire.Kind.EXIT, wire.Kind.SIGNAL) else None,
        backtrace=backtrace,
        stderr=stderr,
        worker=failure.last.worker,
        history=failure.history,
    )
    if backtrace or stderr:
        failed.__cause__ = _trace(failure, backtrace)
    return failed


def _trace(failure: wire.Failure, backtrace: str) -> RemoteTraceback:
    """Where it happened, and what it printed before."""
    parts = [backtrace.rstrip("\n")] if backtrace else []
    parts.append(f"On worker {failure.last.worker}.")
    if failure.error.stderr:
        parts.append("What it printed last:\n" + failure.error.stderr.rstrip("\n"))
    return RemoteTraceback("\n".join(parts) + "\n")


def _unpickled(payload: bytes) -> Optional[BaseException]:
    try:
        made = pickle.loads(payload)
    except (Exception, SystemExit):  # noqa: BLE001 - then it is told as Failed
        return None
    return made if isinstance(made, Exception) else None


def _raised(payload: bytes) -> Optional[BaseException]:
    """The exception that the detail tells of, if it is one and can be made here."""
    try:
        detail = json.loads(payload)
        module, qualified, args = detail["module"], detail["type"], detail["args"]
        if not isinstance(args, list):
            return None
        # Only what is imported already: whoever answers is not to choose what runs here.
        found: Any = sys.modules[module]
        for part in qualified.split("."):
            found = getattr(found, part)
        # SystemExit and the like must not end a process that only waits for a result.
        if not (isinstance(found, type) and issubclass(found, Exception)):
            return None
        made = found(*args)
        state = detail.get("state")
        if isinstance(made, Exception) and isinstance(state, dict):
            made.__dict__.update(state)
    except (Exception, SystemExit):  # noqa: BLE001 - then it is told as Failed
        return None
    return made if isinstance(made, Exception) else None
