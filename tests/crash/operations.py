"""The verbs on snapshots, clones, sizes and the trash, as operations that a crash interrupts.

Each begins with the volume `v`, which holds NEW; its snapshot `v@s`, where it has one, holds OLD.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from convoy_py.linux import peers
from convoy_py.models.names import HASH, clone_name
from convoy_py.state.references import ReferenceStore
from tests.crash import offsite, verbs
from tests.crash.contents import CANARY, read_canary, write_canary
from tests.crash.scene import Model
from tests.crash.volumes import CONTAINER
from tests.harness import Daemon

Kind = Mapping[str, str]
# More than a filesystem keeps beside its records, and than one write(2) of a copy.
OLD, NEW = (random.Random(seed).randbytes(300_000) for seed in ("old", "new"))
LARGER = 512 * 2**20
_PRIVATE = clone_name("ci", CONTAINER)


@dataclass(frozen=True)
class Operation:
    """A verb, and what may be there when it was cut off.

    `outcomes` are made of what was there before: first not done, last done, between them what is
    whole as well. When it is done `again`, `repeated` may be there, which by default is done.
    `steps` are kinds of changes that it must have been seen to make.
    """

    begin: Callable[[Daemon, Kind], Model]
    act: Callable[[Daemon], object]
    outcomes: Callable[[Model], Sequence[Model]]
    steps: frozenset[str]
    repeated: Callable[[Model], Sequence[Model]] = lambda before: ()
    refused: str = ""  # what a repeat of what was done is told, where it is an error
    unanswered: bool = False  # it may be done and told as failed: to do it once more does no harm


def _volume(*, mounted: bool = False, snapshot: bool = True) -> Callable[[Daemon, Kind], Model]:
    def begin(daemon: Daemon, kind: Kind) -> Model:
        daemon.create("v", **kind)
        folder = daemon.mount("v", CONTAINER)
        if snapshot:
            write_canary(folder, OLD)
            verbs.snapshot(daemon, "v", "s")
        write_canary(folder, NEW)
        if not mounted:
            daemon.unmount("v", CONTAINER)
        snapshots = {"v@s": OLD} if snapshot else {}
        return Model({"v": NEW}, {"v"} if mounted else set(), snapshots=snapshots)

    return begin


def _folder(daemon: Daemon, kind: Kind) -> Model:
    """A folder in it, which is at its snapshot, too."""
    daemon.create("v", **kind)
    folder = daemon.mount("v", CONTAINER)
    (folder / CANARY).mkdir()
    write_canary(folder / CANARY, OLD)
    verbs.snapshot(daemon, "v", "s")
    write_canary(folder / CANARY, NEW)
    return Model({"v": NEW}, {"v"}, snapshots={"v@s": OLD})


def _kept(daemon: Daemon, kind: Kind) -> Model:
    """Its data alone, without a record."""
    _volume(snapshot=False)(daemon, kind)
    daemon.forget("v")
    return Model()


def _two(daemon: Daemon, kind: Kind) -> Model:
    """Another volume beside it, both mounted."""
    model = _volume(mounted=True, snapshot=False)(daemon, kind)
    daemon.create("w", **kind)
    write_canary(daemon.mount("w", CONTAINER), OLD)
    return Model({**model.volumes, "w": OLD}, {"v", "w"})


def _private(*, mounted: bool) -> Callable[[Daemon, Kind], Model]:
    """A volume beside it of which each mount gets a clone of its own."""

    def begin(daemon: Daemon, kind: Kind) -> Model:
        model = _volume()(daemon, kind)
        daemon.create("ci", **{"from": "v@s", "per_mount": "true"})
        if mounted:
            write_canary(daemon.mount("ci", CONTAINER), NEW)
        model.volumes["ci"] = OLD
        return replace(model, held={_PRIVATE} if mounted else set())

    return begin


def _removed(daemon: Daemon, kind: Kind) -> Model:
    _volume()(daemon, kind)
    daemon.remove("v")
    return Model(trash={"v"})


def with_snapshots(model: Model, **snapshots: bytes) -> Model:
    """The model, with more snapshots of `v`."""
    more = {f"v@{name.replace('_', '-')}": content for name, content in snapshots.items()}
    return replace(model, snapshots=model.snapshots | more)


def _renamed(model: Model, name: str) -> Model:
    snapshots = {full.replace("v@", f"{name}@"): held for full, held in model.snapshots.items()}
    return replace(model, volumes={name: model.volumes["v"]}, snapshots=snapshots)


def back(model: Model) -> Model:
    """The model, with the volume as it was at its snapshot."""
    return replace(model, volumes={"v": OLD})


def _mount_private(daemon: Daemon) -> None:
    assert read_canary(daemon.mount("ci", CONTAINER)) == OLD


def _known(key: str, begin: Callable[[Daemon, Kind], Model]) -> Callable[[Daemon, Kind], Model]:
    """What it begins with, and what Status says of it."""

    def begun(daemon: Daemon, kind: Kind) -> Model:
        model = begin(daemon, kind)
        return replace(model, status={"v": {key: daemon.get("v")["Status"][key]}})

    return begun


def _converted(backend: str) -> Callable[[Model], Sequence[Model]]:
    def outcomes(before: Model) -> Sequence[Model]:
        return [before, replace(before, trash={"v"}, status={"v": {"backend": backend}})]

    return outcomes


_REMOVED = Model(trash={"v"})
_THERE = Model({"v": NEW}, snapshots={"v@s": OLD})

OPERATIONS: Mapping[str, Operation] = {
    "snapshot": Operation(
        begin=_volume(mounted=True),
        act=lambda daemon: verbs.snapshot(daemon, "v", "t"),
        outcomes=lambda before: [before, with_snapshots(before, t=NEW)],
        refused="already exists",
        steps=frozenset({"os.mkdir", "os.rename", "fsync"}),
    ),
    "snapshot-unmounted": Operation(
        begin=_volume(),
        act=lambda daemon: verbs.snapshot(daemon, "v", "t"),
        outcomes=lambda before: [before, with_snapshots(before, t=NEW)],
        refused="already exists",
        steps=frozenset({"os.mkdir", "os.rename", "fsync"}),
    ),
    "snapshot-group": Operation(
        begin=_two,
        act=lambda daemon: verbs.snapshot_group(daemon, ["v", "w"], "t"),
        outcomes=lambda before: [
            before,
            replace(before, snapshots={"v@t": NEW, "w@t": OLD}),
        ],
        refused="already exists",
        steps=frozenset({"os.mkdir", "os.rename", "fsync"}),
    ),
    "snapshot-delete": Operation(
        begin=_volume(mounted=True),
        act=lambda daemon: verbs.delete_snapshot(daemon, "v@s"),
        outcomes=lambda before: [before, replace(before, snapshots={})],
        refused="no such snapshot",
        steps=frozenset({"os.rename", "fsync", "os.rmdir"}),
    ),
    "rollback": Operation(
        begin=_volume(),
        act=lambda daemon: verbs.rollback(daemon, "v", "s"),
        outcomes=lambda before: [
            before,
            with_snapshots(before, saved_1=NEW),
            with_snapshots(back(before), saved_1=NEW),
        ],
        repeated=lambda before: [
            with_snapshots(back(before), saved_1=NEW),
            with_snapshots(back(before), saved_1=NEW, saved_2=NEW),
            with_snapshots(back(before), saved_1=NEW, saved_2=OLD),
        ],
        steps=frozenset({"os.rename", "renameat2", "fsync"}),
    ),
    "clone": Operation(
        begin=_volume(mounted=True),
        act=lambda daemon: verbs.clone(daemon, "v", "c"),
        outcomes=lambda before: [before, replace(before, volumes=before.volumes | {"c": NEW})],
        refused="exists already",
        steps=frozenset({"os.mkdir", "os.rename", "fsync"}),
    ),
    "clone-snapshot": Operation(
        begin=_volume(),
        act=lambda daemon: verbs.clone(daemon, "v", "c", "s"),
        outcomes=lambda before: [before, replace(before, volumes=before.volumes | {"c": OLD})],
        refused="exists already",
        steps=frozenset({"os.mkdir", "os.rename", "fsync"}),
    ),
    "rename": Operation(
        begin=_volume(),
        act=lambda daemon: verbs.rename(daemon, "v", "w"),
        outcomes=lambda before: [before, _renamed(before, "w")],
        refused="no such volume",
        steps=frozenset({"os.rename", "fsync"}),
    ),
    "remove": Operation(
        begin=_volume(),
        act=lambda daemon: daemon.remove("v"),
        outcomes=lambda before: [before, _REMOVED],
        steps=frozenset({"os.rename", "fsync"}),
    ),
    "trash-restore": Operation(
        begin=_removed,
        act=lambda daemon: verbs.restore(daemon, "v"),
        outcomes=lambda before: [before, _THERE],
        refused="no v in the trash",
        steps=frozenset({"os.rename", "fsync"}),
    ),
    "trash-restore-as": Operation(
        begin=_removed,
        act=lambda daemon: verbs.restore(daemon, "v", "w"),
        outcomes=lambda before: [before, _renamed(_THERE, "w")],
        refused="no v in the trash",
        steps=frozenset({"os.rename", "fsync"}),
    ),
    "purge": Operation(
        begin=_removed,
        act=lambda daemon: verbs.purge(daemon, "v"),
        outcomes=lambda before: [before, Model()],
        refused="no v in the trash",
        steps=frozenset({"os.rename", "fsync", "os.rmdir"}),
    ),
    "resize": Operation(
        begin=_known("size", _volume(mounted=True)),
        act=lambda daemon: verbs.resize(daemon, "v", str(LARGER)),
        outcomes=lambda before: [before, replace(before, status={"v": {"size": LARGER}})],
        steps=frozenset({"os.rename", "fsync", "ioctl", "os.truncate"}),
    ),
    "resize-unmounted": Operation(
        begin=_known("size", _volume()),
        act=lambda daemon: verbs.resize(daemon, "v", str(LARGER)),
        outcomes=lambda before: [before, replace(before, status={"v": {"size": LARGER}})],
        steps=frozenset({"os.rename", "fsync", "os.truncate"}),
    ),
    "convert-to-image": Operation(
        begin=_known("backend", _volume(snapshot=False)),
        act=lambda daemon: verbs.convert(daemon, "v", backend="loopback", size="16M"),
        outcomes=_converted("loopback"),
        steps=frozenset({"os.rename", "renameat2", "fsync"}),
    ),
    "convert-to-folder": Operation(
        begin=_known("backend", _volume(snapshot=False)),
        act=lambda daemon: verbs.convert(daemon, "v", backend="directory"),
        outcomes=_converted("directory"),
        steps=frozenset({"os.rename", "renameat2", "fsync"}),
    ),
    "mount-private": Operation(
        begin=_private(mounted=False),
        act=_mount_private,
        outcomes=lambda before: [before, replace(before, held={_PRIVATE})],
        steps=frozenset({"os.rename", "mount"}),
    ),
    "unmount-private": Operation(
        begin=_private(mounted=True),
        act=lambda daemon: daemon.unmount("ci", CONTAINER),
        outcomes=lambda before: [before, replace(before, held=set())],
        steps=frozenset({"os.rename", "umount2", "os.remove"}),
    ),
    "mount-snapshot": Operation(
        begin=_volume(),
        act=lambda daemon: daemon.mount("v@s", CONTAINER),
        outcomes=lambda before: [before, replace(before, held={"v@s"})],
        steps=frozenset({"os.rename", "mount"}),
    ),
    "restore-file": Operation(
        begin=_volume(mounted=True),
        act=lambda daemon: verbs.restore_file(daemon, "v", "s", CANARY),
        outcomes=lambda before: [before, back(before)],
        steps=frozenset({"os.rename", "fsync", "syncfs"}),
    ),
    "restore-file-unmounted": Operation(
        begin=_volume(),
        act=lambda daemon: verbs.restore_file(daemon, "v", "s", CANARY),
        outcomes=lambda before: [before, back(before)],
        steps=frozenset({"os.rename", "fsync", "syncfs"}),
    ),
    "restore-folder": Operation(
        begin=_folder,
        act=lambda daemon: verbs.restore_file(daemon, "v", "s", CANARY),
        outcomes=lambda before: [before, back(before)],
        steps=frozenset({"renameat2", "fsync", "syncfs"}),
    ),
    "adopt": Operation(
        begin=_kept,
        act=lambda daemon: daemon.adopt("v"),
        outcomes=lambda before: [before, Model({"v": NEW})],
        steps=frozenset({"os.rename", "fsync"}),
    ),
    "protect": Operation(
        begin=_volume(),
        act=lambda daemon: verbs.protect(daemon, "v"),
        outcomes=lambda before: [before, replace(before, protected={"v"})],
        steps=frozenset({"os.rename", "fsync"}),
    ),
}


def clear(daemon: Daemon) -> None:
    """Take everything away that an operation may have come to."""
    references = ReferenceStore(daemon.run_dir, peers.boot_id())
    while held := references.load():
        for name in held:
            daemon.unmount(name.partition(HASH)[0], CONTAINER)
    offsite.clear(daemon)
    for name in daemon.listed():
        if daemon.get(name)["Status"]["protected"]:
            verbs.protect(daemon, name, on=False)
        daemon.remove(name)
    verbs.purge(daemon)
