"""How many tasks to have at a manager at once, found out by trying.

Begins with some dozens and doubles for as long as nothing is refused. A rejection for want of room
says how much room there is: what the manager has kept. From then on it widens by one for each
windowful of outcomes.
"""

from __future__ import annotations

from typing import List

from . import _wire as wire

FIRST = 64


class Window:
    """Counts what is at the manager, by priority."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.size = float(min(FIRST, most))
        #: Tasks at the manager, by priority.
        self.at_manager: List[int] = [0] * 8
        self.total = 0
        #: Nothing was refused yet, so it doubles.
        self.growing = True
        #: More would have been sent.
        self.limiting = False
        #: Nothing is sent before this.
        self.paused_until = 0
        # How many messages had been sent when the window was asked about; 0 if it is not.
        self._asked_at = 0

    def admits(self, priority: int) -> bool:
        """Whether one more of this priority may go. Less important tasks do not count: the manager
        displaces them if it must."""
        if self.total < self.size:
            return True
        return priority < 7 and sum(self.at_manager[: priority + 1]) < self.size

    def add(self, priority: int) -> None:
        """A task was sent."""
        self.at_manager[priority] += 1
        self.total += 1

    def remove(self, priority: int) -> None:
        """A task that was sent is not there any more."""
        self.at_manager[priority] -= 1
        self.total -= 1

    def outcome(self) -> None:
        """A task that was sent has ended at the manager."""
        self.paused_until = 0
        if self.limiting and not self.growing:
            self.size = min(float(self.most), self.size + 1.0 / max(self.size, 1.0))

    def refused(self, reason: wire.Reason, until: int) -> None:
        """A task was rejected, and is no longer counted. `until` is when it is tried again."""
        if reason > wire.Reason.TOO_SLOW:
            return
        self.growing = False
        self._asked_at = 0
        self.size = float(max(1, min(int(self.size), self.total)))
        if self.total == 0:
            self.paused_until = until

    @property
    def probing(self) -> bool:
        """Nothing is there, and the manager had no room: the next task tries the ground."""
        return not self.growing and self.total == 0

    def wants_word(self, sent: int) -> bool:
        """Whether to ask the manager now what it has taken in: if it refuses nothing of `sent`
        messages, the window doubles."""
        if self.growing and self.limiting and not self._asked_at and self.size < self.most:
            self._asked_at = max(sent, 1)
            return True
        return False

    def confirmed(self, received: int) -> None:
        """The manager has taken in so many messages, and rejections of them would be here."""
        if self._asked_at and received >= self._asked_at:
            self._asked_at = 0
            if self.growing:
                self.size = min(float(self.most), self.size * 2)

    def down(self) -> None:
        """The connection has ended."""
        self._asked_at = 0

    def restart(self) -> None:
        """Another manager, of which nothing is known."""
        self.size = float(min(FIRST, self.most))
        self.growing = True
        self._asked_at = 0
        self.paused_until = 0
