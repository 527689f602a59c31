"""What can go wrong, each as its own type under `ArgonError`.

An exception that a task raised arrives as its own type if that type can be imported here, with a
`RemoteTraceback` as its `__cause__`; these are for all else.
"""

from __future__ import annotations

import concurrent.futures
import functools
from typing import List, Optional, Sequence, Tuple

from ._wire import Kind, Loss, Reason, Record

__all__ = [
    "ArgonError",
    "Cancelled",
    "EvalRefused",
    "Expired",
    "Failed",
    "KeyFileError",
    "Kind",
    "Loss",
    "Lost",
    "NotConnected",
    "Reason",
    "Rejected",
    "RemoteTraceback",
    "TooLarge",
]

_REASONS = {
    Reason.QUEUE_FULL: "the queue is full",
    Reason.QUEUE_BYTES_FULL: "the queue has no room for so many bytes",
    Reason.DISPLACED: "more important tasks displaced it",
    Reason.CLIENT_FULL: "this client has as many tasks there as it may",
    Reason.IN_FLIGHT_FULL: "too much is unfinished",
    Reason.TOO_SLOW: "it could not start within max_wait",
    Reason.DRAINING: "the manager is draining",
    Reason.NO_WORKERS: "there are no workers",
    Reason.TOO_LARGE: "the payload is too large",
    Reason.NO_RUNNER: "no worker runs tasks of this name",
}


class ArgonError(Exception):
    """Whatever Argon itself has to say."""


class Rejected(ArgonError):
    """The manager did not take the task. It never ran: it is safe to submit it again."""

    def __init__(self, reason: Reason, retries: int = 0, similar: Sequence[str] = ()) -> None:
        text = f"rejected: {_REASONS[reason]}"
        if retries:
            text += f" (after {retries} retries)"
        if similar:
            text += f"; similar names: {', '.join(similar)}"
        super().__init__(text)
        #: Why.
        self.reason = reason
        #: How often it was tried again.
        self.retries = retries
        #: For `Reason.NO_RUNNER`: up to three names that somebody runs.
        self.similar: Tuple[str, ...] = tuple(similar)

    def __reduce__(self) -> Tuple[object, ...]:
        return Rejected, (self.reason, self.retries, self.similar)


class Expired(ArgonError):
    """The deadline passed before there was a result."""

    def __init__(self, may_have_run: bool = False) -> None:
        super().__init__(
            "the deadline has passed; the task "
            + ("may have started" if may_have_run else "did not start")
        )
        #: False: it never started.
        self.may_have_run = may_have_run

    def __reduce__(self) -> Tuple[object, ...]:
        return Expired, (self.may_have_run,)


class Cancelled(ArgonError, concurrent.futures.CancelledError):
    """The task was cancelled, or its client was closed."""

    def __init__(self, may_have_run: bool = False) -> None:
        super().__init__(
            "cancelled; the task " + ("may have started" if may_have_run else "did not start")
        )
        #: False: it never started.
        self.may_have_run = may_have_run

    def __reduce__(self) -> Tuple[object, ...]:
        return Cancelled, (self.may_have_run,)


class Lost(ArgonError):
    """Nobody can say what became of the task: it may have run, and its result is lost."""

    def __init__(self, history: Sequence[Record] = ()) -> None:
        text = "lost: the task may have run, but its result is not known"
        if history:
            text += f" ({describe(history)})"
        super().__init__(text)
        #: The attempts that were lost.
        self.history: Tuple[Record, ...] = tuple(history)

    def __reduce__(self) -> Tuple[object, ...]:
        return Lost, (self.history,)


class Failed(ArgonError):
    """The task failed, and not by an exception whose type is known here."""

    def __init__(
        self,
        kind: Kind,
        message: str,
        *,
        type: Optional[str] = None,
        code: Optional[int] = None,
        backtrace: str = "",
        stderr: str = "",
        worker: str = "",
        history: Sequence[Record] = (),
    ) -> None:
        words = {
            Kind.RAISED: type or "raised",
            Kind.EXIT: f"exit code {code}",
            Kind.SIGNAL: f"signal {code}",
        }
        text = words.get(kind, kind.name.lower().replace("_", " "))
        if message:
            text += f": {message}"
        if worker and kind != Kind.CRASHED:
            text += f" (on worker {worker})"
        if history:
            text += f" ({describe(history)})"
        super().__init__(text)
        #: What sort of failure.
        self.kind = kind
        #: The task's own message.
        self.message = message
        #: For `Kind.RAISED`: the type of the error, as its language calls it.
        self.type = type
        #: For `Kind.EXIT` the code, for `Kind.SIGNAL` the number.
        self.code = code
        #: Where it happened, as its language prints it.
        self.backtrace = backtrace
        #: The last words on standard error.
        self.stderr = stderr
        #: The worker that had it.
        self.worker = worker
        #: Attempts before the last.
        self.history: Tuple[Record, ...] = tuple(history)

    def __reduce__(self) -> Tuple[object, ...]:
        names = ("type", "code", "backtrace", "stderr", "worker", "history")
        given = {name: getattr(self, name) for name in names}
        return functools.partial(Failed, **given), (self.kind, self.message)


class TooLarge(ArgonError):
    """The payload is larger than the manager takes."""


class NotConnected(ArgonError):
    """No manager let this client in; nothing was submitted."""


class KeyFileError(ArgonError):
    """A key file cannot be used; says which, why, and what to do."""


class EvalRefused(ArgonError):
    """The worker does not run code that clients ship."""


class RemoteTraceback(Exception):
    """Where a remote exception was raised, as text: its `__cause__`."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        #: The traceback, as the worker printed it.
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


def describe(history: Sequence[Record]) -> str:
    """The attempts before, in words."""
    parts: List[str] = []
    for worker, end in history:
        words = end.kind.name.lower().replace("_", " ")
        if end.kind == Loss.CHILD_CRASHED and end.value is not None:
            cause = end.value.kind.name.lower().replace("_", " ")
            number = "" if end.value.value is None else f" {end.value.value}"
            words += f" with {cause}{number}"
        parts.append(f"{worker}: {words}")
    return ", ".join(parts)
