"""Filesystems that hold still while they are copied, and that are thawed whatever happens."""

import errno
import fcntl
import os
import select
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path

from convoy_py.linux import descriptors, files, libc, mounts, process, watchdog
from convoy_py.linux.walk import FOLDER

_FIFREEZE = 0xC0045877
_START_SECONDS = 10


def freeze(folder: int | Path) -> None:
    """Write all of the folder's filesystem to the disk and make writers wait for the thaw.

    Raises OSError: EBUSY if it is frozen already, EOPNOTSUPP if its kind cannot be frozen.
    """
    with _opened(folder) as fd:
        _freeze(fd, str(folder))


def thaw(folder: int | Path) -> bool:
    """Let the writers go on; False if the filesystem was not frozen."""
    with _opened(folder) as fd:
        return watchdog.thaw(fd)


@contextmanager
def frozen(
    mountpoints: Sequence[Path],
    *,
    note: Path,
    encode: Callable[[Sequence[str]], bytes],
    limit: float,
    tell: Callable[[float], None] = lambda _: None,
) -> Iterator[None]:
    """Freeze the filesystems mounted there, in this order, while the block runs.

    They are thawed at its end, however it ends; by a process beside us if we are killed or
    `limit` seconds go by; and by `thaw_noted` if that is killed as well: until they are thawed
    the file `note` names the mountpoints, as `encode` has them written. `tell` hears of the seconds
    from the first freeze to the last thaw, which is as long as a writer may have waited.

    Raises OSError: ETIMEDOUT, after the block, if one was thawed before its end, so that what the
    block copied is of no use; EBUSY if one is frozen already; EINVAL if no filesystem but the
    host's lies at a mountpoint. Unless all could be frozen none is.
    """
    with ExitStack() as stack:
        folders = [(stack.enter_context(_filesystem(path)), str(path)) for path in mountpoints]
        for folder, mountpoint in folders:
            # As long as this takes nobody waits; what is left to write is little then.
            libc.call("syncfs", folder, about=mountpoint)
        names = [mountpoint for _, mountpoint in folders]
        with _watched(names, limit):
            files.durable_replace(note, encode(names), durable=False)
            to_thaw: list[tuple[int, str]] = []
            began = time.monotonic()
            try:
                for folder, mountpoint in folders:
                    _freeze(folder, mountpoint)
                    to_thaw.append((folder, mountpoint))
                yield
            finally:
                lapsed = _thaw_all(to_thaw)
                if to_thaw:
                    tell(time.monotonic() - began)
                note.unlink(missing_ok=True)
    if lapsed:
        raise TimeoutError(
            errno.ETIMEDOUT,
            f"it was thawed before the work was done, for which there are {limit:g} s",
            lapsed[0],
        )


def thaw_noted(folder: Path, read: Callable[[Path], Sequence[str] | None]) -> list[str]:
    """Thaw what a killed daemon left frozen: all that the notes in `folder` name.

    `read` says what a note names, or None if it cannot know. Returns the mountpoints that were
    frozen. The notes are deleted, but for those and one that names a filesystem that cannot be
    thawed.
    """
    thawed = []
    for note in sorted(folder.iterdir()) if folder.is_dir() else ():
        with suppress(OSError):
            if (names := read(note)) is not None:
                thawed += [name for name in names if _thawed_if_mounted(Path(name))]
                note.unlink()
    return thawed


def _opened(folder: int | Path) -> AbstractContextManager[int]:
    return nullcontext(folder) if isinstance(folder, int) else descriptors.opened(folder, FOLDER)


def _filesystem(mountpoint: Path) -> AbstractContextManager[int]:
    """The descriptor of a mountpoint, which must be of another filesystem than what is around."""
    mount = mounts.find(mountpoint)
    if mount is None or mount.device == mounts.holding(mountpoint.parent).device:
        raise OSError(
            errno.EINVAL, "only a filesystem that is mounted there can be frozen", str(mountpoint)
        )
    return descriptors.opened(mountpoint, FOLDER)


def _freeze(folder: int, about: str) -> None:
    try:
        fcntl.ioctl(folder, _FIFREEZE, 0)
    except OSError as error:
        words = "it is frozen already" if error.errno == errno.EBUSY else error.strerror
        raise OSError(error.errno, words, about) from None


def _thaw_all(to_thaw: Sequence[tuple[int, str]]) -> list[str]:
    """Thaw in reverse order; the mountpoints where there was nothing to thaw.

    An error keeps none of the others frozen; the last one is raised when all were tried.
    """
    lapsed = []
    failure: OSError | None = None
    for folder, mountpoint in reversed(to_thaw):
        try:
            if not watchdog.thaw(folder):
                lapsed.append(mountpoint)
        except OSError as error:
            failure = OSError(error.errno, f"it stays frozen: {error.strerror}", mountpoint)
    if failure is not None:
        raise failure
    return lapsed


@contextmanager
def _watched(mountpoints: Sequence[str], limit: float) -> Iterator[None]:
    """Have a process beside us that thaws these, should we not come to the end of the block."""
    command = [sys.executable, "-I", "-S", watchdog.__file__, str(limit), *mountpoints]
    with process.companion(command) as (orders, answers):
        started = select.poll()
        started.register(answers, select.POLLIN)
        if not started.poll(_START_SECONDS * 1000) or os.read(answers, 64) != watchdog.READY:
            raise OSError("nothing was frozen, as the watchdog that would thaw it did not start")
        try:
            yield
        finally:
            with suppress(BrokenPipeError):
                os.write(orders, watchdog.DONE)


def _thawed_if_mounted(mountpoint: Path) -> bool:
    # What lies there with nothing mounted is the host's filesystem, and none of our business.
    return mounts.is_mountpoint(mountpoint) and thaw(mountpoint)
