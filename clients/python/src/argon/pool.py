"""The runtime for Python: what `argon worker` runs in its pool processes.

    argon worker --manager HOST:PORT -- python3 -m argon.pool [--preload] [MODULE ...]

Tasks are named `python:module:function`, where the function may be dotted
(`python:package.module:Class.method`). With modules on the command line, only functions that those
modules (or modules inside them) define are run, and only those are offered. Without, every function
of every module that can be imported is, those of the standard library included: name the modules
where not everybody who reaches the manager is trusted.

Functions that clients ship (`python:eval`) run only where `argon worker --allow-eval` allows it.

Arguments are JSON, an array or `{"args": [...], "kwargs": {...}}`, or one argument of bytes. A result
is JSON, or bytes. `async def` functions run in an event loop that lives as long as the process, so
they may keep connections. What a task prints goes to standard error, and standard input is empty.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import os
import pickle
import struct
import sys
import time
import traceback
import types
from itertools import accumulate
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

from . import _wire as wire
from ._calls import ALLOWS, CHUNK, EVAL, to_json
from .errors import EvalRefused

__all__ = ["Runtime", "current", "main"]

PAYLOAD_MAX_DEFAULT = 67_108_864
_RUN_HEAD = struct.Struct("<IBIQB")
_COMPLETED_HEAD = struct.Struct("<IBIQQ")
_NEVER = frozenset(("eval", "exec", "compile", "__import__"))

# What helps where a module is beside the script that was started, and not at the workers.
_REMEDY = (
    "put it where the workers import from (PYTHONPATH), or, where they allow shipped code, have "
    "cloudpickle ship it: cloudpickle.register_pickle_by_value(module)"
)

Answer = Tuple[Any, int, bytes]


class Trouble(Exception):
    """A failure that is not the task's own: unknown task, bad payload, result too large."""

    def __init__(self, kind: wire.Kind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Runtime:
    """Runs tasks: frames in, frames out. Has no pipe of its own."""

    def __init__(
        self,
        modules: Sequence[str] = (),
        *,
        allow_eval: bool = False,
        payload_max: int = PAYLOAD_MAX_DEFAULT,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.modules = tuple(modules)
        self.allow_eval = allow_eval
        self.payload_max = payload_max
        self._clock = clock
        self._functions: Dict[str, Callable[..., Any]] = {}
        self._loop: Any = None

    def capabilities(self) -> List[str]:
        """The names of what runs here."""
        allows = [ALLOWS] if self.allow_eval else []
        if not self.modules:
            return [*allows, "python:*"]
        names = [f"python:{module}{end}" for module in self.modules for end in (":*", ".*")]
        return [*allows, *names, CHUNK, EVAL]

    def ready(self) -> bytes:
        """The frame that the worker waits for."""
        return wire.encode(wire.Ready(wire.MAGIC, wire.POOL_VERSION, self.capabilities()))

    def resolve(self, name: str) -> Callable[..., Any]:
        """The function that a task's name means."""
        known = self._functions.get(name)
        if known is not None:
            return known
        found = self._find(name)
        if len(self._functions) >= 4096:
            self._functions.clear()
        self._functions[name] = found
        return found

    def _find(self, name: str) -> Callable[..., Any]:
        parts = name.split(":")
        if len(parts) != 3 or parts[0] != "python" or not parts[1] or not parts[2]:
            raise Trouble(
                wire.Kind.UNKNOWN_TASK, f"{name!r} is no name of the form python:module:function"
            )
        _, module, qualified = parts
        if name != CHUNK and not self._allowed(module):
            raise Trouble(
                wire.Kind.UNKNOWN_TASK,
                f"the module {module} is not among those that run here: {', '.join(self.modules)}",
            )
        try:
            found: Any = importlib.import_module(module)
        except ModuleNotFoundError as error:
            wanted = error.name or ""
            if module == wanted or module.startswith(wanted + "."):
                text = f"there is no module {module} here: {error}; {_REMEDY}"
                raise Trouble(wire.Kind.UNKNOWN_TASK, text) from None
            raise  # It is there, and imports what is not.
        for part in qualified.split("."):
            found = None if part.startswith("__") else getattr(found, part, None)
            if isinstance(found, types.ModuleType):
                found = None  # A module that was imported there is not part of it.
            if found is None:
                text = f"the module {module} has no {qualified}"
                raise Trouble(wire.Kind.UNKNOWN_TASK, text)
        if not callable(found):
            raise Trouble(wire.Kind.UNKNOWN_TASK, f"{module}:{qualified} is no function")
        home = getattr(found, "__module__", None) or module
        if name != CHUNK and self.modules and not self._allowed(home):
            text = f"{module}:{qualified} is defined in {home}, which does not run here"
            raise Trouble(wire.Kind.UNKNOWN_TASK, text)
        if home == "builtins" and getattr(found, "__name__", "") in _NEVER and not self.allow_eval:
            raise self._refused(name)
        return found  # type: ignore[no-any-return]

    def _allowed(self, module: str) -> bool:
        return not self.modules or any(
            module == each or module.startswith(each + ".") for each in self.modules
        )

    def _refused(self, name: str) -> EvalRefused:
        return EvalRefused(
            f"{name} is refused: this worker does not run code that clients ship. Start it with "
            "argon worker --allow-eval, or define the function in a module that the worker can "
            "import"
        )

    def call(self, name: str, content: int, payload: bytes) -> Tuple[int, bytes]:
        """Runs a task; returns the content and the payload of its result."""
        shipped = name == EVAL
        strict = False
        args: Any
        kwargs: Any = {}
        if shipped:
            if not self.allow_eval:
                raise self._refused(name)
            if content != wire.PICKLE:
                raise self._unreadable(name, content, "a pickle (content 3)")
            try:
                code, args, kwargs = pickle.loads(payload)
                function = pickle.loads(code)
            except ModuleNotFoundError as error:
                raise ModuleNotFoundError(f"{error}; {_REMEDY}", name=error.name) from None
        else:
            function = self.resolve(name)
            if content == wire.JSON:
                args, kwargs, strict = self._arguments(payload)
            elif content == wire.RAW:
                args = (payload,) if payload else ()
            else:
                raise self._unreadable(name, content, "JSON (content 1) or bytes (content 0)")
        value = function(*args, **kwargs)
        if inspect.isawaitable(value):
            value = self._wait(value)
        if shipped and type(value) is not bytes:
            from ._ship import dumps

            return wire.PICKLE, dumps(value)
        if isinstance(value, bytes if strict else (bytes, bytearray, memoryview)):
            return wire.RAW, bytes(value)
        try:
            return wire.JSON, to_json(value, strict)
        except (TypeError, ValueError) as error:
            hint = ""
            if strict:
                hint = " (any result comes back from workers that are started with --allow-eval)"
            raise type(error)(
                f"the result of {name} is neither JSON nor bytes: {error}{hint}"
            ) from None

    def _unreadable(self, name: str, content: int, takes: str) -> Trouble:
        return Trouble(
            wire.Kind.BAD_PAYLOAD, f"{name} takes {takes}, and the argument came as {content}"
        )

    def _arguments(self, payload: bytes) -> Tuple[List[Any], Dict[str, Any], bool]:
        """Of a call as JSON: positional ones, named ones, and whether its result must be just what
        JSON holds."""
        try:
            value = json.loads(payload)
        except ValueError as error:
            raise Trouble(wire.Kind.BAD_PAYLOAD, f"the argument is no JSON: {error}") from None
        if isinstance(value, list):
            return value, {}, False
        if isinstance(value, dict) and set(value) <= {"args", "kwargs", "strict"}:
            args, kwargs = value.get("args", []), value.get("kwargs", {})
            strict = value.get("strict", False)
            if isinstance(args, list) and isinstance(kwargs, dict) and isinstance(strict, bool):
                return args, kwargs, strict
        raise Trouble(
            wire.Kind.BAD_PAYLOAD,
            'the argument must be an array, or {"args": [...], "kwargs": {...}}',
        )

    def _wait(self, value: Any) -> Any:
        # Not at the top: most pool processes never need it, and it takes a while to load.
        import asyncio

        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self._loop)

        async def wait() -> Any:
            return await value

        return self._loop.run_until_complete(wait())

    def answer(self, run: wire.Run, content: int, payload: bytes) -> bytes:
        """Runs a task and returns the frame that answers it."""
        start = self._clock()
        try:
            content, result = self.call(run.name, content, payload)
            if len(result) > self.payload_max:
                raise Trouble(
                    wire.Kind.RESULT_TOO_LARGE,
                    f"a result of {len(result):,} bytes, where {self.payload_max:,} are allowed",
                )
        except Trouble as trouble:
            error = wire.TaskError(wire.Choice(trouble.kind), str(trouble), "", "")
            return wire.encode(wire.Failed(run.id, self._clock() - start, error))
        except BaseException as raised:  # noqa: BLE001 - SystemExit of a task, too
            ran = self._clock() - start
            failed = wire.Failed(run.id, ran, _error(raised))
            if run.name == EVAL and self.allow_eval:
                pickled = _pickled(raised)
                if pickled:
                    return wire.encode(failed, wire.PICKLE, pickled)
            return wire.encode(failed, wire.JSON, _detail(raised))
        ran = self._clock() - start
        return _COMPLETED_HEAD.pack(21 + len(result), content, 2, run.id, ran) + result


def _error(raised: BaseException) -> wire.TaskError:
    kind = type(raised)
    try:
        message = str(raised)
    except Exception:  # noqa: BLE001 - a task's exception may be anything
        message = "(its message cannot be told)"
    frames = traceback.TracebackException(kind, raised, _own_frames_off(raised), limit=-100)
    text = "".join(frames.format())
    message = message.encode("utf-8", "replace")[: wire.ERROR_TEXT_MAX].decode("utf-8", "ignore")
    # The end of a traceback says more than its beginning.
    text = text.encode("utf-8", "replace")[-wire.ERROR_TEXT_MAX :].decode("utf-8", "ignore")
    name = kind.__qualname__[:255]
    return wire.TaskError(wire.Choice(wire.Kind.RAISED, name), message, text, "")


def _own_frames_off(raised: BaseException) -> Optional[types.TracebackType]:
    frames = raised.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    return frames or raised.__traceback__


def _detail(raised: BaseException) -> bytes:
    kind = type(raised)
    args: Any = raised.args
    state: Any = None
    try:
        # As pickle has it: an OSError keeps its file name elsewhere, others have arguments of
        # their own, attributes and notes.
        reduced: Any = raised.__reduce__()
        if reduced[0] is kind:
            args = reduced[1]
            state = reduced[2] if len(reduced) > 2 else None
    except Exception:  # noqa: BLE001 - a task's exception may be anything
        pass
    detail: Dict[str, Any] = {
        "module": kind.__module__,
        "type": kind.__qualname__,
        "args": list(args),
    }
    for full in (True, False):
        if full and not state:
            continue
        try:
            data = to_json({**detail, "state": state} if full else detail)
        except (TypeError, ValueError, RecursionError):
            continue
        if len(data) <= DETAIL_MAX:
            return data
    return b""


def _pickled(raised: BaseException) -> bytes:
    from ._ship import dumps

    try:
        data = dumps(raised)
        pickle.loads(data)  # Many can be pickled and not made again.
    except Exception:  # noqa: BLE001 - a task's exception may be anything
        return b""
    return data if len(data) <= DETAIL_MAX else b""


#: Most bytes of what is told of an exception beside its texts.
DETAIL_MAX = 1 << 16


_current: Optional[Runtime] = None


def current() -> Runtime:
    """The runtime of this pool process."""
    if _current is None:
        raise RuntimeError("this is no pool process")
    return _current


def serve(runtime: Runtime, reader: int, writer: int) -> None:
    """Answers what comes on one file descriptor on another until it ends.

    Each answer is written before the next task begins: if that one hangs or takes the process with
    it, nobody else's result may be in a buffer here.
    """
    _write(writer, runtime.ready())
    data, at = b"", 0
    while True:
        while len(data) - at >= 4:
            stop = at + 4 + int.from_bytes(data[at : at + 4], "little")
            if stop > len(data):
                break
            for run, content, payload in _runs(data, at, stop):
                _write(writer, runtime.answer(run, content, payload))
            at = stop
        data, at = data[at:], 0
        more = _read(reader, data)
        if not more:
            if data:
                raise SystemExit("argon.pool: the worker went away in the middle of a frame")
            return
        data += more


def _runs(data: bytes, at: int, stop: int) -> Iterator[Tuple[wire.Run, int, bytes]]:
    """What a frame asks for: one run, or many, with content and payload of each."""
    if stop - at >= 18:
        _, content, tag, ident, length = _RUN_HEAD.unpack_from(data, at)
        end = at + 18 + length
        if tag in (1, 4) and end <= stop:
            name = data[at + 18 : end].decode("utf-8", "replace")
            if tag == 1:
                return iter([(wire.Run(ident, name), content, data[end:stop])])
            sizes = _sizes(data, end, stop)
            if sizes:
                start = end + 8 + 4 * len(sizes)
                stops = accumulate(sizes, initial=start)
                return (
                    (wire.Run(ident + index, name), content, data[first : first + size])
                    for index, (first, size) in enumerate(zip(stops, sizes))
                )
    raise SystemExit("argon.pool: the worker sent what is no Run")


def _sizes(data: bytes, at: int, stop: int) -> Sequence[int]:
    """The sizes of a run's arguments, which lie behind them up to `stop`; none if it is no run."""
    count = int.from_bytes(data[at : at + 8], "little")
    start = at + 8 + 4 * count
    if not 2 <= count <= wire.RUN_TASKS_MAX or start > stop:
        return ()
    sizes = struct.unpack_from(f"<{count}I", data, at + 8)
    fits = sum(sizes) == stop - start <= wire.RUN_BYTES_MAX
    return sizes if fits else ()


def _read(reader: int, have: bytes) -> bytes:
    """Some more bytes; if a long frame has begun, all of it."""
    if len(have) < 4:
        return os.read(reader, 1 << 18)
    missing = 4 + int.from_bytes(have[:4], "little") - len(have)
    parts: List[bytes] = []
    while missing > 0:
        part = os.read(reader, max(min(missing, 1 << 20), 1 << 18))
        if not part:
            break
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def _write(writer: int, data: bytes) -> None:
    sent = os.write(writer, data)
    while sent < len(data):
        sent += os.write(writer, memoryview(data)[sent : sent + (1 << 20)])


def _own_pipes() -> Tuple[int, int]:
    """The protocol's pipes, where tasks do not find them: prints go to standard error."""
    reader, writer = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    os.register_at_fork(after_in_child=lambda: _cut_off(reader, writer))
    return reader, writer


def _cut_off(reader: int, writer: int) -> None:
    """A child that a task forks has nothing to say in its parent's place."""
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, reader)
    os.dup2(nothing, writer)
    os.close(nothing)


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """`python -m argon.pool`."""
    global _current
    parser = argparse.ArgumentParser(
        prog="python -m argon.pool", description="The runtime for Python that argon worker runs."
    )
    parser.add_argument("modules", metavar="MODULE", nargs="*", help="run functions of these only")
    parser.add_argument(
        "--preload", action="store_true", help="import the modules before the first task"
    )
    given = parser.parse_args(arguments)
    reader, writer = _own_pipes()
    runtime = Runtime(
        given.modules,
        allow_eval=os.environ.get("ARGON_ALLOW_EVAL") == "1",
        payload_max=int(os.environ.get("ARGON_PAYLOAD_MAX") or PAYLOAD_MAX_DEFAULT),
    )
    # Tasks that import argon.pool are to find this module, and not a second one.
    sys.modules.setdefault("argon.pool", sys.modules[__name__])
    _current = runtime
    if given.preload:
        for module in given.modules:
            importlib.import_module(module)
    try:
        serve(runtime, reader, writer)
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
