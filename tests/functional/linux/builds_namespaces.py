"""A program that makes mount namespaces as told, a line of JSON each time, and takes them away.

A line lists processes; each is what it does, step by step, and how what it made is held in the end:
by itself ("process"), by an open file ("fd"), by a mount of the namespace ("bound"), or not at all.
What the kernel refuses is left out.
"""

import ctypes
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress

from convoy_py.linux.namespaces import shown_anywhere

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS, PIVOT_ROOT, PR_SET_PDEATHSIG = 0x20000, 155, 1
ANSWER = 9
BIND, MOVE, REC, DETACH = 4096, 8192, 16384, 2
PROPAGATION = {"unchanged": 0, "private": 1 << 18, "slave": 1 << 19, "shared": 1 << 20}


def checked(result: int) -> None:
    if result == -1:
        raise OSError(ctypes.get_errno(), "refused")


def mount(source: str, target: str, fstype: str = "", flags: int = 0) -> None:
    arguments = (source.encode(), target.encode(), fstype.encode(), ctypes.c_ulong(flags), None)
    checked(LIBC.mount(*arguments))


def unmount(target: str, flags: int = 0) -> None:
    checked(LIBC.umount2(target.encode(), flags))


def unshare(propagation: str) -> None:
    checked(LIBC.unshare(CLONE_NEWNS))
    if flag := PROPAGATION[propagation]:
        mount("none", "/", flags=REC | flag)


def pivot(target: str, *, keep: bool) -> None:
    os.chdir(target)
    checked(LIBC.syscall(PIVOT_ROOT, b".", b"."))
    if not keep:
        unmount(".", DETACH)


def tell(path: str) -> None:
    """Have the answer to a question that comes later go to a file."""
    os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), ANSWER)


def roots() -> set[str]:
    """Of all that is mounted anywhere, but for what others unmount meanwhile."""
    found = set()
    for shown in shown_anywhere():
        with suppress(FileNotFoundError):
            found.add(shown.root)
    return found


def ask() -> None:
    os.write(ANSWER, json.dumps(sorted(roots())).encode())


STEPS: dict[str, Callable[..., object]] = {
    # Namespaces that are made on one CPU are numbered in their order.
    "pin": lambda: os.sched_setaffinity(0, {0}),
    "tell": tell,
    "ask": ask,
    "proc": lambda target: mount("none", target, "proc"),
    "unshare": unshare,
    "bind": lambda source, target: mount(source, target, flags=BIND),
    "mount": lambda source, target: mount(source, target, "ext4"),
    "move": lambda source, target: mount(source, target, flags=MOVE),
    "cover": lambda target: mount("none", target, "tmpfs"),
    "unmount": unmount,
    "detach": lambda target: unmount(target, DETACH),
    "hold": lambda: os.open("/proc/self/ns/mnt", os.O_RDONLY),
    "open": lambda target: os.open(target, os.O_RDONLY),
    "cd": os.chdir,
    "chroot": os.chroot,
    "pivot": lambda target: pivot(target, keep=True),
    "pivot alone": lambda target: pivot(target, keep=False),
}


def started(steps: list[list[str]], cpu: int | None = None) -> int:
    """A process that has done its steps, and ends with this one."""
    ready, done = os.pipe()
    if pid := os.fork():
        os.close(done)
        os.read(ready, 1)
        os.close(ready)
        return pid
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.close(1)
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})
    unshare("private")
    for name, *arguments in steps:
        with suppress(OSError):
            STEPS[name](*arguments)
    os.write(done, b".")
    while True:
        signal.pause()


def ended(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def bound_below(place: str, steps: list[list[str]]) -> str:
    """Where a namespace is mounted that no process has.

    The kernel refuses those of which the number is below that of ours, and each CPU numbers apart.
    """
    path = tempfile.mkstemp(dir=place)[1]
    for cpu in os.sched_getaffinity(0):
        pid = started(steps, cpu)
        with suppress(OSError):
            mount(f"/proc/{pid}/ns/mnt", path, flags=BIND)
            ended(pid)
            return path
        ended(pid)
    raise OSError("no namespace can be mounted")


def say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def main(place: str) -> None:
    mount("none", place, "tmpfs")
    mount("none", place, flags=PROPAGATION["private"])
    for line in sys.stdin:
        alive, open_files, bound = [], [], []
        for steps, held in json.loads(line):
            if held == "bound":
                bound.append(bound_below(place, steps))
                continue
            pid = started(steps)
            if held == "process":
                alive.append(pid)
                continue
            if held == "fd":
                open_files.append(os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY))
            ended(pid)
        say("made")
        sys.stdin.readline()
        for pid in alive:
            ended(pid)
        for file in open_files:
            os.close(file)
        for path in bound:
            unmount(path)
        say("gone")


if __name__ == "__main__":
    main(sys.argv[1])
