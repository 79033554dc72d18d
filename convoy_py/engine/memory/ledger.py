"""Keeps count of the space that images were promised, and says whether more can be."""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from convoy_py.errors import HostFull
from convoy_py.linux import space
from convoy_py.models.sizes import format_size
from convoy_py.wire.space import Space


class Ledger:
    """Promised and allocated bytes of every volume; safe to use from any thread.

    A sparse image may be promised `overcommit` times the space that is free beyond the reserve; a
    preallocated one must fit into the free space itself. It is locked for arithmetic alone, and
    two creates cannot both be promised the last of the space.
    """

    def __init__(self, root: Path, *, overcommit: float, reserve: int) -> None:
        self._root = root
        self._overcommit = overcommit
        self.reserve = reserve
        self._outstanding: dict[str, int] = {}
        self._total = 0
        self._rooms = 0  # bytes that copies are about to take
        self._takers = (0, 0)  # bytes that were measured by who began to take them, and has ended
        self._lock = Lock()

    def record(self, name: str, promised: int, allocated: int) -> None:
        """Set what a volume may yet take: what it was promised less what it has."""
        with self._lock:
            self._set(name, max(0, promised - allocated))

    def forget(self, name: str) -> None:
        with self._lock:
            self._set(name, 0)

    def rename(self, name: str, new: str) -> None:
        with self._lock:
            outstanding = self._outstanding.get(name, 0)
            self._set(name, 0)
            self._set(new, outstanding)

    @contextmanager
    def promise(self, name: str, size: int, *, preallocated: bool, key: str = "") -> Iterator[None]:
        """Promise `size` bytes to a new volume; taken back if the block fails.

        `key` is under what it is to be found, where that is not the name. Raises HostFull, with the
        figures and the setting, when the host could not keep the promise.
        """
        key = key or name
        if size:
            free = self.free()  # a look at the disk, so not under the lock
            with self._lock:
                self._check(name, size, free, preallocated=preallocated)
                self._set(key, size)
        try:
            with self._taking(size if preallocated else 0):
                yield
        except BaseException:
            self.forget(key)
            raise

    @contextmanager
    def extend(self, name: str, more: int, *, preallocated: bool) -> Iterator[None]:
        """Promise `more` bytes to a volume that has some; taken back if the block fails."""
        if not more:
            yield
            return
        free = self.free()
        with self._lock:
            before = self._outstanding.get(name, 0)
            self._check(name, more, free, preallocated=preallocated)
            self._set(name, before + more)
        try:
            with self._taking(more if preallocated else 0):
                yield
        except BaseException:
            with self._lock:
                self._set(name, before)
            raise

    @contextmanager
    def room(self, name: str, size: int) -> Iterator[None]:
        """Have `size` bytes of the host for a copy while the block runs; raises HostFull.

        It takes them now, and what was promised to others does not matter to it.
        """
        free = self.free()
        with self._lock:
            self._check_free(name, size, self.reserve + self._rooms, free)
            self._rooms += size
        try:
            with self._taking(size):
                yield
        finally:
            with self._lock:
                self._rooms -= size

    def takers(self) -> tuple[int, int]:
        """Bytes that so far some have begun to take, as they had measured, and have ended to.

        What they take lets the free space fall, but is no sign that it will go on falling.
        """
        return self._takers

    def free(self) -> int:
        """Bytes that the host has free. A look at the disk."""
        return space.free(self._root)

    def space(self) -> Space:
        with self._lock:
            total = self._total
        host, free = os.statvfs(self._root), self.free()
        limit = int(max(0, free - self.reserve) * self._overcommit)
        return Space(
            size=host.f_blocks * host.f_frsize,
            free=free,
            promised=total,
            may_promise=max(0, limit - total),
        )

    @contextmanager
    def _taking(self, size: int) -> Iterator[None]:
        with self._lock:
            self._takers = self._takers[0] + size, self._takers[1]
        try:
            yield
        finally:
            with self._lock:
                self._takers = self._takers[0], self._takers[1] + size

    def _set(self, name: str, outstanding: int) -> None:
        self._total += outstanding - self._outstanding.pop(name, 0)
        if outstanding:
            self._outstanding[name] = outstanding

    def _check(self, name: str, size: int, free: int, *, preallocated: bool) -> None:
        usable = max(0, free - self.reserve)
        if preallocated:
            self._check_free(name, size, self.reserve, free)
        if self._total + size > usable * self._overcommit:
            raise HostFull(
                f"volume {name}: {format_size(size)} cannot be promised, the host has "
                f"{format_size(free)} free, images may yet take {format_size(self._total)} of it, "
                f"and at most {self._overcommit:g} times the free space is promised "
                "(settings overcommit, reserve)",
                needs=self.reserve + math.ceil((self._total + size) / self._overcommit),
            )

    def _check_free(self, name: str, size: int, kept: int, free: int) -> None:
        if size > max(0, free - kept):
            raise HostFull(
                f"volume {name}: {format_size(size)} cannot be reserved, the host has "
                f"{format_size(free)} free and keeps {format_size(self.reserve)} "
                "(setting reserve)",
                needs=kept + size,
            )
