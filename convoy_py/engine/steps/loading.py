"""What is on disk becomes what is in memory: records become entries."""

import uuid as uuids

from convoy_py.backends.base import Place
from convoy_py.engine.memory.entry import Entry
from convoy_py.engine.memory.restoring import Restoring
from convoy_py.engine.steps.host import Host
from convoy_py.errors import Invalid, failed
from convoy_py.models.names import clone_of, joined, name_within
from convoy_py.models.options import parse_options
from convoy_py.state.formats import Newer, Unreadable
from convoy_py.state.records import Pending, Record, SnapshotRecord

_GIVES_UP = "to remove the volume gives up its restore"


def entry(host: Host, name: str, record: Record | Unreadable) -> Entry:
    """A volume as it was read from disk; unmounted and without references."""
    entry = Entry(name, host.reference_store.none())
    if isinstance(record, Unreadable):
        entry.reason = str(record)
        return entry
    entry.record = record
    if record.spec.is_scheduled:
        entry.runs = host.run_store.load(record)
    backend = host.backends.get(record.spec.backend)
    if backend is None:
        entry.reason = f"its backend {record.spec.backend} is not on (setting drivers)"
        return entry
    entry.backend, entry.place = backend, host.place(record)
    promised = backend.promised(record.spec)
    # Until the first sample: what was reserved is allocated, of anything else nothing is known.
    allocated = promised if backend.reserves(record.spec) else 0
    host.ledger.record(name, promised, allocated)
    try:
        _load_within(host, entry, record, promised)
    except OSError as error:
        entry.reason = str(failed("its snapshots cannot be read", error))
    return entry


def pending_entry(host: Host, name: str, pending: Pending | Unreadable) -> Entry:
    """A volume that is yet to be made of a backup; of a note that cannot be followed, broken."""
    entry = Entry(name, host.reference_store.none())
    if isinstance(pending, Newer):
        entry.reason = str(pending)
        return entry
    if isinstance(pending, Unreadable):
        entry.only_noted = True
        entry.reason = f"{pending}; {_GIVES_UP}, and its backups stay"
        return entry
    try:
        options = parse_options(pending.options)
    except Invalid as error:
        entry.only_noted = True
        entry.reason = f"it cannot be restored from {pending.url}: {error}; {_GIVES_UP}"
        return entry
    entry.restoring = Restoring(
        pending.repository, pending.backup, pending.url, options, known=True
    )
    return entry


def _load_within(host: Host, volume: Entry, record: Record, promised: int) -> None:
    """Give a volume's entry its snapshots and private clones, each promised as much."""
    for snapshot, found in host.snapshot_store.load(record.name).items():
        within = snapshot_entry(host, volume, snapshot, found)
        volume.snapshots[within.name] = within
    if record.spec.per_mount:
        for key in host.store.clones(record.name):
            clone = clone_entry(host, volume, clone_of(record.name, key))
            volume.clones[clone.name] = clone
            host.ledger.record(clone.name, promised, 0)


def snapshot_entry(
    host: Host, volume: Entry, name: str, record: SnapshotRecord | Unreadable
) -> Entry:
    """A snapshot as it was read from disk; unmounted and without references."""
    entry = Entry(joined(volume.name, name), host.reference_store.none())
    if isinstance(record, Unreadable):
        entry.reason = str(record)
        return entry
    entry.record, entry.backend = record, host.backends.get(record.spec.backend)
    if entry.backend is None:
        entry.reason = f"its backend {record.spec.backend} is not on (setting drivers)"
    else:
        entry.place = host.snapshot_place(volume, record)
    return entry


def clone_entry(host: Host, volume: Entry, name: str) -> Entry:
    """The private clone of a volume that a mount ID has; its uuid follows from its name."""
    record = volume.volume_record()
    home = host.store.clone_home(volume.name, name_within(name))
    uuid = str(uuids.uuid5(uuids.UUID(record.uuid), home.name))
    spec = record.spec.model_copy(update={"per_mount": None, "autogrow": None})
    entry = Entry(name, host.reference_store.none(), record, volume.backend)
    entry.place = Place(name, uuid, home, host.mounts_dir / name, spec)
    return entry


def rerecord(host: Host, entry: Entry, record: Record) -> None:
    """Take a volume's new record into memory, with what follows from it for its snapshots."""
    entry.name, entry.record, entry.place = record.name, record, host.place(record)
    for snapshot in list(entry.snapshots.values()):
        del entry.snapshots[snapshot.name]
        snapshot.name = joined(record.name, name_within(snapshot.name))
        if isinstance(snapshot.record, SnapshotRecord):
            snapshot.place = host.snapshot_place(entry, snapshot.record)
        entry.snapshots[snapshot.name] = snapshot
