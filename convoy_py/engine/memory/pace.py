"""How fast the host's free space falls, and so how much of it is needed before long."""

from collections import deque

# Seconds over which it is looked at.
WINDOW_SECONDS = 3.0


class Pace:
    """The last looks at the free space."""

    def __init__(self) -> None:
        self._last: tuple[float, int, tuple[int, int]] | None = None
        self._steps: deque[tuple[float, float, int]] = deque()  # its end, its seconds, what fell

    def forget(self) -> None:
        """Whatever wrote until now has ended."""
        self._steps.clear()

    def look(self, now: float, free: int, takers: tuple[int, int]) -> float:
        """Take one more look, at `now` seconds; returns the bytes a second that fall.

        What rises, as by a purge, hides nothing of that. What `takers` of the ledger took does not
        count: while one is at it nobody knows what others write, and they go on as before. Nor
        does the greatest step alone: a file that is set aside at once, as XFS does, goes on no
        more than that does.
        """
        steps, last = self._steps, self._last
        self._last = now, free, takers
        if last is not None and now > last[0]:
            (_, before, (begun, ended)) = last
            if begun == ended and takers[0] == takers[1]:
                fell = before - free - (takers[1] - ended)
                steps.append((now, now - last[0], max(0, fell)))
                while now - steps[0][0] >= WINDOW_SECONDS:
                    steps.popleft()
        if len(steps) < 2:
            return 0.0
        greatest = max(steps, key=lambda step: step[2])
        seconds = sum(step[1] for step in steps) - greatest[1]
        return (sum(step[2] for step in steps) - greatest[2]) / seconds
