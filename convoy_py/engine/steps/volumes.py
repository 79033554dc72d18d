"""The blocking steps of the verbs: record, backend, mountpoint and references in the right order.

Runs in worker threads; the caller has the volume's lock. Each step leaves either the state before
or the state after, or something under a `.new-` or `rm-` name that the next start sweeps.
"""

import logging
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from convoy_py.backends import mountpoints
from convoy_py.backends.base import Backend, Place
from convoy_py.engine.memory.entry import Entry
from convoy_py.engine.steps import adopting, loading
from convoy_py.engine.steps.host import Host
from convoy_py.errors import ConvoyError, Unavailable, VolumeInUse
from convoy_py.linux import files, holders, mounts
from convoy_py.linux.holders import Census
from convoy_py.logs import event
from convoy_py.models.volume import Options, Spec, Usage
from convoy_py.state.ballast import is_full, relieved
from convoy_py.state.records import Record, References, timestamp
from convoy_py.state.store import STAGING
from convoy_py.state.trash import RemovedVolume, is_replaced

log = logging.getLogger("convoy.engine")

# A Remove that finds the volume busy, but nobody who holds it, looks again for 2.5 s.
ATTEMPTS = 50
LOOK_SECONDS = 0.05


@dataclass(frozen=True)
class Unmounted:
    """What an unmount came to: whether all is let go of, and whether it is still mounted."""

    detached: bool
    mounted: bool
    usage: Usage | None  # as it was just before


class Steps:
    """What the verbs do on this host: below one root, one run folder and one mounts folder."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.ballast = host.ballast

    def create(self, name: str, options: Options) -> Entry:
        """Build a volume beside the others and rename it into place."""
        backend, spec = self.host.choose(options)
        entry = self.built(name, backend, spec, backend.create)
        _, place = entry.usable()
        if not backend.keeps_data(place):  # nothing is in it yet, so to measure it costs nothing
            with suppress(OSError, ConvoyError):
                entry.usage = backend.usage(place, self.host.wall_clock())
        return entry

    def built(
        self, name: str, backend: Backend, spec: Spec, fill: Callable[[Place], Spec]
    ) -> Entry:
        """Build a volume beside the others and rename it into place; `fill` settles its spec."""
        record = self.host.record(name, spec)
        with self.building(backend, self.host.place(record)) as place:
            record = record.model_copy(update={"spec": fill(place)})
            self.host.store.commit(place.home, record)  # the point of no return
        return loading.entry(self.host, name, record)

    def beside(
        self, name: str, backend: Backend, spec: Spec, fill: Callable[[Place], Spec]
    ) -> Entry:
        """Build what gets no name, and is to be given to `abandon` in the end.

        It lies under a `.new-` name. Its space is promised until it is built.
        """
        record, key = self.host.record(name, spec), f"{STAGING}{secrets.token_hex(8)}"
        with self.building(backend, self.host.place(record), promised_as=key) as place:
            settled = fill(place)
        self.host.ledger.forget(key)
        entry = Entry(name, self.host.reference_store.none(), record, backend)
        entry.place = replace(place, spec=settled)
        return entry

    @contextmanager
    def building(
        self, backend: Backend, place: Place, *, promised_as: str = "", replaced: str = ""
    ) -> Iterator[Place]:
        """Where a volume is built, with the space for it promised; nothing is left if that fails.

        The promise is kept under `promised_as`, where that is not the volume's name; `replaced` is
        the trash key of the volume whose place the new one takes.
        """
        promised, preallocated = backend.promised(place.spec), backend.reserves(place.spec)
        host, ledger = self.host, self.host.ledger
        with ledger.promise(place.name, promised, preallocated=preallocated, key=promised_as):
            staged = host.staged(place, host.store.stage(replaced))
            try:
                yield staged
            except BaseException:
                # What it replaced may be the only copy: that is for the next start to take in.
                if not is_replaced(staged.home):
                    self.abandon(backend, staged)
                raise

    def adopt(self, name: str, options: Options) -> Entry:
        """Give a record to the data that lies in the volume's place, or in the user's folder."""
        if options.path is not None and not self.host.store.home(name).exists():
            return self.create(name, options)
        old = adopting.record_before(self.host.store, name)
        backend = adopting.backend(self.host.backends, self.host.store.home(name), options, old)
        self.host.refuse_others(backend, options)
        spec = old.spec if old else Spec(backend=backend.name)
        record = (old or self.host.record(name, spec)).model_copy(update={"spec": spec})
        # To look inside, it is mounted where the next start would sweep.
        beside = self.host.mounts_dir / f"{STAGING}{secrets.token_hex(8)}"
        settled = backend.adopt(replace(self.host.place(record), mountpoint=beside), options)
        record = record.model_copy(update={"spec": settled})
        self.host.store.adopt(record)
        return loading.entry(self.host, name, record)

    @relieved
    def mount(self, backend: Backend, place: Place, held: References) -> bool:
        """Mount and record the references, neither without the other; False if it was mounted."""
        fresh = not self._is_mounted(backend, place) or (
            backend.is_dead(place) and backend.unmount(place)
        )
        if fresh:
            mountpoints.make(place.mountpoint)
            backend.mount(place)
        try:
            self.save_references(place.name, held)
        except OSError:
            if fresh:
                backend.unmount(place)
            raise
        return fresh

    def _is_mounted(self, backend: Backend, place: Place) -> bool:
        """Whether it is mounted; while the root is away, what is so stays in use."""
        presence = self.host.store.presence
        if presence.look() and not presence.away:
            return backend.is_mounted(place)
        if mounts.is_mountpoint(place.mountpoint):
            return True
        raise Unavailable(f"{place}: {presence.away}")

    def save_references(self, name: str, held: References) -> None:
        """Record who holds a volume; on a full disk only this daemon knows, which is safe.

        The next one believes what was recorded before, or that nobody does: who really holds it is
        looked up before its data is touched. The janitor records it once there is room.
        """
        try:
            self.host.ballast.relieve(lambda: self.host.reference_store.save(name, held))
        except OSError as error:
            if not is_full(error):
                raise
            event(log, logging.WARNING, "references not recorded", volume=name, failure=error)

    @relieved
    def unmount(self, backend: Backend, place: Place) -> Unmounted:
        """Unmount if nothing holds it; the mountpoint goes too, so that nobody can write there."""
        usage = None
        if backend.is_mounted(place):
            with suppress(OSError):  # deleted beneath its mount: all the more reason to unmount
                usage = backend.parting_usage(place, self.host.wall_clock())
        detached = backend.unmount(place)
        mounted = False if detached else backend.is_mounted(place)
        if not mounted:
            mountpoints.remove(place.mountpoint)
        return Unmounted(detached, mounted, usage)

    @relieved
    def vacate(self, backend: Backend, place: Place) -> None:
        """Unmount for good what nobody uses, or raise VolumeInUse, naming who does.

        References do not count here, for they leak; mounts in any namespace do. They are looked up
        beside our own mount, if there is one, and again without it, when every mount is a holder.
        """
        if backend.is_mounted(place):
            self.refuse_holders(backend, place)
        self._let_go(backend, place)
        self.host.reference_store.save(place.name, self.host.reference_store.none())

    def keep(self, place: Place) -> None:
        """Forget a volume that is vacated, and keep its data where it is."""
        self.host.store.keep(place.name)
        self.host.ledger.forget(place.name)

    def discard(self, record: Record) -> RemovedVolume:
        """Move a volume that is vacated to the trash."""
        removed = self.host.trash.put(record, timestamp(self.host.wall_clock()))
        self.host.ledger.forget(record.name)
        return removed

    def retire(self, place: Place) -> Place:
        """Take a volume or clone that is vacated away; returns where it is to be destroyed."""
        gone = replace(place, home=self.host.store.retire(place.home))
        self.host.ledger.forget(place.name)
        return gone

    def destroy(self, place: Place) -> None:
        """Delete the data of a volume, snapshot or clone that was retired."""
        backend = self.host.backends.get(place.spec.backend)
        if backend is None:
            files.remove_tree(place.home)
        else:
            backend.destroy(place)

    def refuse_holders(self, backend: Backend, place: Place) -> None:
        """Raise VolumeInUse, naming who sees or holds the volume's mount and would lose data."""
        if backend.keeps_data(place):
            return
        if found := backend.holders(place, Census.take()):
            raise VolumeInUse(place.name, dict.fromkeys(map(str, found)))

    def sweep(self, home: Path) -> None:
        """Delete what a crash left under a `.new-` or `rm-` name, with its mounts and devices."""
        place = self.host.nameless(home)
        for backend in self.host.backends.values():
            backend.abandon(place)
        _remove(place)

    def abandon(self, backend: Backend, place: Place) -> None:
        try:
            backend.abandon(place)
            _remove(place)
        except Exception as error:  # noqa: BLE001 - whatever users left there, the daemon goes on
            log.warning("sweep %s: %s; it is tried again at the next start", place.home, error)

    def _let_go(self, backend: Backend, place: Place) -> None:
        """Unmount for good, and remove the mountpoint; or raise VolumeInUse.

        Once it is unmounted every mount that is left is a holder's.

        What merely looks at a new or dying device, as udev does, is waited for.
        """
        for _ in range(ATTEMPTS):
            detached = backend.unmount(place)
            self.refuse_holders(backend, place)
            if detached:
                mountpoints.remove(place.mountpoint)
                return
            time.sleep(LOOK_SECONDS)
        busy = [str(holder) for holder in holders.of_open_files(place.mountpoint)]
        raise VolumeInUse(place.name, busy or ["something that this daemon cannot see"])

    def kept_path(self, name: str) -> str | None:
        """The user's folder of a volume that was forgotten; None if it had none."""
        kept = adopting.record_before(self.host.store, name)
        return kept.spec.path if kept else None


def _remove(place: Place) -> None:
    files.remove_tree(place.home)
    mountpoints.remove(place.mountpoint)
