"""Keeps the snapshot records: one folder per snapshot, within its volume's.

<root>/volumes/<volume>/snapshots/<name>/       snapshot.json beside the backend's data
<root>/volumes/<volume>/snapshots/.new-<uuid>/  being taken

So a snapshot goes with its volume wherever that goes, and needs no word about whose it is.
"""

import os
from pathlib import Path

from convoy_py.errors import AlreadyExists
from convoy_py.linux import files
from convoy_py.models.names import is_valid_name, joined
from convoy_py.state.records import (
    SnapshotRecord,
    Unreadable,
    decode_snapshot,
    encode_snapshot,
)
from convoy_py.state.store import SNAPSHOTS, STAGING, Store

RECORD = "snapshot.json"


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
                found[name] = Unreadable(f"{path}: {error}")
        return found

    def stage(self, volume: str, uuid: str) -> Path:
        """Make an empty folder to take a snapshot in; by its name what lies inside is found."""
        with self._store.changing():
            folder = self._folder(volume)
            if not folder.exists():
                folder.mkdir(mode=0o700)
                files.fsync_dir(folder.parent)
            path = folder / f"{STAGING}{uuid}"
            path.mkdir(mode=0o700)
            return path

    def commit(self, staging: Path, volume: str, record: SnapshotRecord) -> None:
        """Give a snapshot its record and its name, durably. Raises AlreadyExists."""
        with self._store.changing():
            files.durable_replace(staging / RECORD, encode_snapshot(record))
            try:
                self._store.move(staging, self.home(volume, record.name))
            except AlreadyExists:
                raise AlreadyExists(
                    f"snapshot {joined(volume, record.name)} already exists"
                ) from None

    def unname(self, home: Path, uuid: str) -> Path:
        """Make of a snapshot, durably, one that is being taken; its home is then another."""
        with self._store.changing():
            staging = home.with_name(f"{STAGING}{uuid}")
            self._store.move(home, staging)
            return staging

    def half_made(self) -> list[tuple[str, Path]]:
        """(volume, home) of every snapshot that was being taken when a daemon ended."""
        found = self._store.volumes.glob(f"*/{SNAPSHOTS}/{STAGING}*")
        return sorted((path.parent.parent.name, path) for path in found)

    def _folder(self, volume: str) -> Path:
        return self._store.home(volume) / SNAPSHOTS


def uuid_of(staging: Path) -> str:
    """The uuid of a snapshot that is being taken in this folder."""
    return staging.name.removeprefix(STAGING)
