"""The bytes of both protocols: messages to headers and back.

Written from docs/protocol.md and docs/pool-protocol.md, and checked against docs/vectors. Reads
and writes nothing, and looks into no payload. Durations are nanoseconds.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple, Type

NO_LIMIT = 2**64 - 1
HEADER_MAX = 262_144
HANDSHAKE_FRAME_MAX = 4_096
IDS_MAX = 4_096
ERROR_TEXT_MAX = 16_384
MAGIC = b"ARGN"

RAW, JSON, BINCODE, PICKLE, COMMAND = range(5)


class WireError(ValueError):
    """Bytes that are no message."""


class Role(IntEnum):
    """What a peer is to its manager."""

    CLIENT = 0
    WORKER = 1
    OBSERVER = 2


class RefuseReason(IntEnum):
    """Why a manager does not let a peer in."""

    VERSION = 0
    OLD_CONNECTION = 1
    FULL = 2
    BAD_HELLO = 3
    BAD_CAPACITY = 4
    REPLACED = 5
    KEY_REQUIRED = 6
    NOT_ALLOWED = 7
    OTHER_HOLDER = 8


class Reason(IntEnum):
    """Why a manager does not take a task."""

    QUEUE_FULL = 0
    QUEUE_BYTES_FULL = 1
    DISPLACED = 2
    CLIENT_FULL = 3
    IN_FLIGHT_FULL = 4
    TOO_SLOW = 5
    DRAINING = 6
    NO_WORKERS = 7
    TOO_LARGE = 8
    NO_RUNNER = 9


class Ending(IntEnum):
    """How a task ends."""

    COMPLETED = 0
    FAILED = 1
    EXPIRED = 2
    CANCELLED = 3
    LOST = 4
    REJECTED = 5


class AttemptEnding(IntEnum):
    """How an attempt ends at its worker."""

    COMPLETED = 0
    FAILED = 1
    CRASHED = 2
    KILLED = 3
    EXPIRED = 4


class Kind(IntEnum):
    """What sort of failure a task had."""

    RAISED = 0
    EXIT = 1
    SIGNAL = 2
    TIME_LIMIT = 3
    MEMORY_LIMIT = 4
    CRASHED = 5
    UNKNOWN_TASK = 6
    BAD_PAYLOAD = 7
    RESULT_TOO_LARGE = 8
    #: The machine had not what it takes to start it; no client is told so.
    UNAVAILABLE = 9


class Cause(IntEnum):
    """Why a pool process ended."""

    EXIT = 0
    SIGNAL = 1
    NOT_STARTED = 2
    PROTOCOL = 3
    MEMORY = 4


class Loss(IntEnum):
    """How an attempt was lost."""

    WORKER_GONE = 0
    WORKER_SILENT = 1
    WORKER_REPLACED = 2
    WORKER_DRAINED = 3
    CHILD_CRASHED = 4


class Choice(NamedTuple):
    """One variant of an enum that has fields: `value` is None for a variant without."""

    kind: IntEnum
    value: Any = None


class Version(NamedTuple):
    major: int
    minor: int


#: What this side speaks, and since when a message can speak of many tasks.
VERSION = Version(1, 1)
RUNS = Version(1, 1)
#: Of the pool protocol.
POOL_VERSION = Version(1, 1)
#: Bounds of a run there.
RUN_TASKS_MAX, RUN_BYTES_MAX = 1_024, 30_720


class TaskId(NamedTuple):
    peer: int
    seq: int


class Attempt(NamedTuple):
    epoch: int
    number: int


class Record(NamedTuple):
    """One attempt of a task that did not end it."""

    worker: str
    end: Choice


class TaskError(NamedTuple):
    """What a failed task has to say."""

    kind: Choice
    message: str
    backtrace: str
    stderr: str


class LastAttempt(NamedTuple):
    """The attempt that ended its task. Durations are in nanoseconds."""

    ran: int
    waited: int
    worker: str


class Completion(NamedTuple):
    last: LastAttempt
    charged: int


class Failure(NamedTuple):
    error: TaskError
    last: LastAttempt
    history: List[Record]


class Rejection(NamedTuple):
    reason: Reason
    retries: int
    similar: List[str]


class Crash(NamedTuple):
    cause: Choice
    stderr: str


class Held(NamedTuple):
    attempt: Attempt
    task: TaskId


class ManagerStatus(NamedTuple):
    """What a manager says of itself. Durations are in nanoseconds."""

    epoch: int
    uptime: int
    draining: bool
    queued: int
    queued_by_priority: Tuple[int, ...]
    queued_bytes: int
    queue_size: int
    queue_bytes: int
    returning: int
    unroutable: int
    unclaimed: int
    assigned: int
    unacknowledged: int
    orphans: int
    waiting: int
    oldest_wait: int
    estimated_wait: int
    capacity: int
    workers: int
    clients: int
    accepted: int
    rejected: int
    displaced: int
    completed: int
    not_completed: int
    attempts_lost: int
    rate: int


class WorkerStatus(NamedTuple):
    """What a manager knows of a worker. Durations are in nanoseconds."""

    peer: int
    name: str
    #: Whose key it came with, if the key says so.
    holder: Optional[str]
    connected: bool
    #: HOST:PORT that its connection comes from, and the protocol's version there.
    address: Optional[str]
    version: Optional[Version]
    draining: bool
    doubted: bool
    capacity: int
    window: int
    assigned: int
    oldest: int
    finished: int
    failed: int
    average: int
    slowness: int
    last_heard: int


class ClientStatus(NamedTuple):
    """What a manager knows of a client. Durations are in nanoseconds."""

    peer: int
    name: str
    #: Whose key it came with, if the key says so.
    holder: Optional[str]
    connected: bool
    #: HOST:PORT that its connection comes from, and the protocol's version there.
    address: Optional[str]
    version: Optional[Version]
    queued: int
    assigned: int
    unacknowledged: int
    finished: int
    rejected: int
    last_heard: int


class GroupStatus(NamedTuple):
    """Workers that run the same names."""

    workers: int
    names: List[str]
    more_names: int


class RunningTask(NamedTuple):
    """A task that is with a worker. `age` is in nanoseconds."""

    task: TaskId
    name: str
    worker: str
    age: int


# The messages of the native protocol.


class Hello(NamedTuple):
    magic: bytes
    version: Version
    role: Choice
    peer: int
    connection: int
    session: Optional[int]
    name: str


class Welcome(NamedTuple):
    version: Version
    epoch: int
    resumed: bool
    lease: int
    payload_max: int


class Refuse(NamedTuple):
    reason: Choice


class Ping(NamedTuple):
    nonce: int
    received: int


class Pong(NamedTuple):
    nonce: int
    received: int


class Goodbye(NamedTuple):
    pass


class Submit(NamedTuple):
    seq: int
    priority: int
    max_attempts: int
    at_most_once: bool
    may_have_run: bool
    deadline: int
    max_wait: int
    time_limit: int
    name: str


class Cancel(NamedTuple):
    seq: int


class Resume(NamedTuple):
    seqs: List[int]


class AckOutcomes(NamedTuple):
    floor: int
    seqs: List[int]


class StatusQuery(NamedTuple):
    page: int


class Outcome(NamedTuple):
    seq: int
    end: Choice


class Reject(NamedTuple):
    seq: int
    reason: Reason
    retry_after: int
    may_have_run: bool
    similar: List[str]


class Unknown(NamedTuple):
    seqs: List[int]


class Status(NamedTuple):
    manager: ManagerStatus
    workers: List[WorkerStatus]
    clients: List[ClientStatus]
    groups: List[GroupStatus]
    more: bool


class Assign(NamedTuple):
    attempt: Attempt
    task: TaskId
    at_most_once: bool
    deadline: int
    time_limit: int
    name: str


class Recall(NamedTuple):
    attempts: List[Attempt]


class Kill(NamedTuple):
    attempt: Attempt


class AckResults(NamedTuple):
    attempts: List[Attempt]


class Resend(NamedTuple):
    attempt: Attempt


class Report(NamedTuple):
    running: List[Held]
    finished: List[Held]
    last: bool


class Grant(NamedTuple):
    window: int


class Finished(NamedTuple):
    attempt: Attempt
    task: TaskId
    ran: int
    end: Choice


class Returned(NamedTuple):
    not_started: List[Attempt]
    started: List[Attempt]


class Draining(NamedTuple):
    pass


class Capabilities(NamedTuple):
    names: List[str]


class RunningQuery(NamedTuple):
    page: int


class Running(NamedTuple):
    tasks: List[RunningTask]
    more: bool


class Within(NamedTuple):
    worker: int
    slot: int
    life: int


class Gone(NamedTuple):
    slot: int
    life: int


class Paused(NamedTuple):
    pass


class End(NamedTuple):
    """One of many attempts that completed. `ran` is in nanoseconds."""

    #: How far its numbers are above those that the message begins with.
    offset: int
    ran: int
    #: Bytes of its result.
    size: int


class Common(NamedTuple):
    """What is the same for outcomes that are told together. `waited` is in nanoseconds."""

    seq: int
    waited: int
    charged: int
    worker: str


class Row(NamedTuple):
    """Attempts whose numbers rise by one."""

    first: Attempt
    #: How many they are.
    size: int


class SubmitRun(NamedTuple):
    first: Submit
    sizes: List[int]


class AssignRun(NamedTuple):
    first: Assign
    sizes: List[int]


class FinishedRun(NamedTuple):
    first: Held
    ends: List[End]


class OutcomeRun(NamedTuple):
    first: Common
    ends: List[End]


class AckResultRuns(NamedTuple):
    rows: List[Row]


class RejectRun(NamedTuple):
    """Tasks in a row, of which all but the numbers is the same."""

    first: int
    #: How many they are.
    size: int
    reason: Reason
    retry_after: int
    may_have_run: bool


# The messages of the pool protocol.


class Ready(NamedTuple):
    magic: bytes
    version: Version
    capabilities: List[str]


class Run(NamedTuple):
    id: int
    name: str


class Completed(NamedTuple):
    id: int
    ran: int


class Failed(NamedTuple):
    id: int
    ran: int
    error: TaskError


class RunMany(NamedTuple):
    #: Of the first.
    id: int
    name: str
    sizes: List[int]


class Answer(NamedTuple):
    ran: int
    size: int


class CompletedMany(NamedTuple):
    #: Of the first.
    id: int
    answers: List[Answer]


class Reader:
    """Takes values from the front of some bytes."""

    __slots__ = ("data", "at", "end")

    def __init__(self, data: bytes, at: int, end: int) -> None:
        self.data = data
        self.at = at
        self.end = end

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        start, stop = self.at, self.at + count
        if stop > self.end:
            raise WireError("the header is cut short")
        self.at = stop
        return self.data[start:stop]


class Shape(NamedTuple):
    """How one type looks in a header."""

    write: Callable[[List[bytes], Any], None]
    read: Callable[[Reader], Any]


def _integer(code: str) -> Shape:
    packer = struct.Struct("<" + code)
    size = packer.size

    def write(out: List[bytes], value: int) -> None:
        out.append(packer.pack(value))

    def read(reader: Reader) -> Any:
        return packer.unpack(reader.take(size))[0]

    return Shape(write, read)


U8, U16, U32, U64, I32 = (_integer(code) for code in "BHIQi")


def _read_bool(reader: Reader) -> bool:
    value = reader.take(1)
    if value > b"\x01":
        raise WireError("a bool that is neither 0 nor 1")
    return value == b"\x01"


def utf8(data: bytes) -> str:
    """Text from the wire."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise WireError("text that is not UTF-8") from error


def name_bytes(name: str) -> bytes:
    """The bytes of a name, without the one of its length.

    Raises ValueError for what is no name: empty, longer than 255 bytes, or with control characters.
    """
    data = name.encode("utf-8")
    if not 1 <= len(data) <= 255:
        raise ValueError(f"a name has 1 to 255 bytes, and {name!r} has {len(data)}")
    if any(ord(char) < 32 or 127 <= ord(char) < 160 for char in name):
        raise ValueError(f"a name has no control characters: {name!r}")
    return data


def _write_name(out: List[bytes], value: str) -> None:
    data = name_bytes(value)
    out.append(bytes((len(data),)))
    out.append(data)


def _read_name(reader: Reader) -> str:
    text = utf8(reader.take(reader.take(1)[0]))
    try:
        name_bytes(text)
    except ValueError as error:
        raise WireError(str(error)) from error
    return text


def _write_text(out: List[bytes], value: str) -> None:
    data = value.encode("utf-8", "replace")
    U64.write(out, len(data))
    out.append(data)


BOOL = Shape(lambda out, value: out.append(b"\x01" if value else b"\x00"), _read_bool)
NAME = Shape(_write_name, _read_name)
TEXT = Shape(_write_text, lambda reader: utf8(reader.take(U64.read(reader))))
FOUR = Shape(lambda out, value: out.append(value), lambda reader: reader.take(4))


def _list(item: Shape, most: int = HEADER_MAX) -> Shape:
    def write(out: List[bytes], value: List[Any]) -> None:
        U64.write(out, len(value))
        for each in value:
            item.write(out, each)

    def read(reader: Reader) -> List[Any]:
        count = U64.read(reader)
        if count > reader.end - reader.at:
            raise WireError("a list longer than its message")
        if count > most:
            raise WireError(f"a list of {count}, where at most {most} are allowed")
        return [item.read(reader) for _ in range(count)]

    return Shape(write, read)


def _array(item: Shape, count: int) -> Shape:
    def write(out: List[bytes], value: Tuple[Any, ...]) -> None:
        for each in value:
            item.write(out, each)

    return Shape(write, lambda reader: tuple(item.read(reader) for _ in range(count)))


def _option(item: Shape) -> Shape:
    def write(out: List[bytes], value: Any) -> None:
        BOOL.write(out, value is not None)
        if value is not None:
            item.write(out, value)

    return Shape(write, lambda reader: item.read(reader) if _read_bool(reader) else None)


def _struct(make: Callable[..., Any], *fields: Shape) -> Shape:
    def write(out: List[bytes], value: Tuple[Any, ...]) -> None:
        for shape, each in zip(fields, value):
            shape.write(out, each)

    return Shape(write, lambda reader: make(*[shape.read(reader) for shape in fields]))


def _variant(kind: Type[IntEnum], reader: Reader) -> IntEnum:
    tag = U32.read(reader)
    try:
        return kind(tag)
    except ValueError as error:
        raise WireError(f"no {kind.__name__} has the tag {tag}") from error


def _unit(kind: Type[IntEnum]) -> Shape:
    return Shape(lambda out, value: U32.write(out, value), lambda reader: _variant(kind, reader))


def _choice(kind: Type[IntEnum], fields: Dict[IntEnum, Shape]) -> Shape:
    def write(out: List[bytes], value: Choice) -> None:
        U32.write(out, value.kind)
        if value.kind in fields:
            fields[value.kind].write(out, value.value)

    def read(reader: Reader) -> Choice:
        tag = _variant(kind, reader)
        return Choice(tag, fields[tag].read(reader) if tag in fields else None)

    return Shape(write, read)


_VERSION = _struct(Version, U16, U16)
_TASK = _struct(TaskId, U64, U64)
_ATTEMPT = _struct(Attempt, U64, U64)
_CAUSE = _choice(Cause, {Cause.EXIT: I32, Cause.SIGNAL: I32})
_KIND = _choice(
    Kind, {Kind.RAISED: TEXT, Kind.EXIT: I32, Kind.SIGNAL: I32, Kind.CRASHED: _CAUSE}
)
_ERROR = _struct(TaskError, _KIND, TEXT, TEXT, TEXT)
_RECORDS = _list(_struct(Record, NAME, _choice(Loss, {Loss.CHILD_CRASHED: _CAUSE})))
_LAST = _struct(LastAttempt, U64, U64, NAME)
_ENDING = _choice(
    Ending,
    {
        Ending.COMPLETED: _struct(Completion, _LAST, U8),
        Ending.FAILED: _struct(Failure, _ERROR, _LAST, _RECORDS),
        Ending.EXPIRED: BOOL,
        Ending.CANCELLED: BOOL,
        Ending.LOST: _RECORDS,
        Ending.REJECTED: _struct(Rejection, _unit(Reason), U32, _list(NAME)),
    },
)
_ATTEMPT_ENDING = _choice(
    AttemptEnding,
    {AttemptEnding.FAILED: _ERROR, AttemptEnding.CRASHED: _struct(Crash, _CAUSE, TEXT)},
)
_MANAGER = _struct(
    ManagerStatus, U64, U64, BOOL, U64, _array(U64, 8), *([U64] * 22)
)
_PLACE = (_option(NAME), _option(_VERSION))
_WORKER = _struct(
    WorkerStatus,
    *(U64, NAME, _option(NAME), BOOL, *_PLACE, BOOL, BOOL),
    *(U32, U32, U32, U64, U64, U64, U64, U32, U64),
)
_CLIENT = _struct(ClientStatus, U64, NAME, _option(NAME), BOOL, *_PLACE, *([U64] * 6))
_GROUPS = _struct(GroupStatus, U64, _list(NAME), U64)
_ONE_HELD = _struct(Held, _ATTEMPT, _TASK)
_HELD = _list(_ONE_HELD)
_SUBMIT = (U64, U8, U8, BOOL, BOOL, U64, U64, U64, NAME)
_ASSIGN = (_ATTEMPT, _TASK, BOOL, U64, U64, NAME)
_SIZES, _ENDS = _list(U32), _list(_struct(End, U16, U32, U32))
_SEQS, _ATTEMPTS, _NAMES = _list(U64, IDS_MAX), _list(_ATTEMPT, IDS_MAX), _list(NAME)

Protocol = Dict[int, Tuple[Type[Any], Shape]]


def _message(make: Type[Any], *fields: Shape) -> Tuple[Type[Any], Shape]:
    return make, _struct(make, *fields)


NATIVE: Protocol = dict(
    enumerate(
        [
            _message(
                Hello,
                FOUR,
                _VERSION,
                _choice(Role, {Role.WORKER: U32}),
                U64,
                U64,
                _option(U64),
                NAME,
            ),
            _message(Welcome, _VERSION, U64, BOOL, U64, U32),
            _message(Refuse, _choice(RefuseReason, {RefuseReason.VERSION: _VERSION})),
            _message(Ping, U64, U64),
            _message(Pong, U64, U64),
            _message(Goodbye),
            _message(Submit, *_SUBMIT),
            _message(Cancel, U64),
            _message(Resume, _SEQS),
            _message(AckOutcomes, U64, _SEQS),
            _message(StatusQuery, U32),
            _message(Outcome, U64, _ENDING),
            _message(Reject, U64, _unit(Reason), U64, BOOL, _NAMES),
            _message(Unknown, _SEQS),
            _message(
                Status, _MANAGER, _list(_WORKER), _list(_CLIENT), _list(_GROUPS), BOOL
            ),
            _message(Assign, *_ASSIGN),
            _message(Recall, _ATTEMPTS),
            _message(Kill, _ATTEMPT),
            _message(AckResults, _ATTEMPTS),
            _message(Resend, _ATTEMPT),
            _message(Report, _HELD, _HELD, BOOL),
            _message(Grant, U32),
            _message(Finished, _ATTEMPT, _TASK, U64, _ATTEMPT_ENDING),
            _message(Returned, _ATTEMPTS, _ATTEMPTS),
            _message(Draining),
            _message(Capabilities, _NAMES),
            _message(RunningQuery, U32),
            _message(
                Running, _list(_struct(RunningTask, _TASK, NAME, NAME, U64)), BOOL
            ),
            _message(Within, U64, U32, U64),
            _message(Gone, U32, U64),
            _message(Paused),
            _message(SubmitRun, _struct(Submit, *_SUBMIT), _SIZES),
            _message(AssignRun, _struct(Assign, *_ASSIGN), _SIZES),
            _message(FinishedRun, _ONE_HELD, _ENDS),
            _message(OutcomeRun, _struct(Common, U64, U64, U8, NAME), _ENDS),
            _message(AckResultRuns, _list(_struct(Row, _ATTEMPT, U32))),
            _message(RejectRun, U64, U32, _unit(Reason), U64, BOOL),
        ]
    )
)
POOL: Protocol = dict(
    enumerate(
        [
            _message(Ready, FOUR, _VERSION, _NAMES),
            _message(Run, U64, NAME),
            _message(Completed, U64, U64),
            _message(Failed, U64, U64, _ERROR),
            _message(RunMany, U64, NAME, _SIZES),
            _message(CompletedMany, U64, _list(_struct(Answer, U32, U32))),
        ]
    )
)
_TAGS = {make: tag for table in (NATIVE, POOL) for tag, (make, _) in table.items()}
_SHAPES = {make: shape for table in (NATIVE, POOL) for make, shape in table.values()}
_PREFIX = struct.Struct("<IBI")


def encode(message: Any, content: int = RAW, payload: bytes = b"") -> bytes:
    """A whole frame, its length in front."""
    fields: List[bytes] = []
    _SHAPES[type(message)].write(fields, message)
    header = b"".join(fields)
    prefix = _PREFIX.pack(5 + len(header) + len(payload), content, _TAGS[type(message)])
    return prefix + header + payload


def decode(protocol: Protocol, data: bytes, start: int, stop: int) -> Tuple[Any, int, bytes]:
    """The message, content and payload of the frame that is `data[start:stop]`."""
    if stop - start < _PREFIX.size:
        raise WireError("a frame without a message")
    _, content, tag = _PREFIX.unpack_from(data, start)
    if tag not in protocol:
        raise WireError(f"no message has the tag {tag}")
    reader = Reader(data, start + _PREFIX.size, min(stop, start + 5 + HEADER_MAX))
    message = protocol[tag][1].read(reader)
    return message, content, data[reader.at : stop]
