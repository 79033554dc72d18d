"""Notices that a storage does not answer: a call that the kernel keeps waiting ends for nobody."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from convoy_py.restic.stores.base import Kind, Piece, Store

_LOOKS = 20  # in the time that a call may take


class Watched:
    """A store of which each call is timed; `silent` is called, once, when one takes too long.

    By a thread of its own, for those that call may be beyond any signal. Clocks that stand still
    while the machine sleeps count.
    """

    def __init__(self, store: Store, seconds: float, silent: Callable[[str], None]) -> None:
        self._store = store
        self._seconds = seconds
        self._silent = silent
        self._since: dict[int, tuple[float, str]] = {}  # by thread
        self._over = threading.Event()
        threading.Thread(target=self._look, daemon=True, name="watch").start()

    @property
    def location(self) -> str:
        return self._store.location

    def prepare(self) -> None:
        with self._timed("be made"):
            self._store.prepare()

    def read(self, kind: Kind, name: str) -> bytes:
        with self._timed("be read"):
            return self._store.read(kind, name)

    def read_range(self, kind: Kind, name: str, offset: int, length: int) -> bytes:
        with self._timed("be read"):
            return self._store.read_range(kind, name, offset, length)

    def write(
        self, kind: Kind, name: str, pieces: Sequence[Piece], *, create: bool = False
    ) -> None:
        with self._timed("be written to"):
            self._store.write(kind, name, pieces, create=create)

    def list(self, kind: Kind) -> Iterator[tuple[str, int]]:
        with self._timed("be listed"):
            found = self._store.list(kind)
        while True:
            with self._timed("be listed"):
                one = next(found, None)
            if one is None:
                return
            yield one

    def delete(self, kind: Kind, name: str) -> None:
        with self._timed("be deleted from"):
            self._store.delete(kind, name)

    def close(self) -> None:
        self._over.set()
        self._store.close()

    @contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        thread = threading.get_ident()
        self._since[thread] = time.monotonic(), what
        try:
            yield
        finally:
            del self._since[thread]

    def _look(self) -> None:
        while not self._over.wait(self._seconds / _LOOKS):
            # A copy at once, for those who call change it meanwhile.
            since, what = min(self._since.copy().values(), default=(time.monotonic(), ""))
            if time.monotonic() - since >= self._seconds:
                self._silent(
                    f"the repository {self.location} waits to {what} and has not answered for "
                    f"{self._seconds:.0f} s: is its storage there?"
                )
                return
