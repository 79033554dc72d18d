"""A mount namespace of the tests' own: they neither meet nor disturb the plugins of the host.

Every engine looks for plugins in the same two folders, and waits for each socket there on which
nobody listens; so in the namespace they are covered. As on a machine with systemd, mounts made in
it reach those who share them.
"""

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# sched.h; os.unshare and os.setns came with Python 3.12.
_CLONE_NEWNS = 0x00020000
# The last is where Podman keeps a cache, wherever its stores are.
_COVERED = (Path("/run/docker"), Path("/etc/docker"), Path("/var/lib/containers"))

_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def own_mounts() -> Iterator[None]:
    """Put this process, and all that it starts, into a namespace; at the end bring it back."""
    made = [folder for folder in _COVERED if not folder.exists()]
    for folder in made:
        folder.mkdir()
    outside = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.unshare(_CLONE_NEWNS))
        _mount("--make-rprivate", "/")
        _mount("--make-rshared", "/")
        for folder in _COVERED:
            _mount("-t", "tmpfs", "tmpfs", str(folder))
        yield
    finally:
        _check(_libc.setns(outside, _CLONE_NEWNS))
        os.close(outside)
        for folder in made:
            with suppress(OSError):  # somebody else uses it by now
                folder.rmdir()


def _check(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)
