"""What the kernel says: mounts, loop devices and processes, read without the package under test."""

import errno
import fcntl
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.e2e.waiting import until

_FIFREEZE, _FITHAW = 0xC0045877, 0xC0045878


def mounts_at(path: Path) -> list[list[str]]:
    """The mountinfo fields of every mount at exactly `path`, the topmost last."""
    return [fields for fields in _mountinfo() if fields[4] == str(path)]


def mounts_below(folder: Path) -> list[str]:
    """Mountpoints below a folder, the innermost first."""
    return sorted((f[4] for f in _mountinfo() if f[4].startswith(f"{folder}/")), reverse=True)


def unmount_below(folder: Path) -> None:
    """Take away every mount below a folder, in use or not."""
    for mountpoint in mounts_below(folder):
        subprocess.run(["umount", "-l", mountpoint], check=False)


@contextmanager
def filesystem(folder: Path, kind: str, size: int) -> Iterator[None]:
    """Make `folder`, and mount a new filesystem of a kind and size there, from a sparse file."""
    folder.mkdir()
    file = folder.with_suffix(".disk")
    with file.open("wb") as disk:
        disk.truncate(size)
    subprocess.run([f"mkfs.{kind}", "-q", file], check=True)
    subprocess.run(["mount", "-o", "loop", file, folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)
        file.unlink()


def is_frozen(mountpoint: Path) -> bool:
    """Whether a filesystem is frozen; found out by freezing it, and so thawed if it was not."""
    folder = os.open(mountpoint, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(folder, _FIFREEZE, 0)
        fcntl.ioctl(folder, _FITHAW, 0)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return True
    finally:
        os.close(folder)
    return False


def loop_devices(backing: Path) -> list[str]:
    """Names of the loop devices attached to a file, or to files below a folder."""
    found = []
    for attribute in Path("/sys/block").glob("loop*/loop/backing_file"):
        with suppress(OSError):  # detached meanwhile
            file = attribute.read_text(encoding="utf-8").strip().removesuffix(" (deleted)")
            if file == str(backing) or file.startswith(f"{backing}/"):
                found.append(attribute.parts[3])
    return sorted(found)


def remove_cgroups(name: str) -> None:
    """Remove the control groups of a name, and those in them, from every hierarchy."""
    root = Path("/sys/fs/cgroup")
    for top in (root / name, *root.glob(f"*/{name}")):
        for folder, _, _ in os.walk(top, topdown=False):
            os.rmdir(folder)


def end_processes_of(home: Path) -> None:
    """Kill whatever has `home` on its command line, with its children.

    Only what sees our mounts: in another run of the tests a folder may have the same name.
    """
    here = _mount_namespace(os.getpid())
    ours = [
        pid for pid in _pids() if str(home) in _command_line(pid) and _mount_namespace(pid) == here
    ]
    ours += [pid for pid in _pids() if _parent(pid) in ours]
    for pid in set(ours) - {os.getpid()}:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    until(lambda: not any(map(_command_line, ours)), "the end of an engine's processes")


def _mountinfo() -> list[list[str]]:
    text = Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    return [line.split(" ") for line in text.splitlines()]


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _command_line(pid: int) -> str:
    """Empty for a process that has ended, even if nobody has waited for it yet."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _mount_namespace(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/mnt")
    except OSError:
        return ""


def _parent(pid: int) -> int:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[1])
