"""How the daemons of tests are started: as a program is, or forked from one that has all loaded.

A new interpreter takes most of a second of a processor until it serves, a fork some milliseconds.
"""

import atexit
import json
import os
import select
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Protocol

PROJECT = Path(__file__).parents[1]
_SERVER = "tests.fork_server"  # by name: it loads all of the daemon
_NUMBER_SIZE = 16


class Running(Protocol):
    """A daemon's process, however it was started; `wait` gives the exit code, or minus a signal."""

    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...


Launch = Callable[[list[str], Path], Running]


def environment() -> dict[str, str]:
    """This process's, without settings of ours, and with the checkout's code first."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("CONVOY_")}
    return {**kept, "PYTHONPATH": str(PROJECT)}


# As where uvloop is not installed.
_WITHOUT_UVLOOP = """import sys
sys.modules["uvloop"] = None
from convoy_py.__main__ import main
main()"""


def launch_plain(arguments: list[str], log: Path) -> Running:
    """Start a daemon on asyncio's own loop."""
    return _launch(["-c", _WITHOUT_UVLOOP, *arguments], log)


def launch_fast(arguments: list[str], log: Path) -> Running:
    """Start a daemon on uvloop, if that is installed."""
    return _launch(["-m", "convoy_py", *arguments], log)


def _launch(arguments: list[str], log: Path) -> Running:
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=environment(),
        )


def launch_forked(arguments: list[str], log: Path, tripwire: Sequence[Path] = ()) -> Running:
    """Fork a daemon that is as `launch_plain` would start it, but for its command in /proc.

    `tripwire` are the files of one, which then counts what the daemon and its sessions change.
    """
    order = {
        "arguments": arguments,
        "environment": environment(),
        "tripwire": [str(file) for file in tripwire],
    }
    told, ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ends, log.open("ab") as output:
        passed = [output.fileno(), ends.fileno()]
        socket.send_fds(_orders(), [json.dumps(order).encode()], passed)
    return _Forked(told)


@cache
def _orders() -> socket.socket:
    """Leads to the fork server of this process, which ends with it, however that is."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        server = subprocess.Popen(
            [sys.executable, "-m", _SERVER],
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            cwd="/",
            env=environment(),
        )
    atexit.register(server.wait)
    atexit.register(ours.close)  # which comes first
    return ours


class _Forked:
    """A daemon that the fork server started, which tells of it."""

    def __init__(self, told: socket.socket) -> None:
        self._told = told
        self._code: int | None = None
        self.pid = self._number()

    def poll(self) -> int | None:
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        code = self._ended(timeout)
        if code is None:
            raise TimeoutError(f"daemon {self.pid} did not end within {timeout} s")
        return code

    def _ended(self, timeout: float | None) -> int | None:
        if self._code is None and select.select([self._told], [], [], timeout)[0]:
            self._code = self._number()
            self._told.close()
        return self._code

    def _number(self) -> int:
        said = self._told.recv(_NUMBER_SIZE)
        assert said, "the fork server is gone"
        return int(said)
