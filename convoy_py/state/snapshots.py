"""Keeps the snapshot records: one folder per snapshot, within its volume's.

<root>/volumes/<volume>/snapshots/<name>/       snapshot.json beside the backend's data
<root>/volumes/<volume>/snapshots/.new-<uuid>/  being taken
<root>/volumes/<volume>/snapshots/.rm-<uuid>/   being deleted
<root>/volumes/<volume>/snapshots/.lost-<uuid>.<old>.<new>/   to have what the volume's data was:
                                                it gets, or has, new data in the place of old

So a snapshot goes with its volume wherever that goes, and needs no word about whose it is.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from convoy_py.errors import AlreadyExists, ConvoyError, Corrupt
from convoy_py.linux import files
from convoy_py.models.names import is_valid_name, joined
from convoy_py.state.data import NAME, usual
from convoy_py.state.formats import Unreadable
from convoy_py.state.records import SnapshotRecord, decode_snapshot, encode_snapshot
from convoy_py.state.store import SNAPSHOTS, STAGING, Store

RECORD = "snapshot.json"
_UNNAMED = ".rm-"
_UUID_LENGTH = 36
# Daemons that know of none leave it alone, for what is in it may be nowhere else.
_LOST = ".lost-"
_TOLD = re.compile(rf"{re.escape(_LOST)}[0-9a-f-]{{36}}\.({NAME})\.({NAME})")


@dataclass(frozen=True)
class Lost:
    """A snapshot that is to be what a volume's data was; by their names in the volume's home."""

    home: Path
    old: str
    new: str

    @property
    def volume(self) -> str:
        return self.home.parent.parent.name

    @property
    def kept(self) -> Path:
        """Where the old data is to lie."""
        return self.home / usual(self.old)


class SnapshotStore:
    """The snapshot records below one root. Methods do disk I/O and run in worker threads."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def home(self, volume: str, name: str) -> Path:
        return self._folder(volume) / name

    def load(self, volume: str) -> dict[str, SnapshotRecord | Unreadable]:
        """Every snapshot of a volume with its record, or why that cannot be read."""
        found: dict[str, SnapshotRecord | Unreadable] = {}
        try:
            entries = sorted(os.listdir(self._folder(volume)))  # noqa: PTH208 - names are wanted
        except FileNotFoundError:
            return found
        for name in filter(is_valid_name, entries):
            path = self.home(volume, name) / RECORD
            try:
                found[name] = decode_snapshot(path.read_bytes(), name)
            except OSError as error:
                found[name] = Unreadable(f"{path}: {error.strerror}")
            except Unreadable as error:
                found[name] = error.at(path)
        return found

    def stage(self, volume: str, uuid: str) -> Path:
        """Make an empty folder to take a snapshot in; by its name what lies inside is found."""
        with self._store.changing():
            path = self._made_folder(volume) / f"{STAGING}{self._store.mark}{uuid}"
            path.mkdir(mode=0o700)
            return path

    def seal(self, staging: Path, record: SnapshotRecord) -> None:
        """Give a snapshot its record, durably, so that it lacks nothing but its name.

        When the first of a group gets its name, it is settled that all do: see `complete_groups`.
        """
        with self._store.changing():
            files.durable_replace(staging / RECORD, encode_snapshot(record))

    def commit(self, staging: Path, volume: str, record: SnapshotRecord) -> None:
        """Give a snapshot its record, unless it is sealed, and its name. Raises AlreadyExists."""
        if not (staging / RECORD).exists():
            self.seal(staging, record)
        with self._store.changing():
            try:
                self._store.move(staging, self.home(volume, record.name))
            except AlreadyExists:
                raise AlreadyExists(
                    f"snapshot {joined(volume, record.name)} already exists"
                ) from None

    def note_lost(self, volume: str, record: SnapshotRecord, old: str, new: str) -> None:
        """Note, durably, that a volume gets `new` data, and that the old becomes this snapshot."""
        with self._store.changing():
            folder = self._made_folder(volume)
            home = folder / f"{_LOST}{record.uuid}.{old}.{new}"
            home.mkdir(mode=0o700)
            files.durable_replace(home / RECORD, encode_snapshot(record))
            files.fsync_dir(folder)

    def lost(self, volume: str = "*") -> list[Lost]:
        """What was noted so, and is not settled yet."""
        found = self._store.volumes.glob(f"{volume}/{SNAPSHOTS}/{_LOST}*")
        told = ((path, _TOLD.fullmatch(path.name)) for path in sorted(found))
        return [Lost(path, each[1], each[2]) for path, each in told if each]

    def read_lost(self, lost: Lost) -> SnapshotRecord | None:
        """Its record; None if it was not complete. Raises Corrupt if nobody can know what it is."""
        try:
            return decode_snapshot((lost.home / RECORD).read_bytes())
        except FileNotFoundError:
            return None
        except Unreadable as problem:
            told = problem.at(lost.home / RECORD)
            raise Corrupt(f"volume {lost.volume}: what was its data waits: {told}") from None

    def unname(self, home: Path, uuid: str) -> Path:
        """Take its name from a snapshot that is to be deleted, durably; returns its home then."""
        unnamed = home.with_name(f"{_UNNAMED}{self._store.mark}{uuid}")
        with self._store.changing():
            self._store.ballast.relieve(lambda: self._store.move(home, unnamed))
        return unnamed

    def half_made(self) -> list[tuple[str, Path]]:
        """(volume, home) of every snapshot that was being taken or deleted when a daemon ended."""
        folders = self._store.volumes.glob(f"*/{SNAPSHOTS}/.*")
        ours = tuple(f"{prefix}{self._store.mark}" for prefix in (STAGING, _UNNAMED))
        found = [path for path in folders if path.name.startswith(ours)]
        return sorted((path.parent.parent.name, path) for path in found)

    def unnamed(self, half_made: Sequence[tuple[str, Path]]) -> dict[Path, SnapshotRecord]:
        """What of it is sealed, has no name yet, and gets it: another of its group has its own."""
        half = [path for _, path in half_made if path.name.startswith(STAGING)]
        sealed = {path: record for path in half if (record := _sealed(path)) and record.group}
        if not sealed:
            return {}
        named = {
            record.group
            for folder in self._store.volumes.glob(f"*/{SNAPSHOTS}")
            for record in self.load(folder.parent.name).values()
            if isinstance(record, SnapshotRecord)
        }
        return {path: record for path, record in sealed.items() if record.group in named}

    def complete_groups(self) -> None:
        """Name what a daemon that ended had sealed and of whose group another has its name.

        Raises what stood in the way of the last that got none: it stays for the next time.
        """
        problem = None
        for path, record in self.unnamed(self.half_made()).items():
            try:
                self.commit(path, path.parent.parent.name, record)
            except ConvoyError as error:
                problem = error
        if problem is not None:
            raise problem

    def _made_folder(self, volume: str) -> Path:
        folder = self._folder(volume)
        if not folder.exists():
            folder.mkdir(mode=0o700, exist_ok=True)  # another host may be making it
            files.fsync_dir(folder.parent)
        return folder

    def _folder(self, volume: str) -> Path:
        return self._store.home(volume) / SNAPSHOTS


def uuid_of(staging: Path) -> str:
    """The uuid of a snapshot that is being taken, or deleted, in this folder."""
    return staging.name[-_UUID_LENGTH:]


def _sealed(staging: Path) -> SnapshotRecord | None:
    """The record in a folder that has no name yet; None if there is none that can be read."""
    try:
        return decode_snapshot((staging / RECORD).read_bytes())
    except (OSError, Unreadable):
        return None
