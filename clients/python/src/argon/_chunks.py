"""Several calls in one task, as `Executor.map(..., chunksize=N)` makes them."""

from __future__ import annotations

from typing import Any, Callable, List, Sequence


def apply(function: Callable[..., Any], calls: Sequence[Sequence[Any]]) -> List[Any]:
    """The results of some calls, in order."""
    return [function(*args) for args in calls]


def run(name: str, calls: Sequence[Sequence[Any]]) -> List[Any]:
    """The same in the runtime, of a function by the name of its task."""
    from .pool import current

    return apply(current().resolve(name), calls)
