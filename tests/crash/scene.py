"""What was acknowledged, and one look at what there is: the two that the invariants compare."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from convoy_py.linux import mounts
from convoy_py.models.filesystem import Filesystem
from convoy_py.models.names import AT, HASH, volume_of
from convoy_py.state.formats import Unreadable
from convoy_py.state.records import Record, SnapshotRecord
from convoy_py.state.snapshots import SnapshotStore
from convoy_py.state.store import CLONES, Store
from tests.harness import Daemon

_SAVED = f"{AT}saved-"


@dataclass
class Model:
    """What the daemon acknowledged: volumes and snapshots with their canaries, and who holds them.

    Snapshots that rollbacks made, whose names are made up, are `<volume>@saved-1` and so on, by
    age. `unsure` are the volumes and snapshots of operations that were cut off before their answer:
    they may be there, whole, or not; `moving` the volumes of a Remove or restore that was: they are
    listed or in the trash; `swaying` those of a Mount or Unmount: they may be mounted or not;
    `or_else` has what volumes may hold as well whose rollback was cut off; `replaced` the volumes
    of a conversion that was: what they were may lie in the trash.
    """

    volumes: dict[str, bytes] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)
    unsure: set[str] = field(default_factory=set)
    swaying: set[str] = field(default_factory=set)
    snapshots: dict[str, bytes] = field(default_factory=dict)
    trash: set[str] = field(default_factory=set)
    moving: set[str] = field(default_factory=set)
    or_else: dict[str, bytes] = field(default_factory=dict)
    replaced: set[str] = field(default_factory=set)
    protected: set[str] = field(default_factory=set)
    repositories: set[str] = field(default_factory=set)
    backups: tuple[bytes, ...] = ()  # in the repository `offsite`, the oldest first
    # What Status says of some volumes, such as their size.
    status: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass
class Scene:
    """One look at everything: the model, what the daemon tells, and the records on disk."""

    daemon: Daemon
    model: Model
    listed: dict[str, str]
    snapshots: dict[str, Any]  # what the daemon tells of each, by full name
    trash: list[str]  # the keys of what the daemon tells is there
    records: dict[str, Record | Unreadable]
    snapshot_records: dict[str, SnapshotRecord | Unreadable]
    bases: dict[str, SnapshotRecord]  # what next backups are compared with, which is not listed
    clones: set[str]  # private clones, by full name

    @classmethod
    def take(cls, daemon: Daemon, model: Model) -> "Scene":
        store = Store(daemon.root)
        listed = daemon.listed()
        snapshots = daemon.admin("GET", "/v1/snapshots")["Snapshots"]
        trash = daemon.admin("GET", "/v1/trash")["Volumes"]
        records = store.load()
        found = {
            f"{name}{AT}{snapshot}": record
            for name in records
            for snapshot, record in SnapshotStore(store).load(name).items()
        }
        bases = {
            name: record
            for name, record in found.items()
            if isinstance(record, SnapshotRecord) and record.base_of
        }
        return cls(
            daemon,
            model,
            listed,
            {each["FullName"]: each for each in snapshots},
            [each["Key"] for each in trash],
            records,
            {name: record for name, record in found.items() if name not in bases},
            bases,
            {f"{name}{HASH}{key}" for name in records for key in store.clones(name)},
        )

    @property
    def shown(self) -> dict[str, str]:
        """Where the daemon says that volumes and snapshots are mounted, "" where they are not."""
        return self.listed | {name: each["MountPoint"] for name, each in self.snapshots.items()}

    @cached_property
    def mounted(self) -> set[str]:
        """The names of which the kernel has a mount."""
        mounts_dir = self.daemon.run_dir / "mounts"
        return {Path(mount.mountpoint).name for mount in mounts.below(mounts_dir)}

    @cached_property
    def modelled(self) -> dict[str, str]:
        """What the model calls each snapshot, by full name."""
        found: dict[str, str] = {}
        for name, each in sorted(self.snapshots.items(), key=lambda item: item[1]["CreatedTime"]):
            saved = f"{volume_of(name)}{_SAVED}"
            earlier = sum(known.startswith(saved) for known in found.values())
            found[name] = f"{saved}{earlier + 1}" if each["Automatic"] else name
        return found

    def home(self, name: str) -> Path:
        """Where the data of a volume, a snapshot or a private clone lies."""
        volume = volume_of(name)
        home = self.daemon.root / "volumes" / volume
        if AT in name:
            return home / "snapshots" / name.partition(AT)[2]
        return home / CLONES / name.partition(HASH)[2] if HASH in name else home

    def image(self, name: str) -> Path | None:
        """The image in which it lies, of a snapshot in a btrfs image its volume's; or None."""
        record = self.records.get(volume_of(name))
        if not isinstance(record, Record) or record.spec.fs is None:
            return None
        inside = AT in name and record.spec.fs is Filesystem.BTRFS
        home = self.home(volume_of(name) if inside else name)
        return home / ("image" if home != self.home(record.name) else record.data or "image")
