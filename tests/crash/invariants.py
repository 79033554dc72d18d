"""What must be true after every crash and restart, whatever the daemon was doing.

The model: who made a volume and was told so, acknowledged it. Each rule compares the model, what
the daemon says, and what lies on the host, and tells each thing that is wrong in one line.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from convoy_py.linux import filesystems, mounts, peers
from convoy_py.models.names import is_valid_name
from convoy_py.models.volume import State
from convoy_py.state.records import Record, Unreadable
from convoy_py.state.references import ReferenceStore
from convoy_py.state.store import KEPT, RECORD, Store
from tests.harness import Daemon, Refused, attached_below, eventually, is_open

CANARY = "canary"
_INSPECTOR = "invariants"
# The sweep and the janitor work in the background after a start.
PATIENCE = 10.0


@dataclass
class Model:
    """What the daemon acknowledged: the volumes with their canaries, and who holds them.

    `unsure` are the volumes of operations that were cut off before their answer: they may be there,
    whole, or not; `swaying` those of a Mount or Unmount that was: they may be mounted or not.
    """

    volumes: dict[str, bytes] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)
    unsure: set[str] = field(default_factory=set)
    swaying: set[str] = field(default_factory=set)


@dataclass
class Scene:
    """One look at everything: the model, the daemon's list, and the records on disk."""

    daemon: Daemon
    model: Model
    listed: dict[str, str]
    records: dict[str, Record | Unreadable]

    @classmethod
    def take(cls, daemon: Daemon, model: Model) -> "Scene":
        listed = daemon.listed()
        return cls(daemon, model, listed, Store(daemon.root).load())


Rule = Callable[[Scene], Iterator[str]]


def check(daemon: Daemon, model: Model, patience: float = PATIENCE) -> None:
    """Raise AssertionError with every violation that is still there after `patience` seconds."""
    found: list[str] = []

    def settled() -> bool:
        found[:] = violations(daemon, model)
        return not found

    try:
        eventually(settled, "the invariants hold", patience)
    except AssertionError:
        raise AssertionError("\n".join(["violated:", *found, *_log(daemon)])) from None


def violations(daemon: Daemon, model: Model) -> list[str]:
    """Every violation at this moment; looking into the volumes mounts and unmounts them."""
    # Only on a tidy host can it be told what the look itself leaves.
    return untidy(daemon, model) or list(look_inside(Scene.take(daemon, model)))


def untidy(daemon: Daemon, model: Model) -> list[str]:
    """Every violation that can be seen without looking into the volumes; changes nothing."""
    scene = Scene.take(daemon, model)
    return [line for rule in RULES for line in rule(scene)]


def records(scene: Scene) -> Iterator[str]:
    """Every record can be read, and the daemon lists exactly the volumes on disk."""
    for name, record in scene.records.items():
        if isinstance(record, Unreadable):
            yield f"record of {name}: {record}"
    for name in scene.listed.keys() ^ scene.records.keys():
        yield f"{name} is {'listed' if name in scene.listed else 'on disk'} only"


def acknowledged(scene: Scene) -> Iterator[str]:
    """What was acknowledged is there and well; what is there was asked for."""
    model = scene.model
    for name in model.volumes.keys() - scene.listed.keys() - model.unsure:
        yield f"{name} was acknowledged and is gone"
    for name in scene.listed.keys() - model.volumes.keys() - model.unsure:
        yield f"{name} was removed, or never made, and is there"
    for name in scene.listed:
        state = scene.daemon.get(name)["Status"]["state"]
        if state not in (State.READY, State.MOUNTED):
            yield f"{name} is {state}"


def leftovers(scene: Scene) -> Iterator[str]:
    """No temporary file, staging or trash folder, and nothing of unknown origin."""
    root, run = scene.daemon.root, scene.daemon.run_dir
    yield from _strangers(root, {"lock", "volumes", "trash"})
    yield from _strangers(root / "trash", set())
    for home in _folders(root / "volumes"):
        if not is_valid_name(home.name):
            yield f"left behind: {home}"
        yield from _strangers(home, {RECORD, "data", "image", KEPT})
    yield from _strangers(run, {".lock", "mounts", "references"})
    yield from _strangers(run / "mounts", {".lock", *scene.listed})
    yield from _strangers(run / "references", {f"{name}.json" for name in scene.listed})


def mount_table(scene: Scene) -> Iterator[str]:
    """The mounts are those of listed volumes, one each, and the daemon knows them."""
    mounts_dir = scene.daemon.run_dir / "mounts"
    found = [Path(mount.mountpoint) for mount in mounts.below(mounts_dir)]
    for path in found:
        if path.parent != mounts_dir or path.name not in scene.listed:
            yield f"mounted, without a volume: {path}"
        if found.count(path) > 1:
            yield f"mounted {found.count(path)} times: {path}"
    names = {path.name for path in found}
    for name, shown in scene.listed.items():
        if bool(shown) != (name in names):
            yield f"{name} is said to be mounted at {shown!r}, the kernel has {sorted(names)}"


def references(scene: Scene) -> Iterator[str]:
    """A volume is mounted exactly while it is held, and held as was acknowledged."""
    daemon, model = scene.daemon, scene.model
    held = ReferenceStore(daemon.run_dir, peers.boot_id()).load().keys()
    mounted = {name for name, path in scene.listed.items() if path}
    for name in held ^ mounted:
        yield f"{name} is {'held' if name in held else 'mounted'} only"
    for name in (model.held ^ held) - model.swaying - model.unsure:
        yield f"{name} is {'held' if name in held else 'not held'}, against what was acknowledged"


def loop_devices(scene: Scene) -> Iterator[str]:
    """One loop device for each mounted image, and none besides."""
    attached = len(attached_below(scene.daemon.root))
    images = sum(1 for name, path in scene.listed.items() if path and _filesystem(scene, name))
    if attached != images:
        yield f"{attached} loop devices are attached for {images} mounted images"


def processes(scene: Scene) -> Iterator[str]:
    """The daemon has no child, and no program works below its root."""
    root = f"{scene.daemon.root}/".encode()
    for process in Path("/proc").glob("[0-9]*"):
        if int(process.name) == scene.daemon.pid:
            continue
        try:
            parent = int((process / "stat").read_bytes().rpartition(b")")[2].split()[1])
            command = (process / "cmdline").read_bytes()
        except OSError:  # it has ended
            continue
        if parent == scene.daemon.pid or root in command:
            yield f"process {process.name}: {command.replace(bytes(1), b' ').decode()}"


def sockets(scene: Scene) -> Iterator[str]:
    """Every socket below the folder is one on which somebody listens."""
    for path in scene.daemon.folder.iterdir():
        if path.is_socket() and not is_open(path):
            yield f"nobody listens on {path}"


def filesystem_checks(scene: Scene) -> Iterator[str]:
    """The filesystem of every image that is not mounted is clean."""
    for name, path in scene.listed.items():
        if (fs := _filesystem(scene, name)) and not path:
            try:
                filesystems.check(fs, scene.daemon.root / "volumes" / name / "image")
            except filesystems.DamagedFilesystem as damage:
                yield f"{name}: {damage}"


RULES: tuple[Rule, ...] = (
    records,
    acknowledged,
    leftovers,
    mount_table,
    references,
    loop_devices,
    processes,
    sockets,
    filesystem_checks,
)


def look_inside(scene: Scene) -> Iterator[str]:
    """Every volume can be mounted, and what was written and synced to it is there."""
    for name in scene.listed:
        try:
            path = scene.daemon.mount(name, _INSPECTOR)
            found = read_canary(path)
            scene.daemon.unmount(name, _INSPECTOR)
        except (OSError, Refused) as error:
            yield f"{name} cannot be used: {error}"
            continue
        # A volume that nobody was told of is empty: its maker had no place to write to.
        wanted = scene.model.volumes.get(name, b"")
        if found != wanted:
            yield f"{name} holds {found!r}, acknowledged was {wanted!r}"


def write_canary(folder: Path, content: bytes) -> None:
    """Put the content into a mounted volume, so that it survives a power cut."""
    with open(folder / CANARY, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def read_canary(folder: Path) -> bytes:
    """What `write_canary` put there; nothing if there is none."""
    try:
        return (folder / CANARY).read_bytes()
    except FileNotFoundError:
        return b""


def _filesystem(scene: Scene, name: str) -> str | None:
    """What a volume's image is formatted with; None for a directory."""
    record = scene.records.get(name)
    return record.spec.fs if isinstance(record, Record) else None


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
