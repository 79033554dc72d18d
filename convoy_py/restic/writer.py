"""What is new goes into a repository: blobs into packs, packs into the index, then a snapshot."""

import hashlib
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from convoy_py.restic import compression, unpacked
from convoy_py.restic import index as indexes
from convoy_py.restic.errors import Damaged, RepositoryError
from convoy_py.restic.packs import TARGET, Blob, BlobKind, Pack, PackFile
from convoy_py.restic.repository import Repository
from convoy_py.restic.snapshots import Snapshot
from convoy_py.restic.stores.base import Kind

_UPLOADS = 2  # packs that are written at a time
_SNAPSHOTS = 8  # the same
_INDEX_AFTER = 60.0  # seconds, or so many bytes:
_INDEX_BYTES = 1 << 30
_INDEX_BLOBS = 50_000
_BATCH_BYTES, _BATCH_BLOBS = 256 << 10, 64  # for one thread

_New = tuple[BlobKind, bytes, bytes]


@dataclass(slots=True)
class Counters:
    """Of what was saved: bytes as given, those not there before, and what those take."""

    blobs: int = 0
    bytes: int = 0
    blobs_new: int = 0
    bytes_new: int = 0
    bytes_stored: int = 0


def _unguarded() -> None:
    pass


class Writer:
    """Saves blobs, and snapshots that need them. The caller has locked the repository before.

    `save` may be called from several threads; all else while nobody saves.
    What goes wrong in a thread is raised by the next call, and by each after it: no index and no
    snapshot is written any more. `guard` is called before each of those, to raise LockLost.
    """

    def __init__(
        self,
        repository: Repository,
        threads: int = 2,
        guard: Callable[[], None] = _unguarded,
        pack_size: int = TARGET,
    ) -> None:
        self.counters = Counters()
        self._repository = repository
        repository.reload_index()  # others may have deleted until there was a lock
        self._index = repository.index
        self._guard = guard
        self._pack_size = pack_size
        self._lock = threading.Lock()  # of all below
        self._failure: BaseException | None = None
        self._ended = False
        self._session: set[tuple[BlobKind, bytes]] = set()  # saved, and in no index file yet
        self._batch: list[_New] = []  # saved, and not yet given to a thread
        self._batch_bytes = 0
        self._batch_full = min(_BATCH_BYTES, pack_size)
        self._open = {kind: PackFile(kind, pack_size) for kind in BlobKind}
        self._packs: list[Pack] = []  # durable, and in no index file yet
        self._unindexed = 0  # bytes in them
        self._indexed_at = time.monotonic()
        self._indexing = threading.Lock()
        self._pool = ThreadPoolExecutor(threads, "seal")
        self._uploads = ThreadPoolExecutor(_SNAPSHOTS, "upload")
        self._chunks = _Slots(threads + 2)
        self._uploading = _Slots(_UPLOADS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.abort()

    def save(self, kind: BlobKind, data: bytes) -> bytes:
        """The id of a blob, stored if it is not there; `data` is not empty and stays as it is.

        Waits while more chunks are in the works than threads can take.
        """
        assert data
        self._raise_failure()
        name = hashlib.sha256(data).digest()
        with self._lock:
            self.counters.blobs += 1
            self.counters.bytes += len(data)
            if (kind, name) in self._session or (kind, name) in self._index:
                return name
            self._session.add((kind, name))
            self.counters.blobs_new += 1
            self.counters.bytes_new += len(data)
            self._batch.append((kind, name, data))
            self._batch_bytes += len(data)
            is_full = self._batch_bytes >= self._batch_full or len(self._batch) >= _BATCH_BLOBS
        if is_full:
            self._hand_on()
        return name

    def _hand_on(self) -> None:
        """To a thread, what was saved: small blobs together, for a thread costs more than one."""
        with self._lock:
            batch, self._batch, self._batch_bytes = self._batch, [], 0
        if batch:
            self._chunks.take()
            self._pool.submit(self._in_thread, self._chunks, lambda: self._pack(batch))

    def settle(self) -> None:
        """The counters have all that was saved, when this returns."""
        self._hand_on()
        self._chunks.wait()
        self._raise_failure()

    def flush(self) -> None:
        """All that was saved is durable, and in an index, when this returns."""
        self.settle()
        for kind in BlobKind:
            with self._lock:
                pack, self._open[kind] = self._open[kind], PackFile(kind, self._pack_size)
            if pack.blobs:
                self._upload(pack)
        self._uploading.wait()
        self._raise_failure()
        self._write_index()

    def commit(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot with its id, durable, and all that was saved before it."""
        return self.commit_all([snapshot])[0]

    def commit_all(self, snapshots: Sequence[Snapshot]) -> list[Snapshot]:
        """The same for several, of which some wait for the store at a time."""
        self.flush()
        if any((BlobKind.TREE, snapshot.tree) not in self._index for snapshot in snapshots):
            raise RepositoryError("the tree of a snapshot was never saved")
        return list(self._uploads.map(self._commit, snapshots))

    def _commit(self, snapshot: Snapshot) -> Snapshot:
        self._guard()
        return self._repository.save_snapshot(snapshot)

    def abort(self) -> None:
        """Stop, without waiting for what is not yet begun; after a commit it only ends threads.

        Packs that are durable are put in an index, so that the next run need not store them again.
        """
        self._ended = True
        self._pool.shutdown()
        self._uploads.shutdown()
        if not self._failure:
            with suppress(RepositoryError):  # no snapshot needs it
                self._write_index()

    def _pack(self, batch: Sequence[_New]) -> None:
        """Compress, seal, prove, and append to packs; full ones are handed on."""
        for kind, name, data in batch:
            sealed, plain_length = self._sealed(kind, name, data)
            with self._lock:
                pack = self._open[kind]
                pack.add(name, sealed, plain_length)
                self.counters.bytes_stored += len(sealed)
                if pack.full:
                    self._open[kind] = PackFile(kind, self._pack_size)
            if pack.full:
                self._upload(pack)

    def _sealed(self, kind: BlobKind, name: bytes, data: bytes) -> tuple[bytes, int]:
        """The sealed bytes, read once more as a reader will; and the plain length, if compressed.

        Against bad memory: what is wrong now would be found when it is needed.
        """
        master = self._repository.master_key
        frame = compression.compress(data)
        shrunk = len(frame) < len(data) or kind is BlobKind.TREE
        sealed, plain_length = master.seal(frame if shrunk else data), len(data) if shrunk else 0
        try:
            Blob(kind, name, 0, len(sealed), plain_length).open(master, sealed)
        except Damaged as error:
            raise RepositoryError(f"memory or processor is broken: {error}") from None
        return sealed, plain_length

    def _upload(self, pack: PackFile) -> None:
        self._uploading.take()
        self._uploads.submit(self._in_thread, self._uploading, lambda: self._store(pack))

    def _store(self, pack: PackFile) -> None:
        listed = pack.finish(self._repository.master_key)
        self._repository.store.write(Kind.PACK, listed.id.hex(), pack.pieces)
        with self._lock:
            self._packs.append(listed)
            self._unindexed += pack.size
            blobs = sum(len(pack.blobs) for pack in self._packs)
            due = (
                self._unindexed >= _INDEX_BYTES
                or blobs >= _INDEX_BLOBS
                or time.monotonic() - self._indexed_at >= _INDEX_AFTER
            )
        if due:
            self._write_index()

    def _write_index(self) -> None:
        """Of the packs that are durable; only then others may build on their blobs."""
        with self._indexing:
            with self._lock:
                packs, self._packs, self._unindexed = self._packs, [], 0
                self._indexed_at = time.monotonic()
            if not packs:
                return
            try:
                self._guard()
                repository = self._repository
                plain = indexes.encode(packs)
                name = unpacked.save(repository.store, repository.master_key, Kind.INDEX, plain)
            except BaseException as error:
                self._fail(error)
                raise
            with self._lock:
                self._index.add_file(name, packs)
                self._session -= {(blob.kind, blob.id) for pack in packs for blob in pack.blobs}

    def _in_thread(self, slots: "_Slots", work: Callable[[], None]) -> None:
        try:
            if not self._failure and not self._ended:
                work()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the next call raises it
            self._fail(error)
        finally:
            slots.give()

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            self._failure = self._failure or error

    def _raise_failure(self) -> None:
        if self._failure:
            raise self._failure
        if self._ended:
            raise RepositoryError("the writing was ended")


class _Slots:
    """So many at a time, and a way to wait until none is taken."""

    def __init__(self, count: int) -> None:
        self._free = self._count = count
        self._changed = threading.Condition()

    def take(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._free > 0)
            self._free -= 1

    def give(self) -> None:
        with self._changed:
            self._free += 1
            self._changed.notify_all()

    def wait(self) -> None:
        """Until all are free."""
        with self._changed:
            self._changed.wait_for(lambda: self._free == self._count)
