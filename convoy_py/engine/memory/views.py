"""What is told of an entry: a volume as Get and List show it, and its snapshots."""

from datetime import UTC, datetime

from convoy_py.engine.memory.entry import Entry
from convoy_py.models.names import joined, name_within, volume_of
from convoy_py.models.snapshot import SnapshotView
from convoy_py.models.volume import View
from convoy_py.state.records import Record, SnapshotRecord

_LAST = datetime.max.replace(tzinfo=UTC)


def volume_view(entry: Entry) -> View:
    return View(
        name=entry.name,
        state=entry.state,
        backend=entry.spec.backend if entry.spec else "",
        created=entry.created,
        mountpoint=entry.mountpoint(),
        home=str(entry.place.home) if entry.place else "",
        data=_data(entry),
        references=entry.references.total
        + sum(clone.references.total for clone in entry.clones.values()),
        spec=entry.spec,
        usage=entry.usage,
        reason=entry.reason,
        protected=isinstance(entry.record, Record) and entry.record.protected,
        snapshots=snapshot_views(entry),
        doing=entry.doing,
        hosts=entry.hosts,
    )


def snapshot_views(volume: Entry) -> tuple[SnapshotView, ...]:
    """The snapshots of a volume, oldest first; those whose record cannot be read come last.

    Those that only the next backup needs are the daemon's own affair.
    """
    return tuple(view for view in all_snapshot_views(volume) if not view.base_of)


def bases(volume: Entry, repository: str = "") -> list[str]:
    """The full names of the snapshots that backups are compared with, the newest first.

    Of one repository, or of all.
    """
    views = [
        view
        for view in all_snapshot_views(volume)
        if view.base_of and repository in ("", view.base_of)
    ]
    return [joined(volume.name, view.name) for view in reversed(views)]


def all_snapshot_views(volume: Entry) -> list[SnapshotView]:
    """Those of the daemon's own included."""
    views = [snapshot_view(each) for each in volume.snapshots.values()]
    return sorted(views, key=lambda v: (v.created or _LAST, v.name))


def snapshot_view(entry: Entry) -> SnapshotView:
    record = entry.record if isinstance(entry.record, SnapshotRecord) else None
    return SnapshotView(
        volume=volume_of(entry.name),
        name=name_within(entry.name),
        backend=entry.spec.backend if entry.spec else "",
        created=entry.created,
        way=record.way if record else None,
        consistency=record.consistency if record else None,
        size=record.spec.size if record else None,
        group=record.group if record else "",
        automatic=bool(record and record.automatic),
        scheduled=bool(record and record.scheduled),
        base_of=record.base_of if record else "",
        references=entry.references.total,
        mountpoint=entry.mountpoint(),
        reason=entry.reason,
    )


def _data(entry: Entry) -> str:
    """Where the data can be read now; "" where it has to be mounted for that."""
    if entry.place is None:
        return ""
    backend, place = entry.usable()
    return str(backend.data(place) or entry.mountpoint())
