"""An alarm of the wall clock, by the kernel."""

import errno
import select
import time
from collections.abc import Iterator

import pytest

from convoy_py.linux.alarm import Alarm
from convoy_py.linux.libc import call as real

LONG_AGO, NEVER = 1.0, 2.0**33


@pytest.fixture
def alarm() -> Iterator[Alarm]:
    alarm = Alarm()
    yield alarm
    alarm.close()


def _rings(alarm: Alarm, seconds: float = 0.0) -> bool:
    return bool(select.select([alarm], [], [], seconds)[0])


def test_it_goes_off_at_its_moment(alarm: Alarm) -> None:
    """Also if that has passed; once it is heard it is quiet."""
    assert not _rings(alarm)
    alarm.set(LONG_AGO)
    assert _rings(alarm, 30)
    alarm.heard()
    assert not _rings(alarm)
    alarm.heard()
    alarm.set(time.clock_gettime(time.CLOCK_REALTIME) + 0.05)
    assert _rings(alarm, 30)


def test_the_last_moment_counts(alarm: Alarm) -> None:
    alarm.set(LONG_AGO)
    assert _rings(alarm, 30)
    alarm.set(NEVER)
    assert not _rings(alarm)
    alarm.set(LONG_AGO)
    assert _rings(alarm, 30)
    alarm.set(None)
    assert not _rings(alarm)


def test_a_clock_that_was_set_is_heard_and_the_alarm_goes_on(
    alarm: Alarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the kernel tells then is no failure; nobody sets the clock of this machine for it."""
    told = [errno.ECANCELED]

    def call(function: str, *arguments: object, about: str | None = None) -> int:
        if function == "timerfd_settime" and told:
            raise OSError(told.pop(), "Operation canceled")
        return real(function, *arguments, about=about)

    def read(fd: int, length: int) -> bytes:
        raise OSError(errno.ECANCELED, "Operation canceled")

    monkeypatch.setattr("convoy_py.linux.alarm.call", call)
    alarm.set(LONG_AGO)
    assert _rings(alarm, 30)
    monkeypatch.setattr("os.read", read)
    alarm.heard()
    monkeypatch.undo()
    alarm.heard()
