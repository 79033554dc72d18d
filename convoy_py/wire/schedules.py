"""Messages about schedules: what is done by itself with a volume."""

from pydantic import Field

from convoy_py.wire.base import HOOK, Message, Moment


class SetSchedule(Message):
    """What is null stays as it is; what is empty is taken away."""

    snapshot: str | None = Field(None, description="a cron expression, @daily, 12h or 7d")
    backup: str | None = Field(None, description="the same")
    to: str | None = Field(None, description="a repository; empty: the default, or the only one")
    keep: str | None = Field(None, description="which of both stay, such as 24h,7d,4w,12m")
    before: str | None = Field(None, description=f"{HOOK}; several by lines")
    after: str | None = Field(None, description="the same")
    pause: str | None = Field(None, description="true or false")
    stop: str | None = Field(None, description="true or false")
    prove: str | None = Field(None, description="when the newest backup is proven; as the first")
    raw: str | None = Field(None, description="true or false: back up the whole image as one file")


class RunInfo(Message):
    """How one run went; `due` is the moment of the schedule, which it came a little after."""

    due: Moment
    began: Moment
    seconds: float
    repository: str = ""
    what: str = Field("", description="the snapshot, such as db@nightly, or the URL of the backup")
    size: int = Field(0, description="bytes of all files of a backup")
    added: int = Field(0, description="bytes that the repository grew by")
    error: str = Field("", description="empty: it is good")
    notes: list[str] = Field(default_factory=list)


class TaskInfo(Message):
    """What is done by itself; `failures` are those in a row up to the last run."""

    expression: str
    next: Moment
    running: bool
    last: RunInfo | None = None
    good: Moment = Field("", description="when the last good run began")
    failures: int = 0


class ScheduleInfo(Message):
    volume: str
    snapshot: TaskInfo | None = None
    backup: TaskInfo | None = None
    to: str = ""
    keep: str = ""
    before: list[str] = Field(default_factory=list)
    after: list[str] = Field(default_factory=list)
    pause: bool = False
    stop: bool = False
    prove: TaskInfo | None = None
    raw: bool = False


class ScheduleList(Message):
    schedules: list[ScheduleInfo]
