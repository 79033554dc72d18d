"""Thaws filesystems if whoever froze them dies or takes too long: a program of its own.

    python -I -S watchdog.py SECONDS MOUNTPOINT...

It says READY when it may be relied upon and ends when it is told DONE. What takes long to import
is left out, since a snapshot waits for it.
"""

import errno
import fcntl
import os
import select
import signal
import sys

READY, DONE = b"ready\n", b"done\n"

_FITHAW = 0xC0045878
_STDIN, _STDOUT = 0, 1
_RETRY_SECONDS = 0.1

# Faults end a process with a core dump, some signals cannot be caught, and these do no harm.
_LEFT_ALONE = frozenset(
    {
        *(signal.SIGILL, signal.SIGTRAP, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE),
        *(signal.SIGSEGV, signal.SIGSYS, signal.SIGKILL, signal.SIGSTOP),
        *(signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH),
        *(signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGPIPE, signal.SIGXFSZ),
    }
)


def left_alone(number: int) -> bool:
    """Whether a signal is none of those that end a process for no fault of its own."""
    return number in _LEFT_ALONE


def thaw(folder: int) -> bool:
    """Let writes to the filesystem of an open folder go on; False if it was not frozen."""
    try:
        fcntl.ioctl(folder, _FITHAW, 0)
    except OSError as error:
        if error.errno == errno.EINVAL:
            return False
        raise
    return True


def main(limit: float, mountpoints: list[str]) -> None:
    """Stand by for at most `limit` seconds; then, or at the end of stdin, thaw all."""
    # Only the end of its work ends it: who stops the daemon's whole group must not leave it frozen.
    for number in signal.valid_signals():
        if not left_alone(number):
            signal.signal(number, signal.SIG_IGN)
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
    folders = [os.open(mountpoint, flags) for mountpoint in mountpoints]
    os.write(_STDOUT, READY)
    orders = select.poll()
    orders.register(_STDIN, select.POLLIN)
    patience = limit
    while not orders.poll(patience * 1000):
        _thaw_all(folders)
        # A freeze that was under way a moment ago may be complete only now.
        patience = _RETRY_SECONDS
    # The pipe ends only with the last thread that could be within a freeze.
    if os.read(_STDIN, len(DONE)) != DONE:
        _thaw_all(folders)


def _thaw_all(folders: list[int]) -> None:
    for folder in reversed(folders):
        try:
            thaw(folder)
        except OSError:
            # The others must be thawed all the same, and there is nobody to tell.
            continue


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2:])
