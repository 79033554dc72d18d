"""Messages about jobs: long work."""

from typing import Any

from convoy_py.wire.base import Message, Moment


class JobInfo(Message):
    """Long work. `done` and `total` in bytes; `result`, once it is done, is the verb's answer."""

    id: str
    verb: str
    volume: str
    state: str  # running, done, failed or cancelled
    started: Moment
    ended: Moment = ""
    done: int = 0
    total: int = 0  # 0: nothing is copied, or it is not known yet
    note: str = ""
    error: str = ""
    kind: str = ""
    result: Any = None


class JobList(Message):
    jobs: list[JobInfo]
