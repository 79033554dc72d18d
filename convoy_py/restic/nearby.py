"""Trees lie together in packs: with one that is read, those around it come along."""

import threading
from collections import OrderedDict

from convoy_py.restic.packs import Blob
from convoy_py.restic.stores.base import Kind, Store

_WINDOW = 256 << 10  # bytes, at multiples of it
_KEPT = 32


class Nearby:
    """The last windows that were read of packs, 8 MiB at most. For several threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._windows: OrderedDict[tuple[bytes, int], bytes] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, pack: bytes, end: int, blob: Blob) -> bytes:
        """The sealed bytes of a blob; the last blob of the pack ends at `end`.

        NotFound or StoreFailed also where what is wrong lies beside the blob.
        """
        first = blob.offset // _WINDOW
        last = (blob.offset + blob.length - 1) // _WINDOW
        if last - first > 1:
            return self._store.read_range(Kind.PACK, pack.hex(), blob.offset, blob.length)
        read = b"".join(self._window(pack, end, number) for number in range(first, last + 1))
        start = blob.offset - first * _WINDOW
        return read[start : start + blob.length]

    def _window(self, pack: bytes, end: int, number: int) -> bytes:
        with self._lock:
            if window := self._windows.get((pack, number)):
                self._windows.move_to_end((pack, number))
                return window
        start = number * _WINDOW
        window = self._store.read_range(Kind.PACK, pack.hex(), start, min(_WINDOW, end - start))
        with self._lock:
            self._windows[pack, number] = window
            if len(self._windows) > _KEPT:
                self._windows.popitem(last=False)
        return window
