"""The blocking steps of backups: snapshots are read by a session, and volumes built from backups.

Runs in worker threads; the caller sees to it that what is read stays. What is being made lies under
a `.new-` name until it is complete.
"""

import os
import secrets
import stat
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from pydantic import ValidationError

from convoy_py.backends.base import COMMON, Backend, Place
from convoy_py.docker_volumes import Known
from convoy_py.engine.memory.entry import Entry
from convoy_py.engine.steps.cloning import fitting, give_owner, refuse_path
from convoy_py.engine.steps.parts import opened, power
from convoy_py.engine.steps.sessions import Follow, Sessions
from convoy_py.engine.steps.volumes import Steps
from convoy_py.errors import Corrupt, Unsupported
from convoy_py.linux import files
from convoy_py.models.backup import Description
from convoy_py.models.names import joined
from convoy_py.models.options import is_known, parse_options
from convoy_py.models.session import (
    Backup,
    Data,
    Describe,
    Done,
    Prove,
    Restore,
    RestoreFile,
    Source,
)
from convoy_py.models.volume import SCHEDULE, Options, Spec
from convoy_py.state.records import Repository, SnapshotRecord
from convoy_py.state.store import STAGING

# The options that do not go with the data, but with the host or with how it began.
OF_NO_BACKUP = frozenset({"path", "source", "per_mount", "backup", *SCHEDULE})


@dataclass(frozen=True)
class Chosen:
    """One volume that is to be backed up: by which of its snapshots, and what that came after."""

    volume: Entry
    snapshot: Entry
    bases: tuple[Entry, ...]  # newest first; what of them is in the repository, the session knows
    known: Known
    scheduled: bool = False


class Archiving:
    """What backups do on this host."""

    def __init__(self, steps: Steps, sessions: Sessions) -> None:
        self._steps = steps
        self._host = steps.host
        self._sessions = sessions

    def back_up(self, repository: Repository, chosen: Sequence[Chosen], follow: Follow) -> Done:
        """Back up snapshots in one session; raises what the first failure is."""
        with ExitStack() as stack:
            sources = tuple(_source(each, stack) for each in chosen)
            return self._sessions.run(repository, Backup(sources=sources), follow)

    def foreseen(
        self, repository: Repository, backup: str, options: Options, follow: Follow
    ) -> None:
        """Raise what a restore would be refused for, as far as that can be told beforehand."""
        refuse_path(options)
        described = self._described(repository, backup, follow)
        self._chosen(as_before(described.options, options, self._host.backends), options)

    def restore(
        self, name: str, repository: Repository, backup: str, options: Options, follow: Follow
    ) -> Entry:
        """Build a volume with the data of a backup in it, and rename it into place.

        What is not asked for is as it was, as far as that can be here. Raises as `create` does.
        """
        refuse_path(options)
        described = self._described(repository, backup, follow)
        backend, spec = self._chosen(
            as_before(described.options, options, self._host.backends), options
        )

        def fill(place: Place) -> Spec:
            settled = self._filled(backend, place, repository, backup, follow)
            with power(backend, name).writing(replace(place, spec=settled)) as folder:
                give_owner(folder, options)
                return _as_found(folder, settled)

        return self._steps.built(name, backend, spec, fill)

    def prove(self, repository: Repository, backup: str, follow: Follow) -> Sequence[str]:
        """What is not as it should be in a volume that is built of a backup, and goes again.

        It never gets a name; while it is there, it holds the space that the volume would.
        """
        described = self._described(repository, backup, follow)
        backend, spec = self._chosen(
            as_before(described.options, Options(), self._host.backends), Options()
        )
        place = self._host.place(self._host.record(described.name, spec))
        key = f"{STAGING}{secrets.token_hex(8)}"
        with self._steps.building(backend, place, promised_as=key) as staged:
            settled = replace(staged, spec=backend.create(staged))
            with power(backend, described.name).writing(settled) as folder, fitting(staged):
                done = self._sessions.run(repository, Prove(backup=backup, into=folder), follow)
        self._steps.abandon(backend, staged)
        self._host.ledger.forget(key)
        return done.problems

    def restore_beside(
        self, volume: Entry, repository: Repository, backup: str, follow: Follow
    ) -> Entry:
        """Build the data of a backup as the volume would have it, for it to go back to.

        It lies under a `.new-` name, and is to be given to `abandon` in the end.
        """
        backend, place = volume.usable()
        host, spec = self._host, place.spec.model_copy(update={"path": None, "grows_from": None})
        name = joined(volume.name, f"restored-{backup[:16]}")
        record = host.record(volume.name, spec)
        key = f"{STAGING}{secrets.token_hex(8)}"  # until it went back both hold space
        with self._steps.building(backend, host.place(record), promised_as=key) as staged:
            settled = self._filled(backend, staged, repository, backup, follow)
        host.ledger.forget(key)
        entry = Entry(name, host.reference_store.none(), record, backend)
        entry.place = replace(staged, spec=settled)
        return entry

    def fetch(
        self,
        repository: Repository,
        backup: str,
        ways: Sequence[PurePath],
        into: Path,
        follow: Follow,
    ) -> None:
        """Bring the first of these files or folders that a backup has into an empty folder."""
        paths = tuple(os.fsencode(way).hex() for way in ways)
        task = RestoreFile(backup=backup, paths=paths, into=into)
        self._sessions.run(repository, task, follow)

    def _described(self, repository: Repository, backup: str, follow: Follow) -> Description:
        told = self._sessions.run(repository, Describe(backup=backup), follow).description
        try:
            return Description.model_validate_json(told)
        except ValidationError as error:
            raise Corrupt(f"backup {backup}: what it says of its volume makes no sense") from error

    def _chosen(self, wanted: Options, asked: Options) -> tuple[Backend, Spec]:
        """As `Host.choose`; a size that was not asked for is none where it cannot be enforced."""
        try:
            return self._host.choose(wanted)
        except Unsupported:
            if wanted.size is None or asked.size is not None:
                raise
            return self._host.choose(wanted.model_copy(update={"size": None}))

    def abandon(self, beside: Entry) -> None:
        self._steps.abandon(*beside.usable())

    def _filled(
        self, backend: Backend, place: Place, repository: Repository, backup: str, follow: Follow
    ) -> Spec:
        settled = backend.create(place)
        able = power(backend, place.name)
        with able.writing(replace(place, spec=settled)) as folder, fitting(place):
            self._sessions.run(repository, Restore(backup=backup, into=folder), follow)
            files.sync_filesystem(folder)
        return settled


def as_before(described: Mapping[str, str], asked: Options, backends: Collection[str]) -> Options:
    """The options of a volume that is restored: what is not asked for is as it was.

    What a newer daemon knew, and what belonged to its host, is left out.
    """
    backend = described.get("backend")
    known = {key: value for key, value in described.items() if is_known(key) and key != "backend"}
    kept = parse_options(known).given() | {"backend": backend}
    for key in OF_NO_BACKUP:
        kept.pop(key, None)
    if backend not in backends or asked.backend not in (None, backend):
        # What one backend means by anything else may mean nothing to another. A size is kept where
        # nobody chose which other it is: then it is one that can have a size.
        common = COMMON if asked.backend else COMMON | {"size"}
        kept = {key: kept[key] for key in kept.keys() & common - {"backend"}}
    elif asked.fs not in (None, kept.get("fs")):
        kept.pop("inodes", None)
    return Options.model_validate({**kept, **asked.given()})


def _as_found(folder: Path, spec: Spec) -> Spec:
    """The spec with the owner and mode that the data has."""
    found = folder.stat()
    mode = stat.S_IMODE(found.st_mode)
    return spec.model_copy(update={"uid": found.st_uid, "gid": found.st_gid, "mode": mode})


def _source(chosen: Chosen, stack: ExitStack) -> Source:
    record = chosen.snapshot.record
    assert isinstance(record, SnapshotRecord)
    volume = chosen.volume.volume_record()
    described = Description(
        name=volume.name,
        uuid=volume.uuid,
        created=volume.created,
        options=volume.spec.shown(),
        labels=chosen.known.labels.get(volume.name, {}),
        images=chosen.known.images.get(volume.name, {}),
    )
    return Source(
        volume=volume.name,
        volume_id=volume.uuid,
        created=record.created,
        snapshot_name="" if record.base_of else record.name,
        scheduled=chosen.scheduled,
        data=_data(chosen.snapshot, stack),
        bases=tuple(_data(base, stack) for base in chosen.bases),
        description=described.model_dump_json(exclude_defaults=True, indent=2),
    )


def _data(snapshot: Entry, stack: ExitStack) -> Data:
    record = snapshot.record
    assert isinstance(record, SnapshotRecord)
    backend, place = snapshot.usable()
    return Data(
        uuid=record.uuid,
        folder=stack.enter_context(opened(snapshot)),
        image=power(backend, snapshot.name).image(place),
    )
