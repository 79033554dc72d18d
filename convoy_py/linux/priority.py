"""How urgent a process is: what backs up gives way to all that serves."""

import os
import resource
from contextlib import suppress
from pathlib import Path

from convoy_py.linux import libc

_IOPRIO_SET = {"x86_64": 251, "aarch64": 30}
_WHO_PROCESS, _IDLE = 1, 3 << 13
_LEAST_MEMORY = 1 << 30
_FIRST_TO_END = "500"  # of 1000: before all that is no larger by half of the memory


def be_last() -> None:
    """Have this process wait for others, for the processors and for the disk. See ioprio_set(2)."""
    os.nice(19)
    number = _IOPRIO_SET.get(os.uname().machine)
    if number is not None:
        with suppress(OSError):
            libc.syscall(number, _WHO_PROCESS, 0, _IDLE)


def bound_memory() -> int:
    """Have this process get half of the machine's memory at most, and end first when it runs out.

    Returns the bytes. What goes beyond is a MemoryError, or the end of a process that has no such
    thing. See RLIMIT_DATA in setrlimit(2).
    """
    half = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = max(half, _LEAST_MEMORY)
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_END)
    return most
