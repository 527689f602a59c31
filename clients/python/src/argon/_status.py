"""What a manager says of itself, its workers and its clients."""

from __future__ import annotations

from typing import List, NamedTuple, Sequence

from . import _wire as wire
from ._wire import ClientStatus, GroupStatus, ManagerStatus, RunningTask, WorkerStatus

__all__ = [
    "ClientStatus",
    "GroupStatus",
    "ManagerStatus",
    "RunningTask",
    "Status",
    "WorkerStatus",
]


class Status(NamedTuple):
    """The answer to `Client.status`. All durations in it are in nanoseconds."""

    manager: ManagerStatus
    workers: List[WorkerStatus]
    clients: List[ClientStatus]
    #: What runs where: each group of workers that run the same, and its names.
    groups: List[GroupStatus]


# Pages that are asked for: whatever a manager says, there is an end.
PAGES_MAX = 512


def status_of(pages: Sequence[wire.Status]) -> Status:
    """The pages of an answer as one."""
    return Status(
        pages[0].manager,
        [worker for page in pages for worker in page.workers],
        [client for page in pages for client in page.clients],
        [group for page in pages for group in page.groups],
    )


def running_of(pages: Sequence[wire.Running]) -> List[RunningTask]:
    """The pages of an answer as one."""
    return [task for page in pages for task in page.tasks]
