"""What the edges tell of volumes, snapshots and jobs, made from the engine's views of them."""

from typing import Any

from pydantic import BaseModel

from convoy_py.escapes import one_line
from convoy_py.linux.outside import Outside
from convoy_py.models.job import JobView
from convoy_py.models.names import joined
from convoy_py.models.snapshot import SnapshotView
from convoy_py.models.volume import State, Usage, View
from convoy_py.wire.base import rfc3339
from convoy_py.wire.jobs import JobInfo
from convoy_py.wire.snapshots import SnapshotInfo
from convoy_py.wire.volumes import VolumeInfo

# Docker reads numbers as float64, in which larger whole numbers are not exact.
LARGEST_EXACT = 2**53


def status(view: View, now: float, outside: Outside) -> dict[str, Any]:
    """The Status object of Get: what is known, sizes in bytes, `usageAge` in seconds.

    `data` is there because an engine tells no Mountpoint of a volume that is not mounted, and
    `{{.Mountpoint}}/` then is the host's root. `size` is the volume's limit, or what its filesystem
    offers where it has none.
    """
    spec, usage = view.spec, view.usage
    limit = spec.size if spec else None
    offered = usage.size if usage else None
    found: dict[str, Any] = {
        "backend": view.backend,
        "filesystem": spec.fs if spec else None,
        "data": _data(view, outside) if spec else None,
        "size": _exact(offered if limit is None else limit),
        "references": view.references,
        "state": view.state.value,
        "reason": one_line(view.reason) or None,
        "options": spec.shown() if spec else None,
        "snapshots": len(view.snapshots),
        "protected": view.protected,
        "doing": one_line(view.doing) or None,
        "hosts": list(view.hosts) or None,
    }
    if usage:
        found |= _usage(usage, now)
    return {key: value for key, value in found.items() if value is not None}


def _data(view: View, outside: Outside) -> str:
    return outside.path(view.data) or f"in an image: `convoy mount {view.name}` shows it"


def _usage(usage: Usage, now: float) -> dict[str, Any]:
    return {
        "used": _exact(usage.used),
        "available": _exact(usage.available),
        "allocated": _exact(usage.allocated),
        "inodes": _exact(usage.inodes),
        "inodesUsed": _exact(usage.inodes_used),
        "inodesAvailable": _exact(usage.inodes_available),
        "usageAge": max(0, round(now - usage.sampled)),
    }


def _exact(size: int | None) -> int | str | None:
    return str(size) if size is not None and size > LARGEST_EXACT else size


def volume_info(view: View, now: float, outside: Outside) -> VolumeInfo:
    """One volume in Convoy's keys, with paths as the host has them."""
    return VolumeInfo(
        name=view.name,
        driver=view.backend,
        mount_point=outside.path(view.mountpoint),
        created_time=rfc3339(view.created) or "",
        driver_info=_driver_info(view, outside),
        snapshots={each.name: snapshot_info(each, outside) for each in view.snapshots},
        status=status(view, now, outside),
        state=view.state.value,
        references=view.references,
    )


def _driver_info(view: View, outside: Outside) -> dict[str, str]:
    """Convoy's DriverInfo: text only; Size is in bytes and "0" where there is no limit."""
    spec = view.spec
    found = {
        "Driver": view.backend,
        "MountPoint": outside.path(view.mountpoint),
        "Size": str(spec.size or 0) if spec else "",
        "VolumeCreatedAt": rfc3339(view.created) or "",
        "VolumeName": view.name,
    }
    if spec and spec.fs:
        found["Filesystem"] = spec.fs.value
    if path := (spec.path if spec and spec.path else view.home):
        found["Path"] = outside.path(path)
    return found


def snapshot_info(view: SnapshotView, outside: Outside) -> SnapshotInfo:
    """One snapshot in Convoy's keys, with paths as the host has them."""
    created, size = rfc3339(view.created) or "", view.size or 0
    state = State.MOUNTED if view.mountpoint else State.READY
    return SnapshotInfo(
        name=view.name,
        volume_name=view.volume,
        full_name=joined(view.volume, view.name),
        created_time=created,
        way=view.way.value if view.way else "",
        consistency=view.consistency.value if view.consistency else "",
        size=size,
        group=view.group,
        automatic=view.automatic,
        scheduled=view.scheduled,
        references=view.references,
        mount_point=outside.path(view.mountpoint),
        state=(State.BROKEN if view.reason else state).value,
        reason=one_line(view.reason),
        driver_info={
            "Driver": view.backend,
            "SnapshotCreatedAt": created,
            "SnapshotName": view.name,
            "Size": str(size),
            "VolumeName": view.volume,
        },
    )


def job_info(view: JobView, result: BaseModel | None = None) -> JobInfo:
    """One job; `result` is its verb's answer, once it is done."""
    told = {"note": one_line(view.note), "error": one_line(view.error), "result": result}
    return JobInfo.model_validate(view).model_copy(update=told)
