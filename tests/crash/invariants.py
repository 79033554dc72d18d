"""What must be true after every crash and restart, whatever the daemon was doing.

Each rule compares the model, what the daemon says, and what lies on the host, and tells each thing
that is wrong in one line.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from convoy_py.linux import filesystems, freeze, mounts, peers
from convoy_py.models.filesystem import Filesystem
from convoy_py.models.names import is_valid_name, volume_of
from convoy_py.models.volume import State
from convoy_py.state import snapshots as snapshot_records
from convoy_py.state.claims import RECORD
from convoy_py.state.formats import Unreadable
from convoy_py.state.passed import PASSED
from convoy_py.state.records import Record, SnapshotRecord
from convoy_py.state.references import ReferenceStore
from convoy_py.state.repositories import RepositoryStore
from convoy_py.state.store import CLONES, KEPT, SNAPSHOTS, Store
from convoy_py.state.trash import REMOVED
from tests import harness, holding
from tests.crash import offsite
from tests.crash.contents import CANARY, read_canary, told
from tests.crash.scene import Model, Scene
from tests.harness import Daemon, Refused, Unanswered, eventually, is_open

_INSPECTOR = "invariants"
# The sweep and the janitor work in the background after a start.
PATIENCE = 120.0
# A filesystem offers at least this part of its image: the rest is for itself.
_OFFERED = 0.6

Rule = Callable[[Scene], Iterator[str]]


class StillFrozen(Exception):
    """A filesystem was frozen: a daemon that answers has thawed all. By now it is thawed."""


def check(daemon: Daemon, *models: Model, patience: float = PATIENCE) -> Model:
    """The first of the models of which all is true; waits for one for `patience` seconds.

    Raises AssertionError with every violation that is still there, StillFrozen at once.
    """
    return _first(daemon, models, violations, patience)


def tidied(daemon: Daemon, model: Model) -> None:
    """Wait until what the last daemon left is gone; looks into no volume."""
    _first(daemon, [model], untidy, harness.PATIENCE)


def died_or_tidied(daemon: Daemon, model: Model) -> None:
    """Wait until the daemon has died, or has done what it does in the background."""
    process = daemon.process
    assert process is not None

    def is_over() -> bool:
        if process.poll() is not None:
            return True
        try:
            return not untidy(daemon, model)
        except (OSError, Refused, Unanswered):
            return False  # it does not answer yet, or no more

    eventually(is_over, "it dies, or has nothing left to do", PATIENCE)


def _first(
    daemon: Daemon,
    models: Sequence[Model],
    look: Callable[[Daemon, Model], list[str]],
    patience: float,
) -> Model:
    found: list[str] = []

    def settled() -> list[Model]:
        found.clear()
        for model in models:
            wrong = look(daemon, model)
            if not wrong:
                return [model]
            found.extend(["violated:", *wrong])
        return []

    try:
        return eventually(settled, "the invariants hold", patience)[0]
    except AssertionError:
        there = ["what is mounted, attached and open:", *holding.told(daemon.folder)]
        raise AssertionError("\n".join([*found, *there, *_log(daemon)])) from None


def violations(daemon: Daemon, model: Model) -> list[str]:
    """Every violation at this moment; looking into the volumes mounts and unmounts them."""
    scene = Scene.take(daemon, model)
    # Only on a tidy host can it be told what the look itself leaves.
    return _untidy(scene) or list(look_inside(scene))


def untidy(daemon: Daemon, model: Model) -> list[str]:
    """Every violation that can be seen without looking into the volumes; changes nothing."""
    return _untidy(Scene.take(daemon, model))


def _untidy(scene: Scene) -> list[str]:
    thawed(scene)
    found = [line for rule in RULES for line in rule(scene)]
    # Programs read whole images for it: not while it is waited for the rest.
    return found or list(filesystem_checks(scene))


def thawed(scene: Scene) -> None:
    """No filesystem is frozen; raises StillFrozen, but leaves none so."""
    found = [mount.mountpoint for mount in mounts.below(scene.daemon.run_dir / "mounts")]
    frozen = []
    for path in found:
        with suppress(FileNotFoundError):  # it was swept just now
            frozen += [path] if freeze.thaw(Path(path)) else []
    if frozen:
        raise StillFrozen(", ".join(frozen))


def records(scene: Scene) -> Iterator[str]:
    """Every record can be read, and the daemon lists exactly what is on disk."""
    for found, listed in (
        (scene.records, scene.listed),
        (scene.snapshot_records, scene.snapshots),
    ):
        for name, record in found.items():
            if isinstance(record, Unreadable):
                yield f"record of {name}: {record}"
        for name in listed.keys() ^ found.keys():
            yield f"{name} is {'listed' if name in listed else 'on disk'} only"


def acknowledged(scene: Scene) -> Iterator[str]:
    """What was acknowledged is there and well; what is there was asked for."""
    model = scene.model
    there = scene.listed.keys() | scene.modelled.values()
    wanted = model.volumes.keys() | model.snapshots.keys()
    for name in wanted - there - model.unsure - model.moving:
        yield f"{name} was acknowledged and is gone"
    for name in there - wanted - model.unsure - model.moving:
        yield f"{name} was removed, or never made, and is there"
    for name in scene.listed:
        status = scene.daemon.get(name)["Status"]
        if status["state"] not in (State.READY, State.MOUNTED):
            yield f"{name} is {status['state']}"
        if status["protected"] != (name in model.protected):
            yield f"{name} is {'' if status['protected'] else 'not '}protected"
        for key, value in model.status.get(name, {}).items():
            if status.get(key) != value:
                yield f"{name} has {key} {status.get(key)}, it should be {value}"
    for name, each in scene.snapshots.items():
        if each["State"] == State.BROKEN:
            yield f"{name} is broken: {each['Reason']}"


def trash(scene: Scene) -> Iterator[str]:
    """What was removed is in the trash, and what is there was removed and is listed no more."""
    model = scene.model
    names = [key.rpartition(".")[0] for key in scene.trash]
    for name in model.trash - set(names) - model.unsure:
        yield f"{name} was removed and is not in the trash"
    for name in set(names) - model.trash - model.unsure - model.moving - model.replaced:
        yield f"{name} is in the trash, but was not removed"
    for name in model.moving:
        if (name in names) == (name in scene.listed):
            where = (
                "listed and in the trash" if name in names else "neither listed nor in the trash"
            )
            yield f"{name} is {where}"


def leftovers(scene: Scene) -> Iterator[str]:
    """No temporary file, staging or trash folder, and nothing of unknown origin."""
    root, run = scene.daemon.root, scene.daemon.run_dir
    yield from _strangers(
        root, {"lock", "volumes", "trash", "ballast", "repositories", "restores", PASSED}
    )
    yield from _strangers(root / "restores", set())
    yield from _strangers(root / "trash", set(scene.trash))
    # When a volume was removed means nothing elsewhere: the next Remove writes it anew.
    known = {RECORD, "data", "image", KEPT, SNAPSHOTS, CLONES, REMOVED}
    for home in (*_folders(root / "volumes"), *_folders(root / "trash")):
        if home.parent.name == "volumes" and not is_valid_name(home.name):
            yield f"left behind: {home}"
        record = scene.records.get(home.name)
        named = record.data if isinstance(record, Record) else None
        yield from _strangers(home, known - {"image"} | {named} if named else known)
        for snapshot in _folders(home / SNAPSHOTS):
            if not is_valid_name(snapshot.name):
                yield f"left behind: {snapshot}"
            yield from _strangers(snapshot, {snapshot_records.RECORD, "data", "image"})
    for clone in scene.clones:
        yield from _strangers(scene.home(clone), {"data", "image"})
    names = {*scene.shown, *scene.clones}
    yield from _strangers(run, {".lock", "mounts", "references", "frozen"})
    yield from _strangers(run / "mounts", {".lock", *names})
    yield from _strangers(run / "references", {f"{name}.json" for name in names})
    yield from _strangers(run / "frozen", set())


def repositories(scene: Scene) -> Iterator[str]:
    """Those are known that were added; of the others nothing is kept, and nothing compared with."""
    known, model = offsite.listed(scene.daemon), scene.model
    for name in known ^ model.repositories:
        yield f"repository {name} is {'known' if name in known else 'not known'}"
    files = {f"{name}{ending}" for name in known for ending in (".json", ".locks")}
    yield from _strangers(scene.daemon.root / "repositories", files)
    of = [(volume_of(name), record.base_of) for name, record in scene.bases.items()]
    for volume, repository in set(of):
        if repository not in known:
            yield f"{volume} has a snapshot for the backups of {repository}"
        if of.count((volume, repository)) > 1:
            yield f"{volume} has more than one snapshot for the backups of {repository}"


def backups(scene: Scene) -> Iterator[str]:
    """What was backed up is in the repository, whole, and no lock but those that are noted."""
    found = offsite.contents(scene.daemon)
    if found != scene.model.backups:
        texts = [", ".join(map(told, each)) or "none" for each in (found, scene.model.backups)]
        yield f"backups of {texts[0]} are there, acknowledged were {texts[1]}"
    yield from offsite.problems(scene.daemon)
    noted = RepositoryStore(Store(scene.daemon.root)).locks(offsite.NAME)
    for lock in offsite.locks(scene.daemon) - set(noted):
        yield f"lock {lock} of the repository is not known"


def mount_table(scene: Scene) -> Iterator[str]:
    """The mounts are those of what is listed, one each, and the daemon knows them."""
    mounts_dir = scene.daemon.run_dir / "mounts"
    found = [Path(mount.mountpoint) for mount in mounts.below(mounts_dir)]
    known = {*scene.shown, *scene.clones}
    for path in found:
        if path.parent != mounts_dir or path.name not in known:
            yield f"mounted, without a volume: {path}"
        if found.count(path) > 1:
            yield f"mounted {found.count(path)} times: {path}"
    for name, shown in scene.shown.items():
        if bool(shown) != (name in scene.mounted):
            yield f"{name} is said to be at {shown!r}, the kernel has {sorted(scene.mounted)}"


def references(scene: Scene) -> Iterator[str]:
    """What is mounted is held and the other way round, as was acknowledged; so is each clone."""
    daemon, model = scene.daemon, scene.model
    held = ReferenceStore(daemon.run_dir, peers.boot_id()).load().keys()
    for name in held ^ scene.mounted:
        yield f"{name} is {'held' if name in held else 'mounted'} only"
    for name in scene.clones - held:
        yield f"{name} is the private clone of a mount that is over"
    for name in (model.held ^ held) - model.swaying - model.unsure:
        yield f"{name} is {'held' if name in held else 'not held'}, against what was acknowledged"


def loop_devices(scene: Scene) -> Iterator[str]:
    """One loop device for each mounted image, and none besides."""
    attached = holding.attached_below(scene.daemon.root)
    images = {scene.image(name) for name in scene.mounted} - {None}
    if len(attached) != len(images):
        devices = ", ".join(attached)
        yield (
            f"{len(attached)} loop devices are attached for {len(images)} mounted images: {devices}"
        )


def processes(scene: Scene) -> Iterator[str]:
    """The daemon has no child, and no program works on what is the daemon's."""
    folder, daemon = f"{scene.daemon.folder}/".encode(), scene.daemon.pid
    ours = holding.children(daemon)
    for pid in holding.pids():
        command = holding.command_line(pid)
        if pid in ours or (folder in command and pid != daemon):
            yield f"process {pid}: {command.replace(bytes(1), b' ').decode()}"


def sockets(scene: Scene) -> Iterator[str]:
    """Every socket below the folder is one on which somebody listens."""
    for path in scene.daemon.folder.iterdir():
        if path.is_socket() and not is_open(path):
            yield f"nobody listens on {path}"


def filesystem_checks(scene: Scene) -> Iterator[str]:
    """The filesystem of every image that is not mounted is clean."""
    live = {scene.image(name) for name in scene.mounted}
    for name in (*scene.shown, *scene.clones):
        image, record = scene.image(name), scene.records.get(name)
        # While a volume is still to grow its next mount mends it.
        if image is None or image in live or _is_growing(record):
            continue
        live.add(image)
        try:
            filesystems.check(filesystems.identify(image) or "nothing known", image)
        except (filesystems.DamagedFilesystem, FileNotFoundError) as damage:
            yield f"{name}: {damage}"


RULES: tuple[Rule, ...] = (
    records,
    acknowledged,
    trash,
    leftovers,
    mount_table,
    references,
    repositories,
    backups,
    loop_devices,
    processes,
    sockets,
)


def look_inside(scene: Scene) -> Iterator[str]:
    """Everything can be mounted, and holds what was written and synced to it, and no more."""
    model = scene.model
    # A volume that nobody was told of is empty: its maker had no place to write to.
    wanted = {name: model.volumes.get(name, b"") for name in scene.listed}
    wanted |= {real: model.snapshots.get(name, b"") for real, name in scene.modelled.items()}
    for name, content in wanted.items():
        try:
            path = scene.daemon.mount(name, _INSPECTOR)
            found, others = read_canary(path), {each.name for each in path.iterdir()} - {CANARY}
            wrong = list(_around(scene, name))
            scene.daemon.unmount(name, _INSPECTOR)
        except (OSError, Refused) as error:
            yield f"{name} cannot be used: {error}"
            continue
        if found not in (content, model.or_else.get(name, content)):
            yield f"{name} holds {told(found)}, acknowledged was {told(content)}"
        if others:
            yield f"left behind in {name}: {', '.join(sorted(others))}"
        yield from wrong


def _around(scene: Scene, name: str) -> Iterator[str]:
    """What is wrong with the mounted image of a volume, beside its data."""
    if scene.image(name) is None or name not in scene.listed:
        return
    record = Store(scene.daemon.root).read(name)
    if _is_growing(record):
        # What has been mounted since before the crash grows when that is repeated.
        if name not in scene.model.held:
            yield f"{name} is mounted and has not grown from {record.spec.grows_from}"
        return
    if record.spec.per_mount:
        return  # what was mounted is a clone
    mountpoint, size = scene.daemon.run_dir / "mounts" / name, record.spec.size or 0
    offered = filesystems.space(mountpoint).size
    if not size * _OFFERED < offered <= size:
        yield f"{name} has {size} bytes, its filesystem {offered}"
    if record.spec.fs is Filesystem.BTRFS:
        yield from _strangers(mountpoint, {"data", "snapshots"})
        known = {
            each.uuid
            for full, each in (scene.snapshot_records | scene.bases).items()
            if volume_of(full) == name and isinstance(each, SnapshotRecord)
        }
        yield from _strangers(mountpoint / "snapshots", known)


def _is_growing(record: Record | Unreadable | None) -> bool:
    return isinstance(record, Record) and record.spec.grows_from is not None


def _folders(path: Path) -> list[Path]:
    """What is in a folder; nothing if it is not there, or not any more."""
    try:
        return sorted(path.iterdir())
    except FileNotFoundError:
        return []


def _strangers(folder: Path, known: set[str]) -> Iterator[str]:
    for path in _folders(folder):
        if path.name not in known:
            yield f"left behind: {path}"


def _log(daemon: Daemon) -> list[str]:
    return ["the end of the daemon's log:", *daemon.log.read_text().splitlines()[-15:]]
