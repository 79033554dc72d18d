"""What is left of a folder's mounts and loop devices, and who keeps it: for those who wait for it.

Read from /proc and /sys alone, so that nothing that hangs is touched.
"""

import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from convoy_py.linux import mounts
from convoy_py.linux.loop import LoopDevice


def attached_below(folder: Path) -> list[LoopDevice]:
    """Loop devices whose file lies, or lay until it was deleted, below a folder."""
    return [LoopDevice(Path("/dev", name), int(name[4:])) for name, _ in _backing_files(folder)]


def told(folder: Path) -> list[str]:
    """Each mount and loop device below a folder, and the namespaces and processes that have it."""
    files = _backing_files(folder)
    return [
        *(f"mounted: {each.mountpoint} ({each.source})" for each in mounts.below(folder)),
        *(f"attached: /dev/{name} ({file})" for name, file in files),
        *_namespaces(folder, {f"/dev/{name}" for name, _ in files}),
        *_open_files(folder, {f"/dev/{name}" for name, _ in files}),
    ]


def pids() -> list[int]:
    """Every process of this moment."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def command_line(pid: int) -> bytes:
    """With a NUL after each argument; nothing of a process that has ended."""
    with suppress(OSError), open(f"/proc/{pid}/cmdline", "rb", buffering=0) as file:
        return file.read()
    return b""


def children(pid: int) -> set[int]:
    """Those of all threads of a process."""
    found: set[int] = set()
    for listed in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # the thread has ended
            found.update(map(int, listed.read_text().split()))
    return found


def _namespaces(folder: Path, devices: set[str]) -> Iterator[str]:
    """The mount namespaces in which a mount below the folder, or of a device, is to be seen."""
    members: dict[str, list[int]] = defaultdict(list)
    for pid in pids():
        with suppress(OSError):  # it has ended
            members[os.readlink(f"/proc/{pid}/ns/mnt")].append(pid)
    for namespace, inside in members.items():
        with suppress(OSError):
            seen = [
                each.mountpoint
                for each in mounts.table(inside[0])
                if each.source in devices or each.mountpoint.startswith(f"{folder}/")
            ]
            if seen:
                yield f"seen in {namespace} of {_processes(inside)}: {', '.join(seen)}"


def _open_files(folder: Path, devices: set[str]) -> Iterator[str]:
    """The processes that are in the folder, or have something of it or a device open."""
    for pid in pids():
        links = set(_links(pid))
        opened = {path for path in links if path in devices or f"{path}/".startswith(f"{folder}/")}
        if opened:
            yield f"open in {_processes([pid])}: {', '.join(sorted(opened))}"


def _links(pid: int) -> Iterator[str]:
    with suppress(OSError):  # it has ended
        names = [f"fd/{fd}" for fd in os.listdir(f"/proc/{pid}/fd")]
        for name in ("cwd", "root", *names):
            with suppress(OSError):  # closed just now
                yield os.readlink(f"/proc/{pid}/{name}")


def _processes(inside: list[int]) -> str:
    """The first of some processes by its command, and how many more there are."""
    command = command_line(inside[0]).replace(b"\0", b" ").decode(errors="replace").strip()
    more = f" and {len(inside) - 1} more" if len(inside) > 1 else ""
    return f"process {inside[0]} ({command[:100]}){more}"


def _backing_files(folder: Path) -> list[tuple[str, str]]:
    """(name of a loop device, its file) where that lies below a folder."""
    found = []
    for name in os.listdir("/sys/block"):
        # Of hundreds of devices most are free.
        with suppress(OSError), open(f"/sys/block/{name}/loop/backing_file") as file:
            backing = file.read().rstrip("\n")
            if name.startswith("loop") and backing.startswith(f"{folder}/"):
                found.append((name, backing))
    return found
