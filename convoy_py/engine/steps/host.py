"""What is at hand on one host: where volumes lie, what keeps and what counts them."""

import secrets
import uuid as uuids
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from convoy_py.backends import mountpoints
from convoy_py.backends.base import Backend, Place
from convoy_py.engine.memory.entry import Entry
from convoy_py.engine.memory.ledger import Ledger
from convoy_py.engine.steps.membership import Membership
from convoy_py.errors import Unsupported
from convoy_py.linux import mounts, peers
from convoy_py.models.filesystem import Filesystem
from convoy_py.models.names import joined
from convoy_py.models.volume import Options, Spec, option_of
from convoy_py.state.passed import PassedTime
from convoy_py.state.records import Record, SnapshotRecord, timestamp
from convoy_py.state.references import ReferenceStore
from convoy_py.state.restores import RestoreStore
from convoy_py.state.runs import RunStore
from convoy_py.state.snapshots import SnapshotStore
from convoy_py.state.store import Store
from convoy_py.state.trash import Trash

# Of what has no record: no backend's.
UNKNOWN = Spec(backend="")


class Host:
    """One root, one run folder and one mounts folder, with the backends that are on."""

    def __init__(
        self,
        store: Store,
        reference_store: ReferenceStore,
        backends: Mapping[str, Backend],
        ledger: Ledger,
        mounts_dir: Path,
        passed: PassedTime,
    ) -> None:
        """`backends` in the order of preference; by `passed` ages what lies in the trash."""
        self.store = store
        self.ballast = store.ballast
        self.snapshot_store = SnapshotStore(store)
        self.restore_store = RestoreStore(store)
        self.run_store = RunStore(store)
        self.passed = passed
        self.trash = Trash(store, passed)
        self.reference_store = reference_store
        self.backends = backends
        self.ledger = ledger
        self.mounts_dir = mounts_dir
        self.wall_clock = passed.wall_clock  # POSIX seconds
        self.membership: Membership | None = None  # of a shared root
        self.isolation = ""  # why mounts made here would not reach containers

    def problems(self) -> list[str]:
        """What keeps the daemon from serving. No I/O."""
        store = self.store
        alone = self.membership.problem if self.membership else ""
        return list(filter(None, (self.isolation, store.failure, store.presence.away, alone)))

    def isolation_from(self, pid: int) -> str:
        """Why mounts made here are not seen by a process; "" if they are or that cannot be told.

        Costs a look or three at /proc.
        """
        ours, theirs = peers.mount_namespace(), peers.mount_namespace(pid)
        if theirs in (None, ours):
            return ""
        if group := mounts.holding(self.mounts_dir).peer_group:
            return self._lost_from(pid, group)
        return (
            f"mounts below {self.mounts_dir} do not reach containers: this daemon has a mount "
            "namespace of its own and the folder does not propagate (run the daemon outside, or "
            "make the folder shared)"
        )

    def _lost_from(self, pid: int, group: int) -> str:
        """Why an engine does not see what its plugin mounts although that propagates."""
        # Process 1 may see less than the engine, which is who makes the plugin's folder shared.
        if pid == 1 or not mountpoints.is_guarded(self.mounts_dir) or mounts.reaches(pid, group):
            return ""
        return (
            f"mounts below {self.mounts_dir} do not reach containers any more: the engine has "
            "unmounted the plugin's folder, as it may do late after a crash; have it made anew by "
            "`docker plugin disable -f` and `docker plugin enable`"
        )

    def place(self, record: Record) -> Place:
        name, home = record.name, self.store.home(record.name)
        mountpoint = self.mounts_dir / name
        return Place(name, record.uuid, home, mountpoint, record.spec, data=record.data)

    def staged(self, place: Place, staging: Path) -> Place:
        """The place of a volume or snapshot while it is built.

        Its mountpoint too bears a name that no volume can have: leftovers are known by it.
        """
        return replace(place, home=staging, mountpoint=self.mounts_dir / staging.name)

    def snapshot_place(self, volume: Entry, record: SnapshotRecord) -> Place:
        full = joined(volume.name, record.name)
        home = self.snapshot_store.home(volume.name, record.name)
        mountpoint = self.mounts_dir / full
        return Place(full, record.uuid, home, mountpoint, record.spec, within=volume.place)

    def nameless(self, home: Path, spec: Spec = UNKNOWN, data: str | None = None) -> Place:
        """A folder that is to be destroyed, whatever it held."""
        return Place(home.name, "", home, self.mounts_dir / home.name, spec, data=data)

    def choose(self, options: Options) -> tuple[Backend, Spec]:
        """The backend that the options name, or the first that can do what they ask."""
        if options.backend is not None:
            backend = self.backends.get(options.backend)
            if backend is None:
                known = ", ".join(self.backends)
                raise Unsupported(f"backend {options.backend} is not on here; use {known}")
            return backend, self._resolved(backend, options)
        refusals = []
        for backend in self.backends.values():
            try:
                return backend, self._resolved(backend, options)
            except Unsupported as error:
                refusals.append(f"{backend.name}: {error}")
        raise Unsupported("no backend can do this here: " + "; ".join(refusals))

    def _resolved(self, backend: Backend, options: Options) -> Spec:
        self.refuse_others(backend, options)
        spec = backend.resolve(options)
        if self.store.mark:
            _refuse_shared(spec)
        return spec

    def refuse_others(self, backend: Backend, options: Options) -> None:
        """Raise Unsupported for options that mean nothing to a backend: none is ever dropped."""
        others = [key for key in options.given() if key not in backend.takes]
        if not others:
            return
        named = ", ".join(map(option_of, others))
        if able := [each.name for each in self.backends.values() if each.takes.issuperset(others)]:
            raise Unsupported(f"option {named} is for backend={' or '.join(able)}")
        takes = backend.takes - {"backend"}
        known = [option_of(key) for key in Options.model_fields if key in takes]
        raise Unsupported(
            f"option {named} is not for backend={backend.name} (which takes {', '.join(known)})"
        )

    def record(self, name: str, spec: Spec) -> Record:
        """The record of a volume that is being made."""
        # Random bits only: a name-based or clock-based id could repeat on another host.
        uuid = uuids.UUID(bytes=secrets.token_bytes(16), version=4)
        return Record(name=name, uuid=str(uuid), created=timestamp(self.wall_clock()), spec=spec)


def _refuse_shared(spec: Spec) -> None:
    """Raise Unsupported for what cannot be on a root that several hosts have."""
    if spec.fs is Filesystem.BTRFS:
        raise Unsupported("fs=btrfs is not for a shared root: use fs=ext4 or fs=xfs")
    if spec.per_mount:
        raise Unsupported("option per_mount is not for a shared root")
    if spec.path is not None:
        raise Unsupported("option path is not for a shared root: it is another folder on each host")
