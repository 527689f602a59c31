"""What type checkers know of calls; nothing of it is there at run time."""

from __future__ import annotations

from typing import Optional, TypedDict, TypeVar

from typing_extensions import ParamSpec, TypeVarTuple, Unpack

from ._calls import Seconds

__all__ = ["P", "T", "TaskOptions", "Ts", "Unpack"]

P = ParamSpec("P")
T = TypeVar("T")
# mypy does not take an overload with these for part of one with `*args: Any`: hence the "ignore"s.
Ts = TypeVarTuple("Ts")


class TaskOptions(TypedDict, total=False):
    """The fields of `argon.Options`, as keyword arguments."""

    priority: int
    deadline: Optional[Seconds]
    time_limit: Optional[Seconds]
    max_attempts: int
    at_most_once: bool
    max_wait: Optional[Seconds]
    retries: Optional[int]
