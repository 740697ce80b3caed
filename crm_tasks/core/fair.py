"""Whose turn it is: how many rings of a queue are out at once, and of which workspace the next one is.

What lies in the broker's lists is taken in the order it came, so only few rings may lie there: about as many as are
heard until the scheduler's next turn. Which ones these are is decided anew each time, by shares of the workspaces.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

# Rings of a queue of which no worker is known, and with which a scheduler begins.
FLOOR, FIRST = 32, 256
# However fast the workers are: the broker stays small.
MOST = 2_000
_LOW, _HIGH, _SHRINK = 0.25, 0.5, 0.75


@dataclass(slots=True)
class Window:
    """How many rings of one queue may be out. It learns how many are heard between two turns of the scheduler."""

    size: float = FIRST
    # Whether the last turn left work that found no room.
    filled: bool = False

    def room(self, rung: int, hands: int) -> int:
        """Return how many more may be rung, when so many are out and so many threads or children take them."""
        if self.filled:
            if rung <= self.size * _LOW:
                self.size *= 2
            elif rung > self.size * _HIGH:
                self.size *= _SHRINK
        self.size = min(MOST, max(hands or FLOOR, self.size))
        return int(self.size) - rung


@dataclass(slots=True)
class Turns:
    """Start-time fair queueing: each ring moves its workspace's clock on by 1 / weight, the earliest clock is next.

    Who has had nothing to do gets no credit for it: a workspace begins where the others are.
    """

    now: float = 0.0
    clocks: dict[uuid.UUID, float] = field(default_factory=dict)

    def values(self) -> Mapping[str, object]:
        """Return the clocks as the statement that picks wants them."""
        return {"now": self.now, "lanes": list(self.clocks), "clocks": list(self.clocks.values())}

    def took(self, picks: Sequence[tuple[uuid.UUID, float]]) -> None:
        """Remember what was rung: workspaces and their clocks after it, in the order of ringing.

        A workspace that waits and was not picked would have had a later clock than all of these with one ring more, so
        it began less than 1 before the latest of them (1 / weight is at most 1): that is where all who come begin.
        """
        if not picks:
            return
        self.now = max(self.now, max(clock for _, clock in picks) - 1)
        self.clocks |= dict(picks)
        self.clocks = {lane: clock for lane, clock in self.clocks.items() if clock > self.now}
