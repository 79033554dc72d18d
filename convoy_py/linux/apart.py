"""Runs a call where some mounts are not seen: neither by it nor by the programs that it starts."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from convoy_py.linux import libc, loop, mounts

_CLONE_NEWNS = 0x20000
_MS_REC, _MS_SLAVE = 0x4000, 0x80000
# Where the programs lie, and what they need.
_PROGRAMS = (Path("/usr"), Path("/sbin"), Path("/lib"), Path("/dev"))

T = TypeVar("T")


def silent_mounts(image: Path) -> list[str]:
    """Where loop devices are mounted that cannot have the image, or do not answer whether they do.

    Not those on which the image lies itself, or the programs that are to see it.
    """
    found = mounts.lines_with(mounts.read(), b" /dev/loop")
    if not found:
        return []
    answering = loop.answering(image)
    needed = [image.resolve(), *map(Path.resolve, _PROGRAMS)]
    return [
        mount.mountpoint
        for mount in found
        if (number := loop.number_of(mount.source)) is not None
        and number not in answering
        and not any(path.is_relative_to(mount.mountpoint) for path in needed)
    ]


def without(mountpoints: Sequence[str], call: Callable[[], T]) -> T:
    """Make the call, and wait for it, in a thread whose mount namespace lacks these mounts.

    What is unmounted meanwhile is unmounted there, too, where mounts propagate. A process that may
    have no namespace of its own makes the call as it is.
    """
    if not mountpoints:
        return call()
    with ThreadPoolExecutor(1, thread_name_prefix="convoy-apart") as thread:
        return thread.submit(_apart, mountpoints, call).result()


def unshare() -> None:
    """Give this thread, and all that it starts, mounts of its own, which nobody else sees.

    What others unmount is unmounted here, too, where mounts propagate. Raises PermissionError.
    """
    libc.call("unshare", _CLONE_NEWNS)
    libc.call("mount", None, b"/", None, _MS_REC | _MS_SLAVE, None)


def _apart(mountpoints: Sequence[str], call: Callable[[], T]) -> T:
    with suppress(PermissionError):
        unshare()
        for mountpoint in mountpoints:
            with suppress(OSError):  # it is gone already
                mounts.detach(mountpoint)
    return call()
