"""Clients that do one thing after the other with volumes of their own, and know what must be."""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from threading import Event

from tests.crash import verbs
from tests.crash.contents import CANARY, read_canary, write_canary
from tests.crash.scene import Model
from tests.crash.volumes import CONTAINER, KINDS
from tests.harness import Daemon, Refused, Unanswered

VOLUMES_EACH = 2
_MOST_SNAPSHOTS = 2


class Stage(StrEnum):
    """Where one volume is in its life."""

    ABSENT = "absent"
    READY = "ready"
    MOUNTED = "mounted"
    TRASHED = "trashed"


@dataclass
class Volume:
    """One volume as its only client knows it; `cut_off` is the verb that got no answer."""

    name: str
    kind: str
    stage: Stage = Stage.ABSENT
    content: bytes = b""
    snapshots: dict[str, bytes] = field(default_factory=dict)
    saved: list[bytes] = field(default_factory=list)  # by rollbacks
    cut_off: str = ""
    aim: str = ""  # of the verb: another name, or a snapshot

    @property
    def full_names(self) -> dict[str, bytes]:
        """Its snapshots, as the model calls them."""
        return self._full(self.name)

    def add_to(self, model: Model) -> None:
        """Tell the model of it: what was acknowledged, and what may be as well."""
        if self.stage is Stage.TRASHED:
            model.trash.add(self.name)
        elif self.stage is not Stage.ABSENT:
            model.volumes[self.name] = self.content
            model.snapshots |= self.full_names
        if self.stage is Stage.MOUNTED:
            model.held.add(self.name)
        if self.cut_off:
            self._add_cut_off(model)

    def _add_cut_off(self, model: Model) -> None:
        match self.cut_off:
            case "create" | "clone" | "purge":
                model.unsure.add(self.name)
                model.volumes[self.name] = self.content
            case "mount" | "unmount":
                model.swaying.add(self.name)
            case "remove" | "restore":
                model.moving.add(self.name)
                model.trash.discard(self.name)
                model.volumes[self.name] = self.content
                model.snapshots |= self.full_names
                model.unsure |= self.full_names.keys()
            case "rename":
                model.volumes[self.aim] = self.content
                model.snapshots |= self._full(self.aim)
                names = {self.name, self.aim}
                model.unsure |= {*names, *self.full_names, *self._full(self.aim)}
            case "snapshot" | "delete":
                full = f"{self.name}@{self.aim}"
                model.snapshots.setdefault(full, self.content)
                model.unsure.add(full)
            case "convert":
                model.replaced.add(self.name)
            case "restore_file":
                model.or_else[self.name] = self.snapshots[self.aim]
            case "rollback":
                model.or_else[self.name] = self.snapshots[self.aim]
                model.snapshots[self._next_saved] = self.content
                model.unsure.add(self._next_saved)
            case _:
                pass  # it changes nothing

    @property
    def _next_saved(self) -> str:
        return f"{self.name}@saved-{len(self.saved) + 1}"

    def _full(self, name: str) -> dict[str, bytes]:
        saved = {f"saved-{number}": held for number, held in enumerate(self.saved, 1)}
        return {f"{name}@{each}": held for each, held in (self.snapshots | saved).items()}


class Client:
    """Works on volumes of its own, so that it knows what must be there."""

    def __init__(
        self,
        daemon: Daemon,
        number: int,
        chance: random.Random,
        kinds: Sequence[str] = tuple(KINDS),
    ) -> None:
        self.volumes = [
            Volume(f"v{number}-{i}", kinds[(number + i) % len(kinds)]) for i in range(VOLUMES_EACH)
        ]
        self.answered = 0
        self.refusals: list[str] = []
        self._kinds = kinds
        self._daemon = daemon
        self._chance = chance
        self._names = 0

    def work(self) -> None:
        """One operation after the other, until the daemon is gone."""
        while True:
            volume = self._chance.choice(self.volumes)
            verb = self._chance.choice(_CHOICES[volume.stage])
            volume.cut_off = verb.__name__
            try:
                verb(self, volume)
            except Unanswered:
                return
            volume.cut_off = ""
            self.answered += 1

    def work_among_faults(self, ended: Event, *, writes: bool = True) -> None:
        """The same until `ended`; what was refused may be done or not, and is not gone on with."""
        while not ended.wait(0):
            left = [volume for volume in self.volumes if not volume.cut_off]
            if not left:
                return
            volume = self._chance.choice(left)
            verb = self._chance.choice(_CHOICES[volume.stage])
            if verb is Client.write and not writes:
                continue
            volume.cut_off = verb.__name__
            try:
                verb(self, volume)
            except Refused as refusal:
                self.refusals.append(str(refusal))
                continue
            volume.cut_off = ""
            self.answered += 1

    def look(self) -> None:
        """See what became of the verbs that were cut off; the invariants hold."""
        listed = self._daemon.listed()
        trash = {each["Name"] for each in self._daemon.admin("GET", "/v1/trash")["Volumes"]}
        for volume in self.volumes:
            if volume.cut_off == "rename":
                assert (volume.name in listed) != (volume.aim in listed), volume
                volume.name = volume.aim if volume.aim in listed else volume.name
            shown = listed.get(volume.name)
            if shown is not None:
                volume.stage = Stage.MOUNTED if shown else Stage.READY
            else:
                volume.stage = Stage.TRASHED if volume.name in trash else Stage.ABSENT
            if volume.cut_off in ("snapshot", "delete", "rollback"):
                self._look_at_snapshots(volume)
            elif volume.cut_off in ("restore_file", "write"):
                volume.content = self._content(volume)
            elif volume.cut_off == "convert":
                volume.kind = self._kind(volume)
                if volume.name in trash:
                    verbs.purge(self._daemon, volume.name)
            if volume.stage is Stage.ABSENT:
                _forget(volume)
            volume.cut_off = ""

    def _look_at_snapshots(self, volume: Volume) -> None:
        found = self._daemon.admin("GET", f"/v1/volumes/{volume.name}/snapshots")["Snapshots"]
        if volume.cut_off != "rollback":
            there = volume.aim in {each["Name"] for each in found}
            content = volume.snapshots.pop(volume.aim, volume.content)
            volume.snapshots |= {volume.aim: content} if there else {}
            return
        is_saved = sum(each["Automatic"] for each in found) > len(volume.saved)
        content = self._content(volume)
        assert content == volume.content or is_saved, "what was there before was saved"
        volume.saved += [volume.content] if is_saved else []
        volume.content = content

    def _content(self, volume: Volume) -> bytes:
        content = read_canary(self._daemon.mount(volume.name, CONTAINER))
        self._daemon.unmount(volume.name, CONTAINER)
        return content

    def _kind(self, volume: Volume) -> str:
        status = self._daemon.get(volume.name)["Status"]
        if status["backend"] == "directory":
            return "directory"
        reserved = status["options"].get("sparse") in (False, "false")
        return f"{status['filesystem']}{'-reserved' if reserved else ''}"

    # Verbs

    def create(self, volume: Volume) -> None:
        self._daemon.create(volume.name, **KINDS[volume.kind])
        volume.stage = Stage.READY

    def clone(self, volume: Volume) -> None:
        """Of the client's other volume, or of a snapshot of it, if that is there."""
        (other,) = (each for each in self.volumes if each is not volume)
        if other.stage in (Stage.READY, Stage.MOUNTED) and not other.cut_off:
            snapshot = self._chance.choice(["", *other.snapshots])
            volume.kind, volume.content = other.kind, other.snapshots.get(snapshot, other.content)
            verbs.clone(self._daemon, other.name, volume.name, snapshot)
            volume.stage = Stage.READY

    def convert(self, volume: Volume) -> None:
        """Into another kind, if nothing stands in the way; what it was goes for good."""
        if not volume.snapshots and not volume.saved:
            kind = self._chance.choice(self._kinds)
            options = {"sparse": "true", **KINDS[kind]} if kind != "directory" else KINDS[kind]
            verbs.convert(self._daemon, volume.name, **options)
            volume.kind = kind
            verbs.purge(self._daemon, volume.name)

    def restore_file(self, volume: Volume) -> None:
        """Bring the canary back from a snapshot that has it."""
        if having := [name for name, content in volume.snapshots.items() if content]:
            volume.aim = self._chance.choice(having)
            verbs.restore_file(self._daemon, volume.name, volume.aim, CANARY)
            volume.content = volume.snapshots[volume.aim]

    def mount(self, volume: Volume) -> None:
        self._daemon.mount(volume.name, CONTAINER)
        volume.stage = Stage.MOUNTED

    def write(self, volume: Volume) -> None:
        content = self._chance.randbytes(64)
        write_canary(self._daemon.run_dir / "mounts" / volume.name / _inside(volume), content)
        volume.content = content

    def unmount(self, volume: Volume) -> None:
        self._daemon.unmount(volume.name, CONTAINER)
        volume.stage = Stage.READY

    def snapshot(self, volume: Volume) -> None:
        if len(volume.snapshots) == _MOST_SNAPSHOTS:
            volume.cut_off = "delete"
            self.delete(volume)
            return
        volume.aim = self._name("s")
        verbs.snapshot(self._daemon, volume.name, volume.aim)
        volume.snapshots[volume.aim] = volume.content

    def delete(self, volume: Volume) -> None:
        volume.aim = self._chance.choice(list(volume.snapshots))
        verbs.delete_snapshot(self._daemon, f"{volume.name}@{volume.aim}")
        del volume.snapshots[volume.aim]

    def rollback(self, volume: Volume) -> None:
        if volume.snapshots and len(volume.saved) < _MOST_SNAPSHOTS:
            volume.aim = self._chance.choice(list(volume.snapshots))
            verbs.rollback(self._daemon, volume.name, volume.aim)
            volume.saved.append(volume.content)
            volume.content = volume.snapshots[volume.aim]

    def rename(self, volume: Volume) -> None:
        volume.aim = self._name(volume.name.partition(".")[0] + ".")
        verbs.rename(self._daemon, volume.name, volume.aim)
        volume.name = volume.aim

    def remove(self, volume: Volume) -> None:
        self._daemon.remove(volume.name)
        volume.stage = Stage.TRASHED

    def restore(self, volume: Volume) -> None:
        verbs.restore(self._daemon, volume.name)
        volume.stage = Stage.READY

    def purge(self, volume: Volume) -> None:
        verbs.purge(self._daemon, volume.name)
        _forget(volume)

    def get(self, volume: Volume) -> None:
        assert self._daemon.get(volume.name)["Name"] == volume.name

    def list(self, volume: Volume) -> None:
        there = volume.stage in (Stage.READY, Stage.MOUNTED)
        assert (volume.name in self._daemon.listed()) == there

    def _name(self, prefix: str) -> str:
        self._names += 1
        return f"{prefix}{self._names}"


_Verbs = tuple[Callable[[Client, Volume], None], ...]
_CHOICES: dict[Stage, _Verbs] = {
    Stage.ABSENT: (Client.create, Client.create, Client.clone, Client.list),
    Stage.READY: (
        *(Client.mount, Client.mount, Client.remove, Client.create, Client.get),
        *(Client.snapshot, Client.rollback, Client.rename, Client.convert, Client.restore_file),
    ),
    Stage.MOUNTED: (
        *(Client.write, Client.write, Client.unmount, Client.unmount, Client.get, Client.list),
        *(Client.snapshot, Client.restore_file),
    ),
    Stage.TRASHED: (Client.restore, Client.restore, Client.purge, Client.list),
}


def acknowledged(clients: Iterable[Client]) -> Model:
    """The model of all that the clients know."""
    model = Model()
    for client in clients:
        for volume in client.volumes:
            volume.add_to(model)
    return model


def _forget(volume: Volume) -> None:
    """It is gone, with its snapshots."""
    volume.stage, volume.content = Stage.ABSENT, b""
    volume.snapshots, volume.saved = {}, []


def _inside(volume: Volume) -> str:
    """Where below the mountpoint a container's folder is."""
    return "" if volume.kind == "directory" else "data"
