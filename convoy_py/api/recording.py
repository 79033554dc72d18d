"""Records each call of an edge: one line in the log, of a change in the audit log, one metric."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic

from convoy_py.api.failures import result_of, severity
from convoy_py.errors import Kind
from convoy_py.linux.peers import Peer
from convoy_py.logs import AUDIT, event
from convoy_py.metrics import Metrics

audit = logging.getLogger(AUDIT)


# What a client did wrong, or may not do: so many lines of each operation are written in a minute.
_REFUSED = {Kind.INVALID, Kind.NOT_FOUND, Kind.UNSUPPORTED, Kind.DENIED}
REFUSALS = 20
_PERIOD_SECONDS = 60.0


class Refusals:
    """Keeps a client that is refused again and again from filling the disk with its lines."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._periods: dict[str, tuple[float, int]] = {}  # operation -> (its beginning, refusals)

    def left_out(self, operation: str) -> int | None:
        """How many were left out before this one; None if it is to be left out too."""
        now = self._clock()
        began, count = self._periods.get(operation, (-_PERIOD_SECONDS, 0))
        fresh = now - began >= _PERIOD_SECONDS
        self._periods[operation] = (now, 1) if fresh else (began, count + 1)
        if fresh:
            return max(0, count - REFUSALS)
        return 0 if count < REFUSALS else None


@dataclass(frozen=True)
class Recorder:
    """Records the calls of one edge; `api` is its name in logs and metrics."""

    api: str
    log: logging.Logger
    metrics: Metrics
    refusals: Refusals = field(default_factory=Refusals)

    def record(
        self,
        operation: str,
        name: str,
        caller: Peer | None,
        seconds: float,
        failure: Exception | None,
        *,
        level: int,
        change: bool,
    ) -> None:
        """`name` is the volume's; `level` that of a success, and of a failure that is no news."""
        result = result_of(failure)
        self.metrics.operation(self.api, operation, result, seconds)
        left_out: int | None = 0
        if level == logging.WARNING and result in _REFUSED:
            left_out = self.refusals.left_out(operation)
        if left_out is None:
            return
        event(
            audit if change else self.log,
            level,
            operation,
            failure=failure,
            api=self.api,
            volume=name,
            uid=caller.uid if caller else None,
            pid=caller.pid if caller else None,
            result=result,
            seconds=seconds,
            left_out=left_out or None,
        )


def level_of(failure: Exception | None, usual: int) -> int:
    """The log level of a call that ended so."""
    return severity(failure) if failure else usual
