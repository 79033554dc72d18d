"""The values that describe one job: long work that can be followed and cancelled."""

from datetime import datetime
from enum import StrEnum

from convoy_py.models.values import Frozen


class JobState(StrEnum):
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class JobView(Frozen):
    """One job as the engine tells it to the edges; `done` and `total` are in bytes.

    `total` is 0 where nothing is to be copied, or as long as that is not known.
    """

    id: str
    verb: str
    volume: str
    state: JobState
    started: datetime  # aware, UTC
    ended: datetime | None = None
    done: int = 0
    total: int = 0
    note: str = ""  # what it is doing, or how; empty once it has ended
    error: str = ""
    kind: str = ""  # of the error
