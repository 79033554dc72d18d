"""For how long what was set aside is kept still: by time that passed, told by the wall clock."""

import math
from collections.abc import Callable
from datetime import datetime, timedelta

from convoy_py.state.passed import JUMP, PassedTime
from convoy_py.state.records import Moment, timestamp


class Aging:
    """What keeps things for `keep` seconds, counted by a clock that nobody sets."""

    def __init__(self, passed: PassedTime, wall_clock: Callable[[], float], *, keep: float) -> None:
        """`wall_clock` gives POSIX seconds."""
        self._passed = passed
        self._wall_clock = wall_clock
        self.keep = keep

    def look(self) -> None:
        """Notice whether the wall clock was set; a write to the disk now and then."""
        self._passed.look()

    def notes(self) -> list[str]:
        """What is to be known of why things are kept for longer than the wall clock says."""
        return [self._passed.jump] if self._passed.jump else []

    def seconds_left(self, moment: Moment | None) -> float:
        """Seconds for which something of that moment is kept still; without end if it has none."""
        age = self._passed.since(moment) if moment else None
        return math.inf if age is None else self.keep - age

    def until(self, since: datetime | None, moment: Moment | None) -> datetime | None:
        """When its time will be up, by the wall clock as it is set now; None if that is never.

        `since` is what the wall clock said at that moment.
        """
        left = self.seconds_left(moment)
        if left == math.inf:
            return None
        assert since is not None
        planned = since + timedelta(seconds=self.keep)
        until = timestamp(self._wall_clock() + left)
        return planned if abs((until - planned).total_seconds()) < JUMP else until
