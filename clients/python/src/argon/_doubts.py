"""Whether anybody runs the names that a client submits: nobody is to wait in silence."""

from __future__ import annotations

import logging
from typing import Dict, Iterable, List, NamedTuple, Optional, Set

from . import _wire as wire

#: A name of which nothing has come back for so long is asked about, in nanoseconds.
DOUBT_AFTER = 700_000_000
#: Names that are in doubt, and those known to be run, at one time.
DOUBTS_MAX = 64
SETTLED_MAX = 1_024

_log = logging.getLogger("argon")


class Nobody(NamedTuple):
    """Nobody runs tasks of a name."""

    name: str
    #: Whether there are workers, which run other names.
    others: bool


class Doubts:
    """The names that were submitted, until it is known that somebody runs them. Each is asked about
    once."""

    def __init__(self) -> None:
        self._since: Dict[bytes, int] = {}
        self._settled: Set[bytes] = set()

    def submitted(self, now: int, name: bytes) -> None:
        """A task of this name wants to be run."""
        if name not in self._settled and len(self._since) < DOUBTS_MAX:
            self._since.setdefault(name, now)

    @property
    def any(self) -> bool:
        """Whether there are names in doubt."""
        return bool(self._since)

    def ended(self, name: bytes) -> None:
        """A task of this name has an end, whatever it is."""
        if self._since.pop(name, None) is not None:
            self._settle(name)

    def next(self) -> Optional[int]:
        """When the oldest doubt is to be asked about."""
        for since in self._since.values():
            return since + DOUBT_AFTER
        return None

    def judge(self, now: int, status: wire.Status) -> List[Nobody]:
        """What the manager's status says of the names that are due."""
        due = [name for name, since in self._since.items() if since + DOUBT_AFTER <= now]
        groups = [group for group in status.groups if group.workers]
        # What is not listed may be run all the same.
        whole = not any(group.more_names for group in groups)
        patterns = [pattern for group in groups for pattern in group.names]
        found = []
        for each in due:
            del self._since[each]
            self._settle(each)
            name = each.decode()
            if whole and not _covered(name, patterns):
                found.append(Nobody(name, bool(status.manager.capacity)))
        return found

    def _settle(self, name: bytes) -> None:
        if len(self._settled) >= SETTLED_MAX:
            self._settled.clear()
        self._settled.add(name)


def _covered(name: str, patterns: Iterable[str]) -> bool:
    return any(
        name == pattern or pattern.endswith("*") and name.startswith(pattern[:-1])
        for pattern in patterns
    )


def warn(nobody: Nobody, host: str, port: int) -> None:
    """Says it as programs say things: by the log, which goes to standard error if nobody cares."""
    at = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    command = f"argon worker --manager {at}"
    if nobody.name == "python:eval":
        what, command = "shipped code", f"{command} --allow-eval -- python3 -m argon.pool"
    elif nobody.name.startswith("python:"):
        what, command = nobody.name, f"{command} -- python3 -m argon.pool"
    else:
        what = repr(nobody.name)
    if nobody.others:
        _log.warning("no worker runs %s; start one that does: %s", what, command)
    else:
        _log.warning("there is no worker yet to run %s; start one: %s", what, command)
