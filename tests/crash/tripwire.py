"""Counts what a process changes on the host, and lets it die, or fail, at the one that was chosen.

Python announces most system calls to audit hooks; the rest are wrapped. What only reads is not
counted, nor is close(2), for the death of a process closes everything.
"""

import mmap
import os
import re
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any

from convoy_py.linux import libc

# The kind of change to die at, which of these (0: not armed), and how many were seen since; the
# errno with which it fails instead, and whether all that comes after it fails, too.
CONTROL = struct.Struct("=32sqqqq")
CONTROL_SIZE = mmap.PAGESIZE

_ANNOUNCED = frozenset(
    f"os.{name}"
    for name in (
        *("mkdir", "rmdir", "rename", "remove", "link", "symlink", "truncate", "chmod", "chown"),
        *("utime", "setxattr", "removexattr"),
    )
) | {"fcntl.flock", "subprocess.Popen"}
_WRAPPED = ("fsync", "fdatasync", "write", "writev", "pwrite", "copy_file_range", "posix_fallocate")
# Where errors are injected these count too, on the root and in a repository: they can fail, though
# they change nothing.
_LOOKS = frozenset({"open", "os.listdir", "os.scandir"})
_OURS = re.compile("/(volumes|trash|repositories|repository)\\b")
_FUNCTIONS = frozenset({"mount", "umount2", "syncfs", "renameat2", "syscall"})
# They change nothing: GETFLAGS, FIEMAP, LOOP_GET_STATUS64, LOOP_CTL_GET_FREE; FSGETXATTR, the
# geometry of XFS; of btrfs TREE_SEARCH, INO_LOOKUP, FS_INFO, DEV_INFO; of nsfs NS_MNT_GET_INFO,
# _NEXT, _PREV.
_READING = frozenset(
    {
        *(0x80086601, 0xC020660B, 0x4C05, 0x4C82, 0x801C581F, 0x8100587E),
        *(0xD0009411, 0xD0009412, 0x8400941F, 0xD000941E),
        *(0x8010B70A, 0x8010B70B, 0x8010B70C),
    }
)
# They change nothing that others see: open_tree, mount_setattr of that; statmount, listmount.
_CALLS = {429: "mount"}  # move_mount
_READING_CALLS = frozenset({428, 442, 457, 458})


class Tripwire:
    """Counts the changes of a process and kills it, or lets it fail, at the one that was chosen.

    What it tells of each begins with the `prefix`.
    """

    def __init__(self, control: Path, trace: Path, prefix: str = "") -> None:
        self._prefix = prefix
        self.files = (control, trace)
        with control.open("r+b") as file:
            self._control = mmap.mmap(file.fileno(), CONTROL_SIZE)
        self._trace = os.open(trace, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        self._lock = Lock()
        self._write = os.write

    def install(self) -> None:
        sys.addaudithook(self._announced)
        # By hand: unittest.mock takes a fifth of the time in which a session is loaded.
        for name in _WRAPPED:
            setattr(os, name, self._wrapped(name, getattr(os, name)))
        # When a program is listened to it is at work.
        listen = self._wrapped("communicate", subprocess.Popen.communicate)
        calling = self._calling(libc.call)
        for owner, name, replaced in (
            (subprocess.Popen, "communicate", listen),
            (libc, "call", calling),
        ):
            setattr(owner, name, replaced)

    def _before(self, change: str, *, looks: bool = False) -> None:
        change = f"{self._prefix}{change}"
        with self._lock:
            kind, at, seen, error, lasting = CONTROL.unpack_from(self._control)
            if at == 0 or (looks and not error):
                return
            self._write(self._trace, f"{change}\n".encode())
            if lasting and seen >= at and not looks:
                raise OSError(error, os.strerror(error))
            if change.split(maxsplit=1)[0].encode() != kind.rstrip(b"\0"):
                return
            CONTROL.pack_into(self._control, 0, kind, at, seen + 1, error, lasting)
            if seen + 1 == at:
                if error:
                    raise OSError(error, os.strerror(error))
                os.kill(os.getpid(), signal.SIGKILL)

    def _announced(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in _ANNOUNCED and not _is_of_nothing(event, *arguments):
            self._before(f"{event} {arguments[0]}")
        elif event == "fcntl.ioctl" and arguments[1] not in _READING:
            self._before(f"ioctl {arguments[1]:#x}")
        elif event == "open" and _is_change(*arguments):
            self._before(f"open {arguments[0]}")
        elif event in _LOOKS and _OURS.search(str(arguments[0])):
            self._before(f"look {arguments[0]}", looks=True)

    def _wrapped(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*arguments: Any, **named: Any) -> Any:
            self._before(name)
            return function(*arguments, **named)

        return wrapper

    def _calling(self, call: Callable[..., int]) -> Callable[..., int]:
        def wrapper(function: str, *arguments: Any, **named: Any) -> int:
            number = arguments[0].value if function == "syscall" else 0
            if function in _FUNCTIONS and number not in _READING_CALLS:
                kind = _CALLS.get(number, function)
                self._before(f"{kind} {named.get('about') or ''}")
            return call(function, *arguments, **named)

        return wrapper


def _is_of_nothing(event: str, *arguments: Any) -> bool:
    """Whether this takes away what is not there: the janitor does so, once more, at times."""
    if event != "os.remove":
        return False
    path, folder = arguments
    try:
        os.lstat(path, dir_fd=None if folder == -1 else folder)
    except FileNotFoundError:
        return True
    return False


def _is_change(path: object, mode: object, flags: int) -> bool:
    """Whether this open makes a file, or one of sysfs is opened to set what it stands for."""
    if flags & (os.O_CREAT | os.O_TRUNC):
        return True
    writes = bool(flags & (os.O_WRONLY | os.O_RDWR))
    return writes and str(path).startswith("/sys/")
