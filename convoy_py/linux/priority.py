"""How urgent a process is: what backs up gives way to all that serves."""

import os
from contextlib import suppress

from convoy_py.linux import libc

_IOPRIO_SET = {"x86_64": 251, "aarch64": 30}
_WHO_PROCESS, _IDLE = 1, 3 << 13


def be_last() -> None:
    """Have this process wait for others, for the processors and for the disk. See ioprio_set(2)."""
    os.nice(19)
    number = _IOPRIO_SET.get(os.uname().machine)
    if number is not None:
        with suppress(OSError):
            libc.syscall(number, _WHO_PROCESS, 0, _IDLE)
