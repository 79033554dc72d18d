"""The contract of a store: whole files by kind and name, written once."""

from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Protocol

Piece = bytes | bytearray | memoryview


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

    Names are 64 lower-case hexadecimal digits. Every call ends within a bounded time: what is worth
    a retry was retried. Raises NotFound for a file that is not there, StoreFailed for all else.
    """

    @property
    def location(self) -> str:
        """The place as `restic -r` spells it, without anything secret."""

    def read(self, kind: Kind, name: str) -> bytes:
        """The whole file; what it hashes to is for the caller to check."""

    def read_range(self, kind: Kind, name: str, offset: int, length: int) -> bytes:
        """So many bytes from there, never fewer: a file that ends before is StoreFailed."""

    def write(
        self, kind: Kind, name: str, pieces: Sequence[Piece], *, create: bool = False
    ) -> None:
        """The pieces, in order, as one file: whole and durable when this returns, or not there.

        A file that is there already is written over with the same bytes, which does no harm; with
        `create` it is AlreadyThere, as far as the storage can tell.
        """

    def list(self, kind: Kind) -> Iterator[tuple[str, int]]:
        """Name and size in bytes of every file of a kind; what bears no id is left out."""

    def delete(self, kind: Kind, name: str) -> None:
        """Durable when it returns; a file that is not there is gone already. May be AppendOnly."""

    def close(self) -> None:
        """Give back connections; nothing may be called after it."""
