"""Folders that go into a repository and come back, for tests."""

from collections.abc import Callable
from pathlib import Path

from convoy_py.restic.archive import DATA, IMAGE, Archived, Changes, archive, archive_file
from convoy_py.restic.repository import Repository
from convoy_py.restic.restorer import Limits, find, restore, restore_file
from convoy_py.restic.snapshots import Snapshot
from convoy_py.restic.target import Restored
from convoy_py.restic.writer import Writer
from tests.fakes_restic import NOW

VOLUME = b'{"name":"db"}'


def ignore(_done: object) -> None:
    """Lets the work go on."""


def archived(
    repository: Repository,
    top: Path,
    tell: Callable[[object], None] = ignore,
    *,
    previous: bytes | None = None,
    changes: Changes | None = None,
    is_backup: bool = False,
) -> Archived:
    """The folder, or file, stored durably, with a small one beside it; a backup gets a snapshot."""
    store = archive if top.is_dir() else archive_file
    with Writer(repository) as writer:
        found = store(
            top,
            {b"volume.json": VOLUME},
            repository,
            writer,
            tell,
            previous=previous,
            changes=changes,
        )
        if is_backup:
            writer.commit(_snapshot(found))
        else:
            writer.flush()
    return found


def _snapshot(found: Archived) -> Snapshot:
    totals = {
        "total_files_processed": found.counters.total_files,
        "total_bytes_processed": found.counters.total_bytes,
    }
    return Snapshot(
        time=NOW, tree=found.tree, paths=("/convoy/db",), hostname="host", summary=totals
    )


def restored(
    repository: Repository,
    tree: bytes,
    target: Path,
    tell: Callable[[object], None] = ignore,
    *,
    only: tuple[bytes, ...] = (),
    devices: bool = True,
    limits: Limits = Limits(),  # noqa: B008 - it is frozen
) -> Restored:
    """The folder of such a tree, made in an empty one."""
    folder = find(repository, tree, [DATA])
    return restore(repository, folder, target, tell, only=only, devices=devices, limits=limits)


def restored_image(repository: Repository, tree: bytes, file: Path) -> Restored:
    """The file of such a tree, made anew."""
    node = find(repository, tree, [IMAGE])
    with file.open("xb") as made:
        made.truncate(node.size)
    return restore_file(repository, node, file, ignore)
