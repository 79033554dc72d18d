"""Records each call of an edge: one line in the log, of a change in the audit log, one metric."""

import logging
from dataclasses import dataclass

from convoy_py.api.failures import result_of, severity
from convoy_py.linux.peers import Peer
from convoy_py.logs import AUDIT, event
from convoy_py.metrics import Metrics

audit = logging.getLogger(AUDIT)


@dataclass(frozen=True)
class Recorder:
    """Records the calls of one edge; `api` is its name in logs and metrics."""

    api: str
    log: logging.Logger
    metrics: Metrics

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
        )


def level_of(failure: Exception | None, usual: int) -> int:
    """The log level of a call that ended so."""
    return severity(failure) if failure else usual
