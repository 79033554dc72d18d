"""Interferes with the system calls of a running daemon through strace: errors, delays."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.harness import PATIENCE, Daemon, eventually

_FAREWELL_SECONDS = 5


@contextmanager
def injected(daemon: Daemon, calls: str, fault: str) -> Iterator[None]:
    """While the block runs, each of `calls` (comma-separated) meets `fault`, see strace(1).

    The daemon's programs meet it too. `when=` in a fault counts the calls of each thread.
    """
    tracer = subprocess.Popen(
        [
            *("strace", "-f", "-qq", "-o", str(daemon.folder / "strace.log")),
            *("-e", f"trace={calls}", "-e", f"inject={calls}:{fault}", "-p", str(daemon.pid)),
        ],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        eventually(lambda: _is_traced(daemon.pid), "strace has attached")
        yield
    finally:
        tracer.terminate()
        try:
            tracer.wait(_FAREWELL_SECONDS)
        except subprocess.TimeoutExpired:
            # It waits for one thread of what is just ending, which is to end after another.
            tracer.kill()
            tracer.wait(PATIENCE)


def waits_in(pid: int, number: int) -> bool:
    """Whether a thread of a process is in a system call of this number, as if held up there."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        try:
            if (thread / "syscall").read_text().split()[0] == str(number):
                return True
        except (OSError, IndexError):  # it has ended
            continue
    return False


def _is_traced(pid: int) -> bool:
    return all(
        "TracerPid:\t0\n" not in (thread / "status").read_text()
        for thread in Path(f"/proc/{pid}/task").iterdir()
    )


def child(parent: int, command: str) -> int:
    """The pid of the child that runs a command; 0 if there is none."""
    for children in Path(f"/proc/{parent}/task").glob("*/children"):
        for pid in children.read_text().split():
            with suppress(FileNotFoundError):
                if Path(f"/proc/{pid}/comm").read_text().strip() == command:
                    return int(pid)
    return 0
