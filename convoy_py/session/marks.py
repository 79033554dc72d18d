"""How a backup of ours is known in a repository: its paths, its tags, what lies beside its data."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC

from convoy_py.models.names import is_valid_name
from convoy_py.models.session import BackupFound, Source
from convoy_py.restic.repository import Repository
from convoy_py.restic.snapshots import Snapshot

DESCRIPTION = b"volume.json"
_PATH = "/convoy/"
_VOLUME, _SNAPSHOT, _NAME = "volume-id=", "snapshot-id=", "snapshot="
_SCHEDULED, _RAW, _PROTECTED = "scheduled", "raw", "protected"


def path_of(volume: str) -> str:
    """By which restic groups the backups of one volume."""
    return f"{_PATH}{volume}"


def tags_of(source: Source) -> tuple[str, ...]:
    name = (f"{_NAME}{source.snapshot_name}",) if source.snapshot_name else ()
    marks = [(_SCHEDULED, source.scheduled), (_RAW, source.raw)]
    others = [mark for mark, has in marks if has]
    return (f"{_VOLUME}{source.volume_id}", f"{_SNAPSHOT}{source.data.uuid}", *name, *others)


def is_scheduled(snapshot: Snapshot) -> bool:
    """Whether a schedule made it, and not somebody by hand."""
    return _SCHEDULED in snapshot.tags


def is_raw(snapshot: Snapshot) -> bool:
    """Whether it says that it is of a filesystem as one file; the tree shows what it really is."""
    return _RAW in snapshot.tags


def is_protected(snapshot: Snapshot) -> bool:
    """Whether it stays, whatever a policy keeps; a restic does so by `--keep-tag`."""
    return _PROTECTED in snapshot.tags


def protected(snapshot: Snapshot, *, on: bool) -> Snapshot:
    """The same, yet to be stored, by which it gets another id; the first one it still tells."""
    others = tuple(tag for tag in snapshot.tags if tag != _PROTECTED)
    tags = (*others, _PROTECTED) if on else others
    return replace(snapshot, id="", original=snapshot.original or snapshot.id, tags=tags)


def backups(snapshots: list[Snapshot]) -> Iterator[tuple[Snapshot, BackupFound]]:
    """Those that are of volumes; what else a restic keeps in the repository is its own affair.

    What was cut off while its tags were changed is there twice, and is one.
    """
    for snapshot in _told_once(snapshots):
        if (volume := volume_of(snapshot)) is not None:
            yield snapshot, found(snapshot, volume)


def among(snapshots: Sequence[Snapshot], repository: Repository, backup: str) -> list[Snapshot]:
    """By the id that it had first, for a change of its tags gives it another; raises NotFound.

    The one that counts, and what is the same and was to go.
    """
    found = [each for each in snapshots if backup in (each.id, each.original)]
    if not found:
        return [repository.snapshot(backup)]
    (first, *_) = _told_once(found)
    same = [each for each in found if _untagged(each) == _untagged(first)]
    return [first, *(each for each in same if each is not first)]


def _told_once(snapshots: Sequence[Snapshot]) -> Iterator[Snapshot]:
    changed = {(each.original, _untagged(each)) for each in snapshots}
    return (each for each in snapshots if (each.id, _untagged(each)) not in changed)


def _untagged(snapshot: Snapshot) -> tuple[object, ...]:
    return snapshot.tree, snapshot.hostname, snapshot.paths, snapshot.time


def volume_of(snapshot: Snapshot) -> str | None:
    """The volume of which it is a backup; None if it is of something else."""
    if len(snapshot.paths) != 1 or not snapshot.paths[0].startswith(_PATH):
        return None
    name = snapshot.paths[0].removeprefix(_PATH)
    return name if is_valid_name(name) else None


def found(snapshot: Snapshot, volume: str) -> BackupFound:
    return BackupFound(
        id=snapshot.original or snapshot.id,
        volume=volume,
        host=snapshot.hostname,
        created=snapshot.time.astimezone(UTC),
        snapshot=snapshot_id(snapshot),
        snapshot_name=_tagged(snapshot, _NAME),
        volume_id=_tagged(snapshot, _VOLUME),
        raw=is_raw(snapshot),
        protected=is_protected(snapshot),
        size=size_of(snapshot),
        added=_number(snapshot, "data_added_packed"),
        # restic counts what lies beside the data, too, whenever it counts again.
        files=max(0, _number(snapshot, "total_files_processed") - 1),
    )


def snapshot_id(snapshot: Snapshot) -> str:
    """The uuid of the volume's snapshot that it is a copy of; empty if it does not say."""
    return _tagged(snapshot, _SNAPSHOT)


def size_of(snapshot: Snapshot) -> int:
    """Bytes of all its files; 0 if it does not say."""
    return _number(snapshot, "total_bytes_processed")


def _tagged(snapshot: Snapshot, key: str) -> str:
    return next((tag.removeprefix(key) for tag in snapshot.tags if tag.startswith(key)), "")


def _number(snapshot: Snapshot, key: str) -> int:
    value = snapshot.summary.get(key)
    return value if type(value) is int else 0
