"""What is left of a folder's mounts and loop devices, and who keeps it: for those who wait for it.

Read from /proc and /sys alone: nothing that hangs is touched, nothing of the package is used.
"""

import os
from collections import defaultdict
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

_PIECE = 1 << 12


def attached_below(folder: Path) -> list[str]:
    """Loop devices whose file lies, or lay until it was deleted, below a folder."""
    return [f"/dev/{name}" for name, _ in _backing_files(folder)]


def told(folder: Path) -> list[str]:
    """Each mount and loop device below a folder, and the namespaces and processes that have it."""
    devices = {f"/dev/{name}": file for name, file in _backing_files(folder)}
    return [
        *(f"mounted: {mount} ({source})" for mount, source in _mounts("self", folder, devices)),
        *(f"attached: {device} ({file})" for device, file in devices.items()),
        *_namespaces(folder, devices),
        *_open_files(folder, devices),
    ]


def pids() -> list[int]:
    """Every process of this moment."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def command_line(pid: int) -> bytes:
    """With a NUL after each argument; nothing of a process that has ended."""
    return _read(f"/proc/{pid}/cmdline")


def children(pid: int) -> set[int]:
    """Those of all threads of a process."""
    found: set[int] = set()
    for listed in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # the thread has ended
            found.update(map(int, listed.read_text().split()))
    return found


def _namespaces(folder: Path, devices: Collection[str]) -> Iterator[str]:
    """The mount namespaces in which a mount below the folder, or of a device, is to be seen."""
    members: dict[str, list[int]] = defaultdict(list)
    for pid in pids():
        with suppress(OSError):  # it has ended
            members[os.readlink(f"/proc/{pid}/ns/mnt")].append(pid)
    for namespace, inside in members.items():
        if seen := _mounts(inside[0], folder, devices):
            where = ", ".join(mountpoint for mountpoint, _ in seen)
            yield f"seen in {namespace} of {_processes(inside)}: {where}"


def _mounts(pid: int | str, folder: Path, devices: Collection[str]) -> list[tuple[str, str]]:
    """(mountpoint, source) of each mount below the folder, or of a device, that a process sees."""
    found = []
    with suppress(OSError), open(f"/proc/{pid}/mountinfo") as table:
        for line in table:
            before, _, after = line.partition(" - ")
            mountpoint, source = before.split()[4], after.split()[1]
            if source in devices or mountpoint.startswith(f"{folder}/"):
                found.append((mountpoint, source))
    return found


def _open_files(folder: Path, devices: Collection[str]) -> Iterator[str]:
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
        if name.startswith("loop"):
            backing = os.fsdecode(_read(f"/sys/block/{name}/loop/backing_file")).rstrip("\n")
            if backing.startswith(f"{folder}/"):
                found.append((name, backing))
    return found


def _read(path: str) -> bytes:
    """All of a file of the kernel's; nothing where there is none, or its process has ended.

    Without the objects of open(): hundreds of these are read at each look of the crash tests.
    """
    said = b""
    with suppress(OSError):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            while piece := os.read(fd, _PIECE):
                said += piece
        finally:
            os.close(fd)
    return said
