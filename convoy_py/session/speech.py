"""How a session speaks with the daemon: lines of JSON, from any of its threads."""

import os
import signal
import time
from collections.abc import Sequence
from threading import Lock
from typing import TextIO

from convoy_py.errors import Kind
from convoy_py.models.session import Event, Failed, Locks, Stepped

# Seconds between two lines that tell how far it is.
_STEP_SECONDS = 0.2


class Speech:
    """The two pipes."""

    def __init__(self, heard: TextIO, told: TextIO) -> None:
        self._heard = heard
        self._told = told
        self._mutex = Lock()
        self._noting = Lock()
        self._again = 0.0  # monotonic

    def hear(self) -> str:
        """The next line; raises EOFError if the daemon has gone."""
        line = self._heard.readline()
        if not line:
            raise EOFError("the daemon has gone")
        return line

    def tell(self, event: Event) -> None:
        with self._mutex:
            self._told.write(event.said() + "\n")
            self._told.flush()

    def give_up(self, why: str) -> None:
        """Tell why, and end at once: no thread is waited for, nor any lock given back."""
        self.tell(Failed(kind=Kind.UNAVAILABLE.value, message=why))
        os.kill(os.getpid(), signal.SIGKILL)

    def note(self, locks: Sequence[str]) -> None:
        """Return once these are noted on the daemon's disk as what may be ours."""
        with self._noting:
            self.tell(Locks(locks=tuple(locks)))
            self.hear()

    @property
    def is_due(self) -> bool:
        """Whether `step` would say anything by now."""
        return time.monotonic() >= self._again

    def step(self, done: int, total: int, note: str = "", *, is_last: bool = False) -> None:
        """Say how far it is, but not too often; the last step in any case."""
        if is_last or self.is_due:
            self._again = time.monotonic() + _STEP_SECONDS
            self.tell(Stepped(done=done, total=total, note=note))
