"""Keeps removed volumes until their time is up: moved there whole, by one rename.

<root>/trash/<name>.<uuid>/     a volume's home, with its snapshots, and removed.json; where a full
                                disk had no room for that, or a power cut took it, the folder's time
                                of change says when
"""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path

from convoy_py.errors import (
    Conflict,
    ConvoyError,
    Corrupt,
    NoSpace,
    NotFound,
    OperationFailed,
    Unavailable,
    Unsettled,
)
from convoy_py.linux import files
from convoy_py.models.names import is_valid_name
from convoy_py.state.claims import RECORD
from convoy_py.state.formats import Unreadable
from convoy_py.state.passed import PassedTime
from convoy_py.state.records import REMOVAL, Moment, Record, Removal, decode, timestamp
from convoy_py.state.store import SNAPSHOTS, STAGING, Store

REMOVED = "removed.json"


@dataclass(frozen=True)
class RemovedVolume:
    """One volume in the trash; `record` is None where it cannot be read."""

    name: str
    home: Path
    removed: datetime | None  # aware, UTC
    record: Record | None
    snapshots: tuple[str, ...] = ()
    moment: Moment | None = None  # the same by the clock by which it ages
    problem: str = ""  # why it cannot be read

    @property
    def key(self) -> str:
        """By which one of several of the same name is told: `<name>.<uuid>`."""
        return self.home.name


class Trash:
    """The removed volumes below one root. Methods do disk I/O and run in worker threads."""

    def __init__(self, store: Store, passed: PassedTime) -> None:
        """`passed` is the clock by which what is removed ages."""
        self._store = store
        self.passed = passed

    def put(self, record: Record, removed: datetime) -> RemovedVolume:
        """Move a volume here with all that is in its home, durably; on a full disk, too."""
        home = self._store.home(record.name)
        try:
            # If a power cut takes it, it ages from the next start on; not so with an older one.
            self.mark(record, removed, durable=(home / REMOVED).exists())
        except NoSpace:
            self._date(home, removed)
        if self._store.mark:
            with self._store.changing():
                self._store.records.remove(home)
        found = self.take_in(record, home)
        if found.moment:
            return found
        return replace(found, removed=found.removed or removed, moment=self.passed.now())

    def mark(self, record: Record, removed: datetime, *, durable: bool = True) -> None:
        """Note when a volume is removed; that says nothing before it is in the trash."""
        removal = REMOVAL.encode(Removal(removed=removed, moment=self.passed.now()))
        with self._store.changing():
            mark = self._store.home(record.name) / REMOVED
            files.durable_replace(mark, removal, durable=durable)

    def _date(self, home: Path, removed: datetime) -> None:
        """Note the same where there is no room for a mark."""
        with self._store.changing():
            (home / REMOVED).unlink(missing_ok=True)
            self._store.ballast.relieve(lambda: os.utime(home, (removed.timestamp(),) * 2))

    def take_in(self, record: Record, home: Path) -> RemovedVolume:
        """Move here what lies in `home`: a volume that was marked."""
        target = self._store.trash / trash_key(record)
        with self._store.changing():  # of Remove this is the point of no return
            self._store.ballast.relieve(lambda: self._store.move(home, target))
            self._store.records.tell()
        return self._read(record.name, target)

    def replaced(self) -> list[Path]:
        """Where volumes lie that conversions replaced and that are not here yet."""
        return [home for home in self._store.half_made() if is_replaced(home)]

    def complete(self) -> None:
        """Take in what conversions had replaced, and what was removed, when a daemon ended.

        On a shared root it completes what this host was to restore, and to purge, as well.
        Raises what stood in the way of the last that had to stay where it is: it waits there.
        """
        problem = None
        keys = {home: _key(home) for home in self.replaced()}
        for home, record in self._store.gone():
            keys[home] = trash_key(record)
        for home, key in keys.items():
            try:
                with self._store.changing():
                    target = self._store.trash / key
                    self._store.ballast.relieve(partial(self._store.move, home, target))
            except ConvoyError as error:
                problem = error
        for _, home in self._store.trashed() if self._store.mark else ():
            try:
                if self._store.records.is_back(home):
                    self._store.go_on(home)
                elif self._store.records.is_purged(home):
                    self._store.retire(home)
            except (ConvoyError, Unreadable) as error:
                problem = Corrupt(f"{home}: {error}")
        if problem is not None:
            raise problem

    def find(self, key: str) -> RemovedVolume | None:
        """What lies here under a key."""
        home = self._store.trash / key
        if not home.is_dir():
            return None
        return self._aging(self._read(key.rpartition(".")[0], home), self.passed.now())

    def load(self) -> list[RemovedVolume]:
        """Everything in the trash, oldest first."""
        now = self.passed.now()
        found = (self._aging(self._read(*each), now) for each in self._store.trashed())
        return sorted(found, key=age)

    def _aging(self, removed: RemovedVolume, now: Moment) -> RemovedVolume:
        """Let what an older daemon put here, or another root's, age from now on."""
        known = removed.moment is not None and self.passed.since(removed.moment) is not None
        if removed.removed is None or known:
            return removed
        if self._store.mark and not self._store.records.is_left(removed.home):
            return removed  # it ages by the clock of the host that removed it
        with suppress(OSError):  # then from the next start on
            removal = Removal(removed=removed.removed, moment=now)
            files.durable_replace(removed.home / REMOVED, REMOVAL.encode(removal), durable=False)
        return replace(removed, moment=now)

    def restore(self, removed: RemovedVolume, name: str) -> Record:
        """Give a volume back under a name, durably; raises AlreadyExists.

        And on a shared root Conflict or NotFound if another host does that, or purges it.
        """
        assert removed.record is not None
        with self._against_others(removed):
            record = self._store.bring_back(removed.record, name, removed.home)
        home = self._store.home(name)
        with suppress(OSError):  # outside of the trash it says nothing
            (home / REMOVED).unlink()
            files.fsync_dir(home)  # lest it comes back and says when another Remove was
        return record

    def retire(self, removed: RemovedVolume) -> Path:
        """Take a volume out of the trash, durably; the data is then to be deleted.

        On a shared root it raises Conflict or NotFound if another host restores it, or purges it.
        """
        with self._against_others(removed):
            return self._store.retire(removed.home)

    @contextmanager
    def _against_others(self, removed: RemovedVolume) -> Iterator[None]:
        """Where another host is quicker, say so; what it has begun, and may never end, goes on."""
        try:
            yield
        except Conflict:
            with suppress(ConvoyError, Unreadable, FileNotFoundError):
                self._store.go_on(removed.home)
            raise
        except Unsettled:
            raise
        except OperationFailed:
            if self._store.mark and not removed.home.exists():
                raise NotFound(f"{removed.key} is in the trash no longer") from None
            raise

    def _read(self, name: str, home: Path) -> RemovedVolume:
        removal = record = None
        problem = ""
        try:
            removal = _removal(home)
            record = decode(self._store.records.read(home), name)
        except (OSError, Unreadable, Unavailable) as error:
            problem = str(error)  # it stays, is listed, and can be purged by hand
        removed, moment = (removal.removed, removal.moment) if removal else (None, None)
        names: list[str] = []
        with suppress(OSError):
            names = os.listdir(home / SNAPSHOTS)  # noqa: PTH208 - names are wanted
        there = tuple(sorted(filter(is_valid_name, names)))
        return RemovedVolume(name, home, removed, record, there, moment, problem)


def trash_key(record: Record) -> str:
    """By what a volume is known in the trash."""
    return f"{record.name}.{record.uuid}"


def is_replaced(home: Path) -> bool:
    """Whether a staging folder holds the volume that was to be replaced, not the new one.

    Told by the records' uuids. What cannot be read may be the only copy, and counts as that.
    """
    name, _, uuid = _key(home).rpartition(".")
    if not uuid:
        return False
    try:
        return decode((home / RECORD).read_bytes(), name).uuid == uuid
    except FileNotFoundError:
        return (home / REMOVED).exists()  # only what was there before is marked
    except (OSError, Unreadable):
        return True


def _key(staging: Path) -> str:
    """By which the volume that is to be replaced goes to the trash; "" if there is none."""
    return staging.name.removeprefix(STAGING).partition(".")[2]


def _removal(home: Path) -> Removal:
    mark, told = home / REMOVED, b""
    with suppress(FileNotFoundError):
        told = mark.read_bytes()
    if not told.strip(b"\0"):  # none, or one that a power cut has emptied
        return Removal(removed=timestamp(home.stat().st_mtime))
    try:
        return REMOVAL.decode(told)
    except Unreadable as problem:
        raise problem.at(mark) from None


def age(removed: RemovedVolume) -> tuple[float, float]:
    """What sorts the oldest first; what cannot be dated counts as newest."""
    if removed.removed is None:
        return math.inf, math.inf
    return removed.moment.passed if removed.moment else 0.0, removed.removed.timestamp()
