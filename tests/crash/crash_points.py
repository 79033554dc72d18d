"""Daemons that die by SIGKILL, or meet an error, at a chosen thing that they would change.

They are forked from a server that has their modules loaded: that takes milliseconds, where a new
interpreter takes half a second, so every step of every operation can have its crash.
"""

import json
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.crash import fork_server
from tests.crash.tripwire import CONTROL, CONTROL_SIZE
from tests.harness import PATIENCE, environment


class CrashPoints:
    """The fork server as tests see it; `launch` starts a daemon, `arm` sets when it dies."""

    def __init__(self, folder: Path) -> None:
        self._control_file = folder / "crash-control"
        self._control_file.write_bytes(bytes(CONTROL_SIZE))
        self._trace_file = folder / "crash-trace"
        self._trace_file.touch()
        self._server = subprocess.Popen(
            [
                sys.executable,
                "-m",
                fork_server.__name__,
                str(self._control_file),
                str(self._trace_file),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd="/",
            env=environment(),
            bufsize=0,  # who waits for a line by select does not see one that was read ahead
        )

    def close(self) -> None:
        """End the server; its daemon must have ended."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait(PATIENCE)
        self._server.stdout.close()

    def watch(self, *, looks: bool = False) -> None:
        """Have the daemon's changes from now on told by `trace`, and its `looks` at the root."""
        self.arm("nothing", 1, int(looks))

    def arm(self, kind: str, at: int, error: int = 0, *, lasting: bool = False) -> None:
        """Have the daemon die before its `at`-th change of a kind, such as `fsync`, from now on.

        With an `error`, an errno, that change fails instead, and if it is `lasting` all after it.
        """
        self._trace_file.write_bytes(b"")
        self._set(kind, at, 0, error, lasting=lasting)

    def disarm(self) -> bool:
        """Let the daemon live; True if it is too late for that."""
        with self._control_file.open("rb") as file:
            _, at, seen, *_ = CONTROL.unpack(file.read(CONTROL.size))
        self._set("", 0, 0)
        return bool(seen >= at > 0)

    def trace(self) -> list[str]:
        """The kinds of the changes since `arm` or `watch`, the one that it died before included."""
        return [line.split()[0] for line in self.lines()]

    def lines(self) -> list[str]:
        """The same, with what was changed."""
        return self._trace_file.read_text().splitlines()

    def launch(self, arguments: list[str], log: Path) -> "Forked":
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps([arguments, str(log)]).encode() + b"\n")
        return Forked(int(self._server.stdout.readline()), self._server.stdout)

    def _set(self, kind: str, at: int, seen: int, error: int = 0, *, lasting: bool = False) -> None:
        with self._control_file.open("r+b") as file:
            file.write(CONTROL.pack(kind.encode(), at, seen, error, lasting))


class Forked:
    """A daemon that the fork server started; the server tells its end on its stdout."""

    def __init__(self, pid: int, ends: Any) -> None:
        self.pid = pid
        self._ends = ends
        self._code: int | None = None

    def poll(self) -> int | None:
        return self._code if self._code is not None else self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        code = self._code if self._code is not None else self._ended(timeout)
        if code is None:
            raise TimeoutError(f"daemon {self.pid} did not end within {timeout} s")
        return code

    def _ended(self, timeout: float | None) -> int | None:
        if select.select([self._ends], [], [], timeout)[0]:
            self._code = int(self._ends.readline())
        return self._code
