"""Whose turn it is: a first-come first-served queue in front of an engine, with places that can be shown.

Knows tickets and time. Does not know what is being run.
"""

from __future__ import annotations

import threading
from types import TracebackType

from analysis.errors import Busy


class Scheduler:
    """At most ``running`` requests run at once and at most ``waiting`` wait; usage::

    with scheduler.enter() as ticket:
        while not ticket.wait(0.5):
            show(ticket.position)
        ...  # it is our turn until the block is left, however it is left
    """

    def __init__(self, running: int = 1, waiting: int = 32) -> None:
        self._limit = running
        self._max_waiting = waiting
        self._changed = threading.Condition()
        self._tickets: list[Ticket] = []

    def enter(self) -> Ticket:
        """Take a ticket.

        Raises:
            Busy: the queue is full.
        """
        with self._changed:
            waiting = len(self._tickets) - self._limit
            if waiting >= self._max_waiting:
                raise Busy.said("queue_full", n=waiting)
            ticket = Ticket(self)
            self._tickets.append(ticket)
            return ticket

    @property
    def length(self) -> int:
        """Requests running and waiting."""
        with self._changed:
            return len(self._tickets)


class Ticket:
    """A place in the queue; a context manager that gives the place back."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    @property
    def position(self) -> int:
        """How many must finish before this one starts; 0 when it is its turn (or it has left)."""
        with self._scheduler._changed:
            return self._place()

    def wait(self, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds; True once it is this ticket's turn."""
        with self._scheduler._changed:
            return self._scheduler._changed.wait_for(lambda: self._place() == 0, timeout)

    def leave(self) -> None:
        """Give the place back; harmless when done twice."""
        with self._scheduler._changed:
            if self in self._scheduler._tickets:
                self._scheduler._tickets.remove(self)
                self._scheduler._changed.notify_all()

    def _place(self) -> int:
        tickets = self._scheduler._tickets
        return max(0, tickets.index(self) - self._scheduler._limit + 1) if self in tickets else 0

    def __enter__(self) -> Ticket:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.leave()
