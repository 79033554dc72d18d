"""The contract of a store: whole files by kind and name, written once."""

import re
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Protocol

from convoy_py.restic.errors import Damaged

Piece = bytes | bytearray | memoryview

_ID = re.compile(r"[0-9a-f]{64}")


class Kind(Enum):
    """A kind of file; the value is its folder, as restic names it."""

    CONFIG = "config"  # the only file of its kind; its name is empty
    KEY = "keys"
    PACK = "data"
    INDEX = "index"
    SNAPSHOT = "snapshots"
    LOCK = "locks"


class Store(Protocol):
    """Blocking, and usable from several threads at once.

    Names are 64 lower-case hexadecimal digits; another one is Damaged, for it was read somewhere.
    Every call ends within a bounded time: what is worth a retry was retried. Raises NotFound for a
    file that is not there, NoRepository if it can tell that all of it is away, else StoreFailed.
    """

    @property
    def location(self) -> str:
        """The place as `restic -r` spells it, without anything secret."""

    def prepare(self) -> None:
        """Make what has to be there before the first file is written; what is there stays."""

    def read(self, kind: Kind, name: str) -> bytes:
        """The whole file; what it hashes to is for the caller to check.

        Whatever the storage gives, no more than `bounds.LARGEST` is taken: then it is Damaged.
        """

    def read_range(self, kind: Kind, name: str, offset: int, length: int) -> bytes:
        """So many bytes from there, never fewer: a file that ends before is StoreFailed.

        More than a file can have is Damaged before anything is asked.
        """

    def write(
        self, kind: Kind, name: str, pieces: Sequence[Piece], *, create: bool = False
    ) -> None:
        """The pieces, in order, as one file: whole and durable when this returns.

        When it raises, it is not there; but some servers leave a part of it under its name.
        A file that is there already is written over with the same bytes, which does no harm; with
        `create` another one that is there is AlreadyThere, as far as the storage can tell.
        """

    def list(self, kind: Kind) -> Iterator[tuple[str, int]]:
        """Name and size in bytes of every file of a kind; what bears no id is left out.

        More than `bounds.MOST` is StoreFailed.
        """

    def delete(self, kind: Kind, name: str) -> None:
        """Durable when it returns; a file that is not there is gone already. May be AppendOnly."""

    def close(self) -> None:
        """Give back connections; nothing may be called after it."""


def is_id(name: str) -> bool:
    """Whether it can be the name of a file, and not of something that lies beside."""
    return bool(_ID.fullmatch(name))


def path_of(kind: Kind, name: str) -> str:
    """Where in a repository a file lies, with `/` between; Damaged if that is no file's name."""
    if kind is Kind.CONFIG:
        return str(kind.value)
    if not is_id(name):
        raise Damaged(f"{name!r} is no name of a file in a repository")
    return f"{kind.value}/{name[:2]}/{name}" if kind is Kind.PACK else f"{kind.value}/{name}"
