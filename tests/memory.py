"""Mounts of one process of the tests alone: its temporary folders lie on an ext4 in memory.

Nobody else sees them, keeps a copy of them or takes them away, and they go with the process and
what it started, however that ends.
"""

import ctypes
import os
import subprocess
from pathlib import Path

import pytest

# Where it is, if there is one.
PLACE = pytest.StashKey[Path]()

# sched.h; os.unshare and os.setns came with Python 3.12.
_CLONE_NEWNS = 0x00020000
_CAP_SYS_ADMIN = 21
_MEMORY = Path("/dev/shm")
_SIZE = 16 << 30  # sparse: it takes what is used, a GiB or two
_ROOM = 8 << 30

_libc = ctypes.CDLL(None, use_errno=True)


def unshare() -> None:
    """Give this thread, and all that it starts, mounts of their own; nothing comes or goes."""
    _check(_libc.unshare(_CLONE_NEWNS))
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)


def enter(namespace: int) -> None:
    """Bring this thread into the mount namespace of a descriptor."""
    _check(_libc.setns(namespace, _CLONE_NEWNS))


def may_mount() -> bool:
    """Whether this process is root with all that belongs to it, unlike root in most containers."""
    return bool(int(_field("/proc/self/status", "CapEff"), 16) >> _CAP_SYS_ADMIN & 1)


def why_not() -> str:
    """Why there can be no filesystem in memory; "" if there can."""
    if not may_mount():
        return "this is not root, or may not mount"
    if int(_field("/proc/meminfo", "MemAvailable").split()[0]) << 10 < _ROOM:
        return f"less than {_ROOM >> 30} GiB of memory are free"
    return ""


def mounted() -> Path:
    """Where in the memory of this process, which is unshared, a filesystem was made."""
    # Where files lie is told of loop devices to all: no two processes may have the same path.
    folder = _MEMORY / f"t{os.getpid()}"
    image = folder.with_suffix(".disk")
    _run("mount", "-t", "tmpfs", "tmpfs", str(_MEMORY))
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(_SIZE)
    _run("mkfs.ext4", "-q", "-m0", "-Elazy_itable_init=1", str(image))
    _run("mount", "-o", "loop,discard,noinit_itable", str(image), str(folder))
    return folder


def _field(file: str, name: str) -> str:
    lines = Path(file).read_text().splitlines()
    return next(line.partition(":")[2] for line in lines if line.startswith(f"{name}:"))


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


def _check(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
