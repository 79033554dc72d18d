"""A mount namespace of the tests' own: they neither meet nor disturb the plugins of the host.

Every engine looks for plugins in the same two folders, and waits for each socket there on which
nobody listens; so in the namespace they are covered. As on a machine with systemd, mounts made in
it reach those who share them.
"""

import fcntl
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests import memory
from tests.e2e import forks

# The last is where Podman keeps a cache, wherever its stores are.
_COVERED = (Path("/run/docker"), Path("/etc/docker"), Path("/var/lib/containers"))
# Marks a folder that was made to be covered.
_OURS = "trusted.convoy-tests"


@contextmanager
def own_mounts() -> Iterator[None]:
    """Put this process, and all that it starts, into a namespace; at the end bring it back."""
    held = [_held(folder) for folder in _COVERED]
    outside = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        memory.unshare()
        _mount("--make-rshared", "/")
        for folder in _COVERED:
            _mount("-t", "tmpfs", "tmpfs", str(folder))
        with forks.seeing_these_mounts():
            yield
    finally:
        memory.enter(outside)
        os.close(outside)
        for folder, descriptor in zip(_COVERED, held, strict=True):
            _let_go(folder, descriptor)


def _held(folder: Path) -> int:
    """A descriptor that tells others that this is covered here; the folder is made if need be."""
    while True:
        with suppress(FileExistsError):
            folder.mkdir()
            os.setxattr(folder, _OURS, b"")
        with suppress(FileNotFoundError):  # the last one went just now, and took it away
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            if os.path.samestat(os.fstat(descriptor), folder.stat()):
                return descriptor
            os.close(descriptor)


def _let_go(folder: Path, descriptor: int) -> None:
    """Remove a folder that was made for this, unless it is covered elsewhere: that would end."""
    with suppress(OSError):  # it was there before, it is covered elsewhere, or has come into use
        os.getxattr(descriptor, _OURS)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        folder.rmdir()
    os.close(descriptor)


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)
