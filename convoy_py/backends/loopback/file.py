"""The file of an image: begun, copied, made longer, and given blocks of its own."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from convoy_py.linux import extents, files, reflink
from convoy_py.linux import precopy as precopies
from convoy_py.linux.descriptors import made, opened
from convoy_py.linux.reflink import Step


def occupied(image: Path) -> int:
    """Bytes that the host has given for it."""
    return image.stat().st_blocks * 512


@contextmanager
def begun(image: Path, size: int, *, reserved: bool) -> Iterator[int]:
    """Make a new one of so many zeros, open in the block; with all of its blocks, if `reserved`."""
    with made(image) as fd:
        if reserved:
            # On btrfs a reserved block stays reserved only if it is overwritten in place.
            files.set_nocow(fd)
            files.allocate(fd, size)
        else:
            reflink.keep_in_pieces(fd)
            os.ftruncate(fd, size)
        yield fd


def copy(source: Path, target: Path, step: Step, counted: int, *, share: bool = True) -> None:
    """Make a new file of an image with its holes; if it may `share`, by reflink where that is.

    What `step` is told adds up to `counted`.
    """
    with opened(source) as old, made(target) as new:
        reflink.copy(old, new, reflink.scaled(step, os.fstat(old).st_size, counted), share=share)


def precopy(source: Path, target: Path, step: Step) -> None:
    """Make a part of what `copy` makes by reflink, in pieces beside writers, for `complete`.

    May be repeated. Does nothing where that gains nothing.
    """
    with opened(source) as old:
        if not precopies.pays(old):
            return
        with _opened(target) if target.exists() else made(target) as new:
            precopies.advance(old, new, step)


def complete(source: Path, target: Path, step: Step) -> None:
    """Make of what `precopy` made that which `copy` makes by reflink."""
    with opened(source) as old, _opened(target) as new:
        precopies.complete(old, new, step)


def extend(image: Path, size: int, *, reserved: bool) -> None:
    """Make it `size` bytes long, if it is shorter; all or nothing. Durable.

    If `reserved`, the host gives all the blocks for it now. Raises files.Unsettled if it is longer
    by then.
    """
    with _opened(image) as fd:
        if reserved:
            files.allocate(fd, size)
        elif os.fstat(fd).st_size < size:
            os.ftruncate(fd, size)
        try:
            os.fsync(fd)
        except OSError as error:
            raise files.Unsettled.after(error, image) from error


def reserve(image: Path, step: Step, counted: int) -> None:
    """Give an image that nobody uses all of its blocks, and let it share none with another.

    Sharing would take the promise back: each first write to what is shared needs a new block.
    What `step` is told adds up to `counted`, if it shares any.
    """
    with _opened(image) as old:
        size = os.fstat(old).st_size
        if not extents.shares(old).shared:
            files.allocate(old, size)
            return
        whole = image.with_name(f"{image.name}.whole")
        with made(whole) as new:
            files.set_nocow(new)
            files.allocate(new, size)
            reflink.copy(old, new, reflink.scaled(step, size, counted), share=False)
            os.fsync(new)
    whole.rename(image)


def _opened(path: Path) -> AbstractContextManager[int]:
    return opened(path, os.O_RDWR | os.O_NOFOLLOW)
