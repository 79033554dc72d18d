"""Backs up snapshots of volumes: what did not change since the last backup is not read."""

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import datetime

from convoy_py import __version__
from convoy_py.linux import changes
from convoy_py.models.session import Backup, BackupFound, Data, Done, Source
from convoy_py.models.sizes import format_size
from convoy_py.restic.archive import Archived, archive, archive_file
from convoy_py.restic.contents import Counters, Tell
from convoy_py.restic.errors import SourceChanged
from convoy_py.restic.locks import Clock, Lock
from convoy_py.restic.repository import Repository
from convoy_py.restic.snapshots import Snapshot
from convoy_py.restic.takeover import taken_over
from convoy_py.restic.writer import Counters as Written
from convoy_py.restic.writer import Writer
from convoy_py.session import marks
from convoy_py.session.speech import Speech

# Bytes after which what is complete gets its snapshot: one flush for many small volumes.
_COMMITTED_AFTER = 256 << 20
_PROGRAM = f"convoy-py {__version__}"


class BackingUp:
    """The backups of one session, into one repository."""

    def __init__(
        self, repository: Repository, host: str, lock: Lock, speech: Speech, clock: Clock
    ) -> None:
        self._clock = clock
        self._repository = repository
        self._host = host
        self._lock = lock
        self._speech = speech
        known = repository.snapshots()  # the newest last
        # Each by whether it is raw, for the one is nothing to compare the other with.
        self._by_snapshot = {(marks.snapshot_id(each), marks.is_raw(each)): each for each in known}
        self._newest = {
            (each.paths, marks.is_raw(each)): each for each in known if each.hostname == host
        }
        self._pending: list[tuple[str, Snapshot]] = []
        self._done: list[BackupFound] = []
        self._problems: list[str] = []
        self._processed = 0  # bytes of the sources before
        self._expected = 0  # bytes of all of them; 0: not known

    def run(self, task: Backup) -> Done:
        """One backup of each source, in turn; what one source failed of is told beside the rest."""
        expected = [self._size(source) for source in task.sources]
        self._expected = sum(expected) if all(expected) else 0
        with Writer(self._repository, guard=self._lock.check) as writer:
            committed = 0
            for source in task.sources:
                try:
                    snapshot = self._archived(writer, source)
                except (OSError, SourceChanged) as error:
                    self._problems.append(f"{source.volume}: {error}")
                    continue
                self._pending.append((source.volume, snapshot))
                if writer.counters.bytes_stored - committed >= _COMMITTED_AFTER:
                    committed = writer.counters.bytes_stored
                    self._commit(writer)
            self._commit(writer)
        return Done(backups=tuple(self._done), problems=tuple(self._problems))

    def _commit(self, writer: Writer) -> None:
        if not self._pending:
            return
        writer.flush()
        self._lock.confirm()
        # The point of no return of each: with its snapshot file it is a backup.
        committed = writer.commit_all([snapshot for _, snapshot in self._pending])
        for (volume, _), snapshot in zip(self._pending, committed, strict=True):
            self._done.append(marks.found(snapshot, volume))
        self._pending.clear()

    def _archived(self, writer: Writer, source: Source) -> Snapshot:
        begun = self._clock.now()
        before = replace(writer.counters)
        parent, base = self._parent(source)

        def tell(counters: Counters, *, is_last: bool = False) -> None:
            if is_last or self._speech.is_due:  # it is asked for each file
                done = self._processed + counters.bytes_processed
                added = writer.counters.bytes_new - before.bytes_new
                note = f"{source.volume}: {_told(counters)}, {format_size(added)} new"
                self._speech.step(done, self._expected, note, is_last=is_last)

        archived = self._stored(writer, source, parent, base, tell)
        writer.settle()
        tell(archived.counters, is_last=True)
        self._processed += archived.counters.bytes_processed
        return Snapshot(
            time=source.created.astimezone(),
            tree=archived.tree,
            paths=(marks.path_of(source.volume),),
            hostname=self._host,
            username="root",
            tags=marks.tags_of(source),
            parent=parent.id if parent else "",
            program_version=_PROGRAM,
            summary=_summary(archived.counters, begun, self._clock.now(), before, writer.counters),
        )

    def _stored(
        self,
        writer: Writer,
        source: Source,
        parent: Snapshot | None,
        base: Data | None,
        tell: Tell,
    ) -> Archived:
        beside = {marks.DESCRIPTION: source.description.encode() + b"\n"}
        store = archive_file if source.raw else archive
        with nullcontext() if base is None else _changes(base, source) as changed:
            if parent and changed is changes.unchanged and _is_as_made(parent):
                known = taken_over(parent.tree, beside, self._repository, writer, tell)
                if known:
                    return known
            return store(
                source.data.path,
                beside,
                self._repository,
                writer,
                tell,
                previous=parent.tree if parent else None,
                changes=changed,
            )

    def _size(self, source: Source) -> int:
        """Bytes of a source, about: what it was before, or what its filesystem has; 0: unknown."""
        parent, _ = self._parent(source)
        if parent:
            return marks.size_of(parent)
        try:
            if source.raw:
                return source.data.path.stat().st_size
            if source.data.image:
                found = os.statvfs(source.data.path)
                return (found.f_blocks - found.f_bfree) * found.f_frsize
        except OSError:
            pass  # whoever reads it tells
        return 0

    def _parent(self, source: Source) -> tuple[Snapshot | None, Data | None]:
        """The backup that this one comes after, and the data that it is a backup of.

        The data counts only if that very snapshot was backed up: with another one what is taken
        from the backup would be wrong. Without any all is read.
        """
        for base in source.bases:
            if parent := self._by_snapshot.get((base.uuid, source.raw)):
                return parent, base
        return self._newest.get(((marks.path_of(source.volume),), source.raw)), None


def _is_as_made(parent: Snapshot) -> bool:
    """Whether its tree is what this would make of its data again.

    Not if a restic rewrote it, who may have left something out, or another version made it.
    """
    return not parent.original and parent.program_version == _PROGRAM


def _changes(base: Data, source: Source) -> AbstractContextManager[changes.Hook]:
    data = source.data
    if source.raw:
        return changes.of_files(base.path, data.path)
    if base.image is None or data.image is None:
        return changes.of_trees(base.path, data.path)
    return changes.of_images(base.path, data.path, base.image, data.image)


def _told(counters: Counters) -> str:
    read = counters.bytes_read
    skipped = max(0, counters.bytes_processed - read)
    return f"{_files(counters)} files, {format_size(read)} read, {format_size(skipped)} skipped"


def _files(counters: Counters) -> int:
    return counters.files_new + counters.files_changed + counters.files_unmodified


def _summary(
    counters: Counters, begun: datetime, ended: datetime, before: Written, after: Written
) -> dict[str, object]:
    """As restic tells it: `snapshots` shows the size by it, and `rewrite` counts it again."""
    return {
        "backup_start": begun.isoformat(),
        "backup_end": ended.isoformat(),
        "files_new": counters.files_new,
        "files_changed": counters.files_changed,
        "files_unmodified": counters.files_unmodified,
        "dirs_new": counters.dirs_new,
        "dirs_changed": counters.dirs_changed,
        "dirs_unmodified": counters.dirs_unmodified,
        "data_blobs": after.blobs_new - before.blobs_new,
        "data_added": after.bytes_new - before.bytes_new,
        "data_added_packed": after.bytes_stored - before.bytes_stored,
        "total_files_processed": counters.total_files,
        "total_bytes_processed": counters.total_bytes,
    }
