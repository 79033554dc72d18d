"""The values that describe schedules: what is done by itself, and what became of it."""

from datetime import datetime
from enum import StrEnum

from pydantic import AwareDatetime

from convoy_py.models.values import Frozen


class Task(StrEnum):
    """What a schedule does; a volume's options, and results, have it by this name."""

    SNAPSHOT = "snapshot"
    BACKUP = "backup"
    PROVE = "prove"


class LastRun(Frozen):
    """How one run went; also a part of what lies on disk."""

    due: AwareDatetime  # the moment of the schedule
    began: AwareDatetime
    seconds: float
    repository: str = ""  # of a backup, or a proof of one: its name
    what: str = ""  # the snapshot that was made, as db@name, or the URL of the backup
    size: int = 0  # bytes of all files of a backup
    added: int = 0  # bytes that the repository grew by
    error: str = ""  # why it failed, in one line; empty: it is good
    notes: tuple[str, ...] = ()  # what was left out of a good one, such as forgetting


class FinishedRun(LastRun):
    """One time that a schedule was followed, to its end, as listeners are told of it."""

    task: Task
    volume: str
    volume_id: str  # its uuid
    failures: int = 0  # of how many failed ones in a row it is the last; 0: it is good
    failed_before: int = 0  # how many had failed in a row before it

    @property
    def is_first_failure(self) -> bool:
        """The one to raise an alarm for."""
        return self.failures == 1

    @property
    def works_again(self) -> bool:
        """The first good one after failures."""
        return not self.error and self.failed_before > 0


class TaskView(Frozen):
    """What is done by itself, when, and what became of it."""

    expression: str
    next: datetime | None  # None until the daemon has looked at it
    running: bool
    last: LastRun | None
    good: datetime | None  # when the last good one began
    failures: int  # in a row, to the last


class ScheduleView(Frozen):
    """The schedule of one volume as the engine tells it to the edges."""

    volume: str
    snapshot: TaskView | None
    backup: TaskView | None
    to: str  # the repository of the backups
    keep: str  # which of both stay; empty: all
    # What is done to containers around either, as models/hooks.py has it.
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    pause: bool = False
    stop: bool = False
    prove: TaskView | None = None
    raw: bool = False  # the backups are of the whole image
