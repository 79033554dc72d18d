"""Signals that would end a process at once: some end us in order, the others do nothing."""

import signal
import socket
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from types import FrameType

from convoy_py.linux.watchdog import left_alone

# What a shell, a service manager, a UPS or the kernel means by these is that we are to end.
ENDING = frozenset(
    {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGPWR, signal.SIGXCPU},
)


class Signals:
    """The signals of this process, heard from now on; `fileno` is readable when some have come.

    They are caught, never set to be ignored, for what is caught begins a program that we start with
    its default again. What whoever started us had ignored (nohup, a shell's `&`) stays so.
    """

    def __init__(self) -> None:
        self._served = False
        self._came: deque[int] = deque()
        self._reading, self._writing = socket.socketpair()
        for end in (self._reading, self._writing):
            end.setblocking(False)
        signal.set_wakeup_fd(self._writing.fileno(), warn_on_full_buffer=False)
        for number in _heeded(signal.valid_signals()):
            signal.signal(number, self._arrived)

    def fileno(self) -> int:
        return self._reading.fileno()

    def serve(self) -> None:
        """From here on somebody reads: until then the first one that ends us raises SystemExit."""
        self._served = True

    def read(self) -> list[signal.Signals | int]:
        """Those that came, also before somebody read."""
        with suppress(BlockingIOError):
            self._reading.recv(4096)
        return [_named(self._came.popleft()) for _ in range(len(self._came))]

    def _arrived(self, number: int, frame: FrameType | None) -> None:
        self._came.append(number)
        # A loop that has a descriptor of its own for wake-ups (uvloop) calls this, and no more.
        with suppress(BlockingIOError):
            self._writing.send(b"\0")
        if number in ENDING and not self._served:
            self._served = True
            raise SystemExit(0)


def name(number: int) -> str:
    """`SIGHUP`; those that have no name are told by number."""
    return number.name if isinstance(number, signal.Signals) else f"signal {number}"


def _heeded(numbers: Iterable[int]) -> list[int]:
    """Those that would end us. Whatever started us, SIGTERM does."""
    ending = [number for number in numbers if not left_alone(number)]
    return [
        number
        for number in ending
        if number == signal.SIGTERM or signal.getsignal(number) is not signal.SIG_IGN
    ]


def _named(number: int) -> signal.Signals | int:
    try:
        return signal.Signals(number)
    except ValueError:
        return number
