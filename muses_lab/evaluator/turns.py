"""Whose block is next: start-time fair queueing (Goyal, Vin & Cheng 1996) over the participants of a class."""

from __future__ import annotations

_LEAST = 0.005
"""Seconds that a block counts at least: what costs nothing must not be free, or nobody's turn would end."""


class Turns:
    """Each participant's virtual time; blocks are evaluated in the order of the numbers that `take` gives.

    >>> turns = Turns()
    >>> [turns.take("hog", 1.0) for _ in range(4)], turns.take("bob", 1.0)
    ([0.0, 1.0, 2.0, 3.0], 0.0)

    So who asks for little is served after one block of everybody else's, however much these have asked for. One who
    comes later begins at the time of what is evaluated now: nobody saves up turns.
    """

    def __init__(self) -> None:
        self.now = 0.0
        """Number of the newest block that was evaluated."""
        self._ends: dict[str, float] = {}
        """By participant, where the next block of theirs begins."""

    def peek(self, who: str) -> float:
        """The number that a participant's next block would get."""
        return max(self.now, self._ends.get(who, 0.0))

    def take(self, who: str, seconds: float) -> float:
        """The number of a block that is expected to take so many seconds."""
        start = self.peek(who)
        self._ends[who] = start + max(seconds, _LEAST)
        return start

    def give_back(self, who: str, seconds: float) -> None:
        """A block was left before it was evaluated."""
        if who in self._ends:
            self._ends[who] = max(self.now, self._ends[who] - max(seconds, _LEAST))

    def served(self, number: float) -> None:
        """A block with that number was evaluated."""
        self.now = max(self.now, number)
        if len(self._ends) > 1000:
            self._ends = {who: end for who, end in self._ends.items() if end > self.now}
