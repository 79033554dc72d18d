"""`convoy` as a process that is forked from one which has all of it loaded, in place of a new one.

A new interpreter takes a fifth of a second of a processor for a command that asks the daemon, and
two thirds for the daemon itself, a fork some milliseconds. A fork is as the command would be, but
for its own command in /proc. Whoever forks sees the mounts that there were when it was started, so
there is one for each namespace.
"""

import json
import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

PROJECT = Path(__file__).parents[2]
_NUMBER_SIZE = 16
_servers: list["_Server"] = []  # that of the namespace that this process is in is the last


class Fork:
    """A process that was forked, of which its parent tells."""

    def __init__(self, told: socket.socket) -> None:
        self._told = told
        self._code: int | None = None
        self.pid = self._number()

    def poll(self) -> int | None:
        """The exit code, or minus a signal; None as long as it runs."""
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        code = self._ended(timeout)
        if code is None:
            raise TimeoutError(f"process {self.pid} did not end within {timeout} s")
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def _ended(self, timeout: float | None) -> int | None:
        if self._code is None and select.select([self._told], [], [], timeout)[0]:
            self._code = self._number()
            self._told.close()
        return self._code

    def _number(self) -> int:
        said = self._told.recv(_NUMBER_SIZE)
        assert said, "who forked it is gone"
        return int(said)


class _Server:
    """Forks on order; started at the first one."""

    def __init__(self) -> None:
        self._orders: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = Lock()

    def order(self, message: bytes, files: Sequence[int]) -> None:
        with self._lock:
            orders = self._orders or self._start()
            socket.send_fds(orders, [message], files)

    def _start(self) -> socket.socket:
        self._orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.e2e.fork_server"],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                cwd=PROJECT,
            )
        return self._orders

    def close(self) -> None:
        if self._orders is not None and self._process is not None:
            self._orders.close()
            self._process.wait()


@contextmanager
def seeing_these_mounts() -> Iterator[None]:
    """What is forked meanwhile sees the mounts of now and of later."""
    _servers.append(_Server())
    try:
        yield
    finally:
        _servers.pop().close()


def convoy(arguments: Sequence[str], environment: Mapping[str, str], out: int, err: int) -> Fork:
    """Start `convoy …` in the project's folder, with two descriptors to write to."""
    assert _servers, "outside of a namespace nothing is forked"
    message = json.dumps({"arguments": list(arguments), "environment": dict(environment)})
    told, ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ends:
        _servers[-1].order(message.encode(), [out, err, ends.fileno()])
    return Fork(told)
