"""The blocking steps of backups: snapshots are read by a session, and volumes built from backups.

Runs in worker threads; the caller sees to it that what is read stays. What is being made lies under
a `.new-` name until it is complete.
"""

import os
import stat
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePath

from pydantic import ValidationError

from convoy_py.backends.base import COMMON, Backend, Place
from convoy_py.docker_volumes import Known
from convoy_py.engine.memory.entry import Entry
from convoy_py.engine.steps import imaging
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
    Done,
    Prove,
    Restore,
    RestoreFile,
    Source,
)
from convoy_py.models.volume import SCHEDULE, Options, Spec
from convoy_py.state.records import Repository, SnapshotRecord

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
    image: Entry | None = None  # what has that of the snapshot, if it is to be backed up as one


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
        self._chosen(self._described(repository, backup, follow), options)

    def restore(
        self, name: str, repository: Repository, backup: str, options: Options, follow: Follow
    ) -> Entry:
        """Build a volume with the data of a backup in it, and rename it into place.

        What is not asked for is as it was, as far as that can be here. Raises as `create` does.
        """
        refuse_path(options)
        described = self._described(repository, backup, follow)
        backend, spec = self._chosen(described, options)

        def fill(place: Place) -> Spec:
            settled = self._filled(backend, place, described, repository, backup, follow)
            with power(backend, name).writing(replace(place, spec=settled)) as folder:
                give_owner(folder, options)
                return _as_found(folder, settled)

        return self._steps.built(name, backend, spec, fill)

    def prove(self, repository: Repository, backup: str, follow: Follow) -> Sequence[str]:
        """What is not as it should be in a volume that is built of a backup, and goes again.

        It never gets a name; while it is built, it holds the space that the volume would.
        """
        described = self._described(repository, backup, follow)
        backend, spec = self._chosen(described, Options())
        problems: list[str] = []

        def fill(place: Place) -> Spec:
            run = partial(self._sessions.run, repository, follow=follow)
            if described.raw:
                problems.extend(imaging.proven(backend, place, described, backup, run))
                return place.spec
            settled = backend.create(place)
            able = power(backend, described.name)
            with able.writing(replace(place, spec=settled)) as folder, fitting(place):
                problems.extend(run(Prove(backup=backup, into=folder)).problems)
            return settled

        self.abandon(self._steps.beside(described.name, backend, spec, fill))
        return problems

    def restore_beside(
        self, volume: Entry, repository: Repository, backup: str, follow: Follow
    ) -> Entry:
        """Build the data of a backup as the volume would have it, for it to go back to.

        It lies under a `.new-` name, and is to be given to `abandon` in the end. Until it went back
        both hold space.
        """
        described = self._described(repository, backup, follow)
        backend, place = volume.usable()
        spec = place.spec.model_copy(update={"path": None, "grows_from": None})

        def fill(place: Place) -> Spec:
            return self._filled(backend, place, described, repository, backup, follow)

        entry = self._steps.beside(volume.name, backend, spec, fill)
        entry.name = joined(volume.name, f"restored-{backup[:16]}")
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
        told = self._sessions.description(repository, backup, follow)
        try:
            return Description.model_validate_json(told)
        except ValidationError as error:
            raise Corrupt(f"backup {backup}: what it says of its volume makes no sense") from error

    def _chosen(self, described: Description, asked: Options) -> tuple[Backend, Spec]:
        """As `Host.choose`; a size that was not asked for is none where it cannot be enforced."""
        wanted = as_before(described.options, asked, self._host.backends)
        if described.raw:
            return self._chosen_for_image(described, wanted, asked)
        try:
            return self._host.choose(wanted)
        except Unsupported:
            if wanted.size is None or asked.size is not None:
                raise
            return self._host.choose(wanted.model_copy(update={"size": None}))

    def _chosen_for_image(
        self, described: Description, wanted: Options, asked: Options
    ) -> tuple[Backend, Spec]:
        made = imaging.made_as(described)
        if asked.inodes is None and wanted.inodes is not None and wanted.size is not None:
            wanted = wanted.model_copy(update={"inodes": made.inodes_at(wanted.size)})
        backend, spec = self._host.choose(wanted)
        if asked.size is None:  # not rounded: it is a size that there is
            spec = spec.model_copy(update={"size": made.size})
        imaging.check_suits(described, backend, spec)
        return backend, spec

    def abandon(self, beside: Entry) -> None:
        self._steps.abandon(*beside.usable())

    def _filled(
        self,
        backend: Backend,
        place: Place,
        described: Description,
        repository: Repository,
        backup: str,
        follow: Follow,
    ) -> Spec:
        """Have a volume made with the data of a backup in it, of whichever kind that is."""
        run = partial(self._sessions.run, repository, follow=follow)
        if described.raw:
            return imaging.filled(backend, place, described, backup, run)
        settled = backend.create(place)
        able = power(backend, place.name)
        with able.writing(replace(place, spec=settled)) as folder, fitting(place):
            run(Restore(backup=backup, into=folder))
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
    volume, image = chosen.volume.volume_record(), chosen.image
    options = volume.spec.options()
    described = Description(
        name=volume.name,
        uuid=volume.uuid,
        created=volume.created,
        options=imaging.described_as(options, image.usable()[1].spec) if image else options.shown(),
        raw=image is not None,
        labels=chosen.known.labels.get(volume.name, {}),
        images=chosen.known.images.get(volume.name, {}),
    )
    if image is None:
        data = _data(chosen.snapshot, stack)
        bases = [_data(base, stack) for base in chosen.bases]
    else:
        data = Data(uuid=record.uuid, path=imaging.path_of(image))
        bases = [
            Data(uuid=_uuid(base), path=path)
            for base in chosen.bases
            if (path := imaging.image_of(base)) is not None
        ]
    return Source(
        volume=volume.name,
        volume_id=volume.uuid,
        created=record.created,
        snapshot_name="" if record.base_of else record.name,
        scheduled=chosen.scheduled,
        raw=image is not None,
        data=data,
        bases=tuple(bases),
        description=described.model_dump_json(exclude_defaults=True, indent=2),
    )


def _data(snapshot: Entry, stack: ExitStack) -> Data:
    folder = stack.enter_context(opened(snapshot))
    return Data(uuid=_uuid(snapshot), path=folder, image=imaging.image_of(snapshot))


def _uuid(snapshot: Entry) -> str:
    assert isinstance(snapshot.record, SnapshotRecord)
    return snapshot.record.uuid
