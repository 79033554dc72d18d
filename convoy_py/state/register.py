"""The register: a folder with one entry, whose name is a value that several hosts may change.

<folder>/<value>/value      the entry is a folder, and not empty

Renaming the entry from the value that was read last is a compare-and-swap on every engine that was
tried, where exclusive creation, links and locks are not: who comes second finds no entry of that
name, and a folder that is not empty is never replaced. Two rules are for the callers. No value
comes twice in the life of a register, so that an entry of that name is the one that was meant. And
a value tells who wrote it, so that whoever got no answer can read whether it was done. Nothing is
decided by what was read alone, for that may be old: only by a swap from it.
"""

import errno
import os
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from convoy_py.errors import Unavailable
from convoy_py.linux import files

# What lies in the entry.
FILLING = "value"
# For how long a listing may show no entry, or two, or the one of before.
PATIENCE_SECONDS = 2.0
LOOK_SECONDS = 0.02
_LONGEST_BYTES = 255
# What a folder in the way is told by.
_TAKEN = (errno.ENOTEMPTY, errno.EEXIST)


@dataclass(frozen=True)
class Waiting:
    """By which clock it is waited, and how."""

    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


_WAITING = Waiting()


def make(folder: Path, value: str, waiting: Waiting = _WAITING) -> bool:
    """Make a register with its first value, durably; False if there is one already.

    It is built beside, as `.new-<name>-<random>`: a crash may leave that.
    """
    aside = folder.with_name(f".new-{folder.name}-{secrets.token_hex(6)}")
    entry = aside / _checked(value)
    entry.mkdir(mode=0o700, parents=True)
    try:
        files.durable_make(entry / FILLING, b"")
        files.fsync_dir(aside)
        try:
            _rename(aside, folder)
        except OSError as error:
            if not folder.is_dir():
                raise
            # The first answer may have been lost, and this be that of a repetition.
            if error.errno in _TAKEN or read(folder, waiting) != value:
                return False
    finally:
        with suppress(OSError):
            files.remove_tree(aside)
    files.fsync_dir(folder.parent)
    return True


def read(folder: Path, waiting: Waiting = _WAITING) -> str:
    """The value, as of now or of a moment ago.

    Raises FileNotFoundError if there is no such register, and Unavailable if its storage does not
    tell one value.
    """
    return _awaited(folder, waiting, lambda _: True)


def swap(folder: Path, old: str, new: str, waiting: Waiting = _WAITING) -> bool:
    """Change the value if it is `old`; whether that was done. It survives a power cut on return.

    Raises FileNotFoundError as `read` does; Unavailable if nobody can say whether it was done, or
    will yet be; and files.Unsettled if it was, but may not survive a power cut.
    """
    assert old != new
    try:
        _rename(folder / old, folder / _checked(new))
    except OSError as error:
        try:
            value = _awaited(folder, waiting, lambda value: value != old)
        except Unavailable as unclear:
            raise Unavailable(f"{unclear}: {error.strerror}") from error
        if value != new:  # else it was done, whatever was answered
            return False
    try:
        files.fsync_dir(folder)
    except OSError as error:
        raise files.Unsettled.after(error, folder) from error
    return True


def _awaited(folder: Path, waiting: Waiting, is_it: Callable[[str], bool]) -> str:
    """The value, once there is one alone, and `is_it`."""
    until = waiting.clock() + PATIENCE_SECONDS
    while True:
        try:
            names = _listed(folder)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise Unavailable(f"register {folder}: {error.strerror}") from error
        if len(names) == 1 and is_it(names[0]):
            return names[0]
        if waiting.clock() >= until:
            raise Unavailable(f"register {folder} has {', '.join(names) or 'no value'}")
        waiting.sleep(LOOK_SECONDS)


def _checked(value: str) -> str:
    """A value that can be a name; what begins with a dot is an engine's own."""
    if value[:1] in ("", ".") or "/" in value or len(value.encode()) > _LONGEST_BYTES:
        raise ValueError(f"no value of a register: {value!r}")
    return value


# The two calls on which all rests; tests have others for them.
def _rename(old: Path, new: Path) -> None:
    os.rename(old, new)  # noqa: PTH104 - Path.rename says nothing more


def _listed(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if name[0] != ".")  # noqa: PTH208 - names


@dataclass(frozen=True)
class Register:
    """One register, for whoever need not know where it lies."""

    folder: Path
    waiting: Waiting = _WAITING

    def read(self) -> str:
        return read(self.folder, self.waiting)

    def swap(self, old: str, new: str) -> bool:
        return swap(self.folder, old, new, self.waiting)
