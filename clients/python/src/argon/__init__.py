"""Argon for Python: run functions on a cluster.

    import argon

    with argon.Executor("manager:8000") as executor:
        squares = list(executor.map(module.square, range(1000)))

- `Client`: the blocking client; `argon.aio.Client`: the same for asyncio.
- `Executor`: a `concurrent.futures.Executor`, so that existing code changes one line.
- `python -m argon.pool`: the runtime that workers run.
- `ArgonError` and its subclasses: what can go wrong.

With `key=FILE`, or ARGON_KEY in the environment, connections are TLS and both sides show a key; without,
they are neither encrypted nor authenticated: use the loopback interface or a tunnel.
"""

import importlib as _importlib
from typing import Any as _Any

from ._calls import HIGH, LOW, NORMAL, Options
from ._status import ClientStatus, GroupStatus, ManagerStatus, RunningTask, Status, WorkerStatus
from .client import Client, Future
from .errors import (
    ArgonError,
    Cancelled,
    EvalRefused,
    Expired,
    Failed,
    KeyFileError,
    Kind,
    Loss,
    Lost,
    NotConnected,
    Reason,
    Rejected,
    RemoteTraceback,
    TooLarge,
)
from .executor import Executor

__version__ = "0.1.0"


def __getattr__(name: str) -> _Any:
    # asyncio takes a while to load, and most programs do without.
    if name == "aio":
        return _importlib.import_module("argon.aio")
    raise AttributeError(f"module 'argon' has no attribute {name!r}")


__all__ = [
    "HIGH",
    "LOW",
    "NORMAL",
    "ArgonError",
    "Cancelled",
    "Client",
    "ClientStatus",
    "EvalRefused",
    "Executor",
    "Expired",
    "Failed",
    "Future",
    "KeyFileError",
    "Kind",
    "GroupStatus",
    "Loss",
    "Lost",
    "ManagerStatus",
    "NotConnected",
    "Options",
    "Reason",
    "Rejected",
    "RemoteTraceback",
    "RunningTask",
    "Status",
    "TooLarge",
    "WorkerStatus",
]
