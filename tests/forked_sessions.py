"""Sessions of an engine in tests, forked from a process that has loaded what they are made of.

Run as a program, with a socket as stdin, this is that process. An order is one byte there with four
descriptors: the session's first three, and a socket on which its pid is told, and its exit code
once it has ended. It ends with the orders.
"""

import atexit
import ctypes
import gc
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO, Any, cast
from unittest.mock import patch

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[1])  # not this folder

from convoy_py.engine.steps import sessions
from convoy_py.linux import process
from convoy_py.session.__main__ import main

_PR_SET_PDEATHSIG = 1  # sys/prctl.h
_NUMBER_SIZE = 16


@contextmanager
def forked() -> Iterator[None]:
    """The engine's sessions are forked in the block; a program that stands in for one is not."""
    program, start = [*process._DIE_WITH_US, *sessions.PROGRAM], subprocess.Popen

    def popen(argv: Sequence[str], **options: Any) -> "subprocess.Popen[bytes]":
        if argv != program:
            return start(argv, **options)
        return cast("subprocess.Popen[bytes]", _Forked(options["stderr"]))

    with patch.object(subprocess, "Popen", popen):
        yield


class _Forked:
    """What `process.conversation` needs of a Popen, whose stdin and stdout are pipes."""

    def __init__(self, told: IO[bytes]) -> None:
        theirs_in, ours_in = os.pipe()
        ours_out, theirs_out = os.pipe()
        self.stdin = open(ours_in, "wb", buffering=0)  # noqa: SIM115 - as Popen has them
        self.stdout = open(ours_out, "rb", buffering=0)  # noqa: SIM115
        self._told, ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        passed = [theirs_in, theirs_out, told.fileno(), ends.fileno()]
        socket.send_fds(_orders(), [b"!"], passed)
        ends.close()
        os.close(theirs_in)
        os.close(theirs_out)
        self.returncode: int | None = None
        self.pid = self._number()

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._told], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._told], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("session", timeout or 0)
            self.returncode = self._number()
            self._told.close()
        return self.returncode

    def terminate(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)

    def _number(self) -> int:
        said = self._told.recv(_NUMBER_SIZE)
        assert said, "what forks sessions is gone"
        return int(said)


@cache
def _orders() -> socket.socket:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        server = subprocess.Popen(
            [sys.executable, __file__],
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            cwd="/",
            env=process._ENVIRONMENT,
        )
    atexit.register(server.wait)
    atexit.register(ours.close)  # which comes first
    return ours


def _serve(orders: socket.socket) -> None:
    """Fork at each order; returns in the process that was forked."""
    running: dict[int, tuple[int, int]] = {}  # by a pidfd: the pid, and where its end is told
    while True:
        for ready in select.select([orders.fileno(), *running], [], [])[0]:
            if ready in running:
                pid, ends = running.pop(ready)
                _tell(ends, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                os.close(ready)
                os.close(ends)
                continue
            message, passed, *_ = socket.recv_fds(orders, 1, 4)
            if not message:
                sys.exit()
            if (pid := os.fork()) == 0:
                orders.detach()
                _become(passed[:3])
                return
            *standard, ends = passed
            _tell(ends, pid)
            for fd in standard:
                os.close(fd)
            running[os.pidfd_open(pid)] = pid, ends


def _tell(ends: int, number: int) -> None:
    with suppress(BrokenPipeError):  # nobody waits for it any more
        os.write(ends, str(number).encode())


def _become(standard: Sequence[int]) -> None:
    """Be what a new process would be that has these three descriptors, and ends with its parent."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.setpgid(0, 0)
    for number, fd in enumerate(standard):
        os.dup2(fd, number)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    signal.signal(signal.SIGINT, signal.default_int_handler)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it tells how the sessions end
    gc.freeze()  # a collection would write to, and so copy, all that a child shares with us
    _serve(socket.socket(fileno=sys.stdin.fileno()))
    sys.exit(main())
