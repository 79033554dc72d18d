"""A store in memory, and what makes repositories in tests cheap."""

import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

from convoy_py.restic.errors import AlreadyThere, NotFound, StoreFailed
from convoy_py.restic.keyfiles import Scrypt
from convoy_py.restic.stores.base import Kind, Piece

QUICK = Scrypt(n=16, r=1, p=1)
NOW = datetime(2026, 7, 1, 12, 30, 15, 123456, tzinfo=UTC)


class MemoryStore:
    """Keeps to the contract `Store`; `files` are what lies there, to be damaged by tests.

    `before` is called with the verb, kind and name of each call, and may raise StoreFailed.
    """

    def __init__(self) -> None:
        self.files: dict[tuple[Kind, str], bytes] = {}
        self.before: Callable[[str, Kind, str], None] = lambda verb, kind, name: None
        self.calls: list[tuple[str, Kind, str]] = []
        self._lock = threading.Lock()

    @property
    def location(self) -> str:
        return "memory:"

    def read(self, kind: Kind, name: str) -> bytes:
        self._called("read", kind, name)
        return self._file(kind, name)

    def read_range(self, kind: Kind, name: str, offset: int, length: int) -> bytes:
        self._called("read_range", kind, name)
        part = self._file(kind, name)[offset : offset + length]
        if len(part) < length:
            raise StoreFailed(f"{kind.value}/{name} ends before byte {offset + length}")
        return part

    def write(
        self, kind: Kind, name: str, pieces: Sequence[Piece], *, create: bool = False
    ) -> None:
        self._called("write", kind, name)
        with self._lock:
            if create and (kind, name) in self.files:
                raise AlreadyThere(f"{kind.value}/{name} is there already")
            self.files[kind, name] = b"".join(pieces)

    def delete(self, kind: Kind, name: str) -> None:
        self._called("delete", kind, name)
        with self._lock:
            self.files.pop((kind, name), None)

    def close(self) -> None:
        pass

    def names(self, kind: Kind) -> list[str]:
        with self._lock:
            return sorted(n for k, n in self.files if k is kind)

    def list(self, kind: Kind) -> Iterator[tuple[str, int]]:
        self._called("list", kind, "")
        return iter([(name, len(self.files[kind, name])) for name in self.names(kind)])

    def _called(self, verb: str, kind: Kind, name: str) -> None:
        with self._lock:
            self.calls.append((verb, kind, name))
        self.before(verb, kind, name)

    def _file(self, kind: Kind, name: str) -> bytes:
        try:
            return self.files[kind, name]
        except KeyError:
            raise NotFound(f"{kind.value}/{name} does not exist") from None
