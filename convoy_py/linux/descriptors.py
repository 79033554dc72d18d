"""Descriptors of paths, closed again at the end of a block."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path


def opened(
    path: Path | str, flags: int = os.O_NOFOLLOW, *, folder: int | None = None
) -> AbstractContextManager[int]:
    """The descriptor of `path`, below the open `folder` if one is given, and opened right away.

    For reading unless `flags` say more; a link at the end is not followed unless they say less.
    """
    return closing(os.open(path, flags | os.O_CLOEXEC, dir_fd=folder))


def made(path: Path) -> AbstractContextManager[int]:
    """The descriptor of a new file, to be read and written, which root alone may; follows no link.

    Raises FileExistsError.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    return closing(os.open(path, flags, 0o600))


@contextmanager
def closing(fd: int) -> Iterator[int]:
    """Close an open descriptor at the end of the block."""
    try:
        yield fd
    finally:
        os.close(fd)
