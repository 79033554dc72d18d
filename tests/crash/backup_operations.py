"""The verbs on repositories and backups, as operations that a crash or a fault interrupts.

Each begins with the volume `v`, which holds NEW, and mostly with a backup of it in `offsite`, which
holds OLD.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from tests.crash import offsite
from tests.crash.contents import CANARY, write_canary
from tests.crash.operations import NEW, OLD, Kind, Operation, back, with_snapshots
from tests.crash.scene import Model
from tests.crash.volumes import CONTAINER, KINDS
from tests.harness import Daemon, Refused


def _backed_up(*contents: bytes, raw: bool = False) -> Callable[[Daemon, Kind], Model]:
    """With backups of these contents; the volume holds NEW."""

    def begin(daemon: Daemon, kind: Kind) -> Model:
        daemon.create("v", **kind)
        folder = daemon.mount("v", CONTAINER)
        offsite.make(daemon)
        for content in contents:
            write_canary(folder, content)
            offsite.back_up(daemon, "v", raw=raw)
        write_canary(folder, NEW)
        daemon.unmount("v", CONTAINER)
        return Model({"v": NEW}, repositories={offsite.NAME}, backups=contents)

    return begin


def _raw(daemon: Daemon, kind: Kind) -> Model:
    """The same with an image, whatever the kind."""
    return _backed_up(OLD, raw=True)(daemon, KINDS["ext4"])


def _alone(daemon: Daemon, kind: Kind) -> Model:
    daemon.create("v", **kind)
    write_canary(daemon.mount("v", CONTAINER), NEW)
    daemon.unmount("v", CONTAINER)
    return Model({"v": NEW})


def _create_of_backup(daemon: Daemon) -> None:
    """As Docker does it, whose Mount waits for what is restored in the background.

    A container is started again where that failed.
    """
    daemon.create("w", backup=_url(daemon))
    try:
        daemon.mount("w", CONTAINER)
    except Refused:
        daemon.mount("w", CONTAINER)
    daemon.unmount("w", CONTAINER)


def _url(daemon: Daemon) -> str:
    name = offsite.snapshots(daemon)[0].id[:16]
    return f"{offsite.folder(daemon)}?backup=backup-{name}&volume=v"


def _oldest(daemon: Daemon) -> str:
    oldest = offsite.snapshots(daemon)[0]
    return oldest.original or oldest.id


def _delete_oldest(daemon: Daemon) -> None:
    offsite.delete(daemon, _oldest(daemon))


def _put_back(before: Model) -> Sequence[Model]:
    saved = with_snapshots(before, saved_1=NEW)
    return [before, saved, with_snapshots(back(before), saved_1=NEW)]


def _put_back_again(before: Model) -> Sequence[Model]:
    return [
        with_snapshots(back(before), saved_1=NEW),
        with_snapshots(back(before), saved_1=NEW, saved_2=NEW),
        with_snapshots(back(before), saved_1=NEW, saved_2=OLD),
    ]


_OLDER = b"older\n"
_PROTECTED = OLD + offsite.PROTECTED

BACKUP_OPERATIONS: Mapping[str, Operation] = {
    "backup": Operation(
        begin=_backed_up(OLD),
        act=lambda daemon: offsite.back_up(daemon, "v"),
        outcomes=lambda before: [before, replace(before, backups=(OLD, NEW))],
        steps=frozenset(),
        unanswered=True,
    ),
    "backup-raw": Operation(
        begin=_raw,
        act=lambda daemon: offsite.back_up(daemon, "v", raw=True),
        outcomes=lambda before: [before, replace(before, backups=(OLD, NEW))],
        steps=frozenset(),
        unanswered=True,
    ),
    "restore-raw-new": Operation(
        begin=_raw,
        act=lambda daemon: offsite.restore(daemon, "v", "w"),
        outcomes=lambda before: [before, replace(before, volumes=before.volumes | {"w": OLD})],
        repeated=lambda before: [replace(before, volumes=before.volumes | {"w": OLD})],
        steps=frozenset(),
    ),
    "create-of-raw-backup": Operation(
        begin=_raw,
        act=_create_of_backup,
        outcomes=lambda before: [before, replace(before, volumes=before.volumes | {"w": OLD})],
        steps=frozenset(),
        unanswered=True,  # by Mount, where Create was answered
    ),
    "restore-raw-in-place": Operation(
        begin=_raw,
        act=lambda daemon: offsite.restore(daemon, "v", "v"),
        outcomes=_put_back,
        repeated=_put_back_again,
        steps=frozenset(),
    ),
    "restore-new": Operation(
        begin=_backed_up(OLD),
        act=lambda daemon: offsite.restore(daemon, "v", "w"),
        outcomes=lambda before: [before, replace(before, volumes=before.volumes | {"w": OLD})],
        repeated=lambda before: [replace(before, volumes=before.volumes | {"w": OLD})],
        steps=frozenset(),
    ),
    "create-of-backup": Operation(
        begin=_backed_up(OLD),
        act=_create_of_backup,
        outcomes=lambda before: [before, replace(before, volumes=before.volumes | {"w": OLD})],
        steps=frozenset(),
        unanswered=True,  # by Mount, where Create was answered
    ),
    "restore-file-of-backup": Operation(
        begin=_backed_up(OLD),
        act=lambda daemon: offsite.restore_file(daemon, "v", CANARY),
        outcomes=lambda before: [before, back(before)],
        steps=frozenset(),
    ),
    "restore-in-place": Operation(
        begin=_backed_up(OLD),
        act=lambda daemon: offsite.restore(daemon, "v", "v"),
        outcomes=_put_back,
        repeated=_put_back_again,
        steps=frozenset(),
    ),
    "backup-delete": Operation(
        begin=_backed_up(OLD, NEW),
        act=_delete_oldest,
        outcomes=lambda before: [before, replace(before, backups=(NEW,))],
        steps=frozenset(),
        unanswered=True,
    ),
    "backup-protect": Operation(
        begin=_backed_up(OLD, NEW),
        act=lambda daemon: offsite.protect(daemon, _oldest(daemon)),
        outcomes=lambda before: [
            before,
            # A snapshot's tags are changed by another snapshot.
            replace(before, backups=(OLD, _PROTECTED, NEW)),
            replace(before, backups=(_PROTECTED, OLD, NEW)),
            replace(before, backups=(_PROTECTED, NEW)),
        ],
        steps=frozenset(),
        unanswered=True,
    ),
    "forget": Operation(
        begin=_backed_up(OLD, _OLDER, NEW),
        act=lambda daemon: offsite.forget(daemon, "1last"),
        outcomes=lambda before: [
            before,
            replace(before, backups=(OLD, NEW)),
            replace(before, backups=(_OLDER, NEW)),
            replace(before, backups=(NEW,)),
        ],
        steps=frozenset(),
        unanswered=True,
    ),
    "repository-add": Operation(
        begin=_alone,
        act=offsite.add,
        outcomes=lambda before: [before, replace(before, repositories={offsite.NAME})],
        steps=frozenset(),
    ),
    "repository-remove": Operation(
        begin=_backed_up(OLD),
        act=offsite.remove,
        outcomes=lambda before: [before, replace(before, repositories=set())],
        steps=frozenset(),
    ),
}
