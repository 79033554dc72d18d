"""A store in memory, what makes repositories in tests cheap, and a clock that tests set."""

import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

from convoy_py.restic.errors import AlreadyThere, NotFound, StoreFailed
from convoy_py.restic.keyfiles import Scrypt
from convoy_py.restic.repository import Repository
from convoy_py.restic.snapshots import Snapshot
from convoy_py.restic.stores.base import Kind, Piece, Store, is_id, path_of
from convoy_py.restic.stores.bounds import check_length, counted

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

    def prepare(self) -> None:
        pass

    def read(self, kind: Kind, name: str) -> bytes:
        self._called("read", kind, name)
        check_length(kind, name, len(self._file(kind, name)))
        return self._file(kind, name)

    def read_range(self, kind: Kind, name: str, offset: int, length: int) -> bytes:
        self._called("read_range", kind, name)
        check_length(kind, name, length)
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
            return sorted(n for k, n in self.files if k is kind and (not n or is_id(n)))

    def list(self, kind: Kind) -> Iterator[tuple[str, int]]:
        self._called("list", kind, "")
        found = [(name, len(self.files[kind, name])) for name in self.names(kind)]
        return counted(kind, self.location, iter(found))

    def _called(self, verb: str, kind: Kind, name: str) -> None:
        if verb != "list":
            path_of(kind, name)  # a name that is none is Damaged
        with self._lock:
            self.calls.append((verb, kind, name))
        self.before(verb, kind, name)

    def _file(self, kind: Kind, name: str) -> bytes:
        try:
            return self.files[kind, name]
        except KeyError:
            raise NotFound(f"{kind.value}/{name} does not exist") from None


class FakeClock:
    """Stands still but for `sleep`, before which `meanwhile` is called, and for `passes`."""

    def __init__(self) -> None:
        self._now = NOW
        self._elapsed = 1000.0
        self.slept: list[float] = []
        self.meanwhile: Callable[[], object] = lambda: None

    def now(self) -> datetime:
        return self._now

    def elapsed(self) -> float:
        return self._elapsed

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.meanwhile()
        self.passes(seconds)

    def passes(self, seconds: float, *, wall: float | None = None) -> None:
        """Time goes by, for the wall clock by another amount if somebody sets it."""
        self._elapsed += seconds
        self._now += timedelta(seconds=seconds if wall is None else wall)


def new_repository(store: Store, password: str = "right", host: str = "") -> Repository:
    """An empty one, whose password costs nothing to try; its keeper is the `host`, or this one."""
    return Repository.create(store, password, NOW, QUICK, host)


def new_snapshot(tree: bytes, time: datetime = NOW) -> Snapshot:
    return Snapshot(time=time, tree=tree, paths=("/convoy/db",), hostname="host")
