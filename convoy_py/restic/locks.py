"""Locks by restic's rules: written, refreshed, waited for, and told when they are lost.

A lock is a file that says who works on the repository; many share it, or one has it alone. Who
holds one refreshes it every five minutes, and it counts for nothing after half an hour. Only age
tells a live lock from a dead one: `this_host()` is a name that no restic bears, for restic looks
for the process of a lock of its own host, with a signal that kills.
"""

import hashlib
import json
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, Self

from convoy_py.restic.errors import Damaged, Locked, LockLost, NotFound, RepositoryError
from convoy_py.restic.seal import MasterKey
from convoy_py.restic.stores.base import Kind, Store
from convoy_py.restic.unpacked import encode, load

REFRESHED = 5 * 60.0  # seconds
REFRESHED_AFTER_FAILURE = 60.0
LOST = 22 * 60.0
STALE = timedelta(minutes=30)
# A lock of somebody who wrote at the same moment is seen after this.
_SETTLED = 0.2
_UNREADABLE = (5.0, 10.0, 20.0)
_SHORTEST_WAIT, _LONGEST_WAIT = 5.0, 60.0


class Clock(Protocol):
    def now(self) -> datetime:
        """The wall clock's time, with a zone."""

    def elapsed(self) -> float:
        """Seconds of a clock that nobody sets, and that goes on while the machine sleeps."""

    def sleep(self, seconds: float) -> None:
        """Wait; may raise to give up."""


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC).astimezone()  # noqa: TID251 - this is the clock that is handed out

    def elapsed(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


def this_host() -> str:
    """The name of this host in our locks."""
    return f"{socket.gethostname()}/convoy"


@dataclass(frozen=True)
class Found:
    """A lock that lies in a repository; what could not be read has no time and excludes all."""

    id: str
    exclusive: bool = True
    time: datetime | None = None
    host: str = ""
    user: str = ""
    pid: int = 0

    def is_stale(self, now: datetime) -> bool:
        return self.time is not None and now - self.time > STALE

    def told(self, now: datetime) -> str:
        """Who holds it, and since when, as a part of a sentence."""
        if self.time is None:
            return f"by what cannot be read (lock {self.id[:8]})"
        how = "exclusively " if self.exclusive else ""
        age = max(int((now - self.time).total_seconds()), 0)
        since = self.time.astimezone(now.tzinfo).isoformat(sep=" ", timespec="seconds")
        return f"{how}by {self.user}@{self.host} (process {self.pid}) since {since}, {age} s ago"


@dataclass(frozen=True)
class Locks:
    """The locks of a repository.

    Others are waited for `wait` seconds; with none, who finds it locked is told at once.
    `remember` is called, by any thread, with all ids that may be ours: before one more is written,
    and after some are gone. What a crash leaves of them is for `remove_own`.
    """

    store: Store
    master_key: MasterKey
    wait: float = 0.0
    remember: Callable[[Sequence[str]], None] = lambda _: None
    host: str = field(default_factory=this_host)
    user: str = "root"
    clock: Clock = field(default_factory=SystemClock)

    def shared(self) -> "Lock":
        """Beside others that share it: to back up, to restore, to list. Raises Locked."""
        return Lock(self, exclusive=False)

    def exclusive(self) -> "Lock":
        """Alone: to forget, to prune, to check. Raises Locked."""
        return Lock(self, exclusive=True)

    def found(self, *, but: Sequence[str] = ()) -> list[Found]:
        """All that lie there, but for some; one that was just being written is read again."""
        names = [name for name, size in self.store.list(Kind.LOCK) if size and name not in but]
        found, unreadable = self._read(names)
        for pause in _UNREADABLE:
            if not unreadable:
                break
            self.clock.sleep(pause)
            more, unreadable = self._read(unreadable)
            found += more
        return found + [Found(name) for name in unreadable]

    def remove_stale(self) -> list[Found]:
        """Remove those that nobody refreshed for half an hour, and tell which."""
        now = self.clock.now()
        stale = [found for found in self.found() if found.is_stale(now)]
        for found in stale:
            self.store.delete(Kind.LOCK, found.id)
        return stale

    def remove_all(self) -> list[str]:
        """Remove even those of who works now: only for somebody who knows that nobody does."""
        names = [name for name, _ in self.store.list(Kind.LOCK)]
        self.remove_own(names)
        return names

    def remove_own(self, names: Sequence[str]) -> None:
        """Remove what a crash left of ours; those that are gone already do no harm."""
        for name in names:
            self.store.delete(Kind.LOCK, name)

    def _read(self, names: Sequence[str]) -> tuple[list[Found], list[str]]:
        """Those that can be read, and the names of the others."""
        found: list[Found] = []
        unreadable: list[str] = []
        for name in names:
            try:
                found.append(_parsed(name, load(self.store, self.master_key, Kind.LOCK, name)))
            except NotFound:
                continue
            except Damaged:
                unreadable.append(name)
        return found, unreadable


class Lock:
    """Ours, from when it is made until `release`; a thread refreshes it meanwhile."""

    def __init__(self, locks: Locks, *, exclusive: bool) -> None:
        self._locks = locks
        self._clock = locks.clock
        self._exclusive = exclusive
        self._ids: list[str] = []  # all that may lie there and are ours
        self._current = ""  # the one that does
        self._written_at = (locks.clock.now(), locks.clock.elapsed())
        self._lost = ""
        self._failed = ""
        self._changing = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._refresh_always, daemon=True)
        self._take()
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def check(self) -> None:
        """Raise LockLost if nothing may be written any more. Asks nobody: call it often."""
        if self._age() >= LOST and not self._lost:
            self._lost = f"it was not refreshed for {LOST / 60:.0f} minutes{self._failed}"
        if self._lost:
            raise LockLost(f"the lock of the repository is lost: {self._lost}")

    def confirm(self) -> None:
        """The same, and see that nobody removed it: before a snapshot is written."""
        with self._changing:
            self._confirm()

    def refresh(self) -> None:
        """Write a new one, then delete the old; raises what the store does, and LockLost."""
        with self._changing:
            self._confirm()
            self._write()
            self._delete([name for name in self._ids if name != self._current])

    def release(self) -> bool:
        """End it; whether nothing of it is left. What is left stays remembered."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        with self._changing:
            try:
                self._delete(self._ids)
            except RepositoryError:
                return False
        return True

    def _take(self) -> None:
        end = self._clock.elapsed() + self._locks.wait
        pause = _SHORTEST_WAIT
        while found := self._in_the_way():
            left = end - self._clock.elapsed()
            if left <= 0:
                raise Locked(f"the repository is locked {found.told(self._clock.now())}")
            self._clock.sleep(min(pause * random.uniform(0.8, 1.2), left))  # noqa: S311 - no secret
            pause = min(pause * 2, _LONGEST_WAIT)

    def _in_the_way(self) -> Found | None:
        """A lock of others; None if ours is written, and was the first."""
        if found := self._conflict():
            return found
        try:
            self._write()
            self._clock.sleep(_SETTLED)
            found = self._conflict()
        except BaseException:
            self.release()
            raise
        if found:
            self._delete(self._ids)
        return found

    def _conflict(self) -> Found | None:
        """A lock beside which ours cannot be; one too old to count is removed.

        It goes lest a restic that slept wakes up, finds its lock there still, and works on.
        """
        for found in self._locks.found(but=self._ids):
            if found.exclusive or self._exclusive:
                if not found.is_stale(self._clock.now()):
                    return found
                self._locks.store.delete(Kind.LOCK, found.id)
        return None

    def _write(self) -> None:
        written_at = self._clock.now(), self._clock.elapsed()
        fields = {
            "time": written_at[0].isoformat(),
            "exclusive": self._exclusive,
            "hostname": self._locks.host,
            "username": self._locks.user,
            "pid": os.getpid(),
            "uid": os.getuid(),
            "gid": os.getgid(),
        }
        data = encode(self._locks.master_key, json.dumps(fields).encode())
        name = hashlib.sha256(data).hexdigest()
        self._locks.remember([*self._ids, name])
        self._ids.append(name)
        self._locks.store.write(Kind.LOCK, name, [data])
        self._current, self._written_at = name, written_at

    def _delete(self, names: Sequence[str]) -> None:
        """Let go of some of ours, of which each may be gone already, or never have come."""
        for name in tuple(names):
            self._locks.store.delete(Kind.LOCK, name)
            self._ids.remove(name)
        self._locks.remember(tuple(self._ids))

    def _confirm(self) -> None:
        self.check()
        try:
            self._locks.store.read(Kind.LOCK, self._current)
        except NotFound:
            self._lost = "somebody removed it"
        self.check()

    def _age(self) -> float:
        """Seconds since it was written, by whichever clock says more: others see the wall's."""
        now, elapsed = self._written_at
        return max((self._clock.now() - now).total_seconds(), self._clock.elapsed() - elapsed)

    def _refresh_always(self) -> None:
        pause = REFRESHED
        while not self._over.wait(pause):
            try:
                self.refresh()
            except Exception as error:  # noqa: BLE001 - whatever it is, the next try may do
                self._failed, pause = f": {error}", REFRESHED_AFTER_FAILURE
            else:
                self._failed, pause = "", REFRESHED


def _parsed(name: str, fields: Any) -> Found:
    try:
        return Found(
            id=name,
            exclusive=fields["exclusive"] is not False,
            time=_with_zone(datetime.fromisoformat(fields["time"])),
            host=str(fields.get("hostname", "")),
            user=str(fields.get("username", "")),
            pid=int(fields.get("pid", 0)),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Damaged(f"lock {name[:8]} has not the form of one: {error}") from error


def _with_zone(time: datetime) -> datetime:
    if time.tzinfo is None:
        raise ValueError("its time has no zone")
    return time
