"""An alarm that goes off at a moment of the wall clock, and when that clock is set (timerfd)."""

import errno
import os
import struct
from contextlib import suppress

from convoy_py.linux.libc import call

_CLOCK_REALTIME = 0
_ABSTIME, _CANCEL_ON_SET = 1, 2


class Alarm:
    """`fileno` is readable once it went off; also after a suspend that the moment fell into."""

    def __init__(self) -> None:
        flags = os.O_NONBLOCK | os.O_CLOEXEC
        self._fd = call("timerfd_create", _CLOCK_REALTIME, flags, about="timerfd")

    def fileno(self) -> int:
        return self._fd

    def set(self, moment: float | None) -> bool:
        """Let it go off then, in POSIX seconds, instead of when it was to; None: not at all.

        Tells whether the clock was set since it was last heard, for then it goes off no more.
        """
        seconds, fraction = divmod(max(moment, 1e-9), 1.0) if moment is not None else (0, 0.0)
        timer = struct.pack("@4l", 0, 0, int(seconds), max(int(fraction * 1e9), bool(moment)))
        for was_set in (False, True):
            try:
                call(
                    "timerfd_settime",
                    self._fd,
                    _ABSTIME | _CANCEL_ON_SET,
                    timer,
                    None,
                    about="timerfd",
                )
            except OSError as error:
                if error.errno != errno.ECANCELED:
                    raise
            else:
                return was_set
        return True

    def heard(self) -> None:
        """Be quiet until the next time."""
        with suppress(BlockingIOError):
            try:
                os.read(self._fd, 8)
            except OSError as error:
                if error.errno != errno.ECANCELED:
                    raise

    def close(self) -> None:
        os.close(self._fd)
