"""Daemons that die by SIGKILL, or meet an error, at a chosen thing that they would change.

They are forked, which takes milliseconds, so every step of every operation can have its crash.
"""

from pathlib import Path

from tests.crash.tripwire import CONTROL, CONTROL_SIZE
from tests.launches import Running, launch_forked


class CrashPoints:
    """One tripwire for daemons, one at a time; `launch` starts one, `arm` sets when it dies."""

    def __init__(self, folder: Path) -> None:
        self._control_file = folder / "crash-control"
        self._control_file.write_bytes(bytes(CONTROL_SIZE))
        self._trace_file = folder / "crash-trace"
        self._trace_file.touch()
        self.files = (self._control_file, self._trace_file)

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

    def launch(self, arguments: list[str], log: Path) -> Running:
        return launch_forked(arguments, log, self.files)

    def _set(self, kind: str, at: int, seen: int, error: int = 0, *, lasting: bool = False) -> None:
        with self._control_file.open("r+b") as file:
            file.write(CONTROL.pack(kind.encode(), at, seen, error, lasting))
