"""What Get and the admin API tell of a volume, made from the engine's view of it."""

from typing import Any

from convoy_py.models.volume import Usage, View
from convoy_py.wire.admin import VolumeInfo

# Docker reads numbers as float64, in which larger whole numbers are not exact.
LARGEST_EXACT = 2**53


def created_at(view: View) -> str | None:
    """RFC 3339 in UTC, the only form that Docker takes; None where it is not known."""
    return view.created.isoformat().replace("+00:00", "Z") if view.created else None


def status(view: View, now: float) -> dict[str, Any]:
    """The Status object of Get: what is known, sizes in bytes, `usageAge` in seconds.

    `size` is the volume's limit, or what its filesystem offers where it has none.
    """
    spec, usage = view.spec, view.usage
    limit = spec.size if spec else None
    offered = usage.size if usage else None
    found: dict[str, Any] = {
        "backend": view.backend,
        "filesystem": spec.fs if spec else None,
        "size": _exact(offered if limit is None else limit),
        "references": view.references,
        "state": view.state.value,
        "reason": view.reason or None,
        "options": spec.shown() if spec else None,
    }
    if usage:
        found |= _usage(usage, now)
    return {key: value for key, value in found.items() if value is not None}


def _usage(usage: Usage, now: float) -> dict[str, Any]:
    return {
        "used": _exact(usage.used),
        "available": _exact(usage.available),
        "allocated": _exact(usage.allocated),
        "usageAge": max(0, round(now - usage.sampled)),
    }


def _exact(size: int | None) -> int | str | None:
    return str(size) if size is not None and size > LARGEST_EXACT else size


def volume_info(view: View, now: float) -> VolumeInfo:
    """One volume in Convoy's keys."""
    return VolumeInfo(
        name=view.name,
        driver=view.backend,
        mount_point=view.mountpoint,
        created_time=created_at(view) or "",
        driver_info=_driver_info(view),
        status=status(view, now),
        state=view.state.value,
        references=view.references,
    )


def _driver_info(view: View) -> dict[str, str]:
    """Convoy's DriverInfo: text only; Size is in bytes and "0" where there is no limit."""
    spec = view.spec
    found = {
        "Driver": view.backend,
        "MountPoint": view.mountpoint,
        "Size": str(spec.size or 0) if spec else "",
        "VolumeCreatedAt": created_at(view) or "",
        "VolumeName": view.name,
    }
    if spec and spec.fs:
        found["Filesystem"] = spec.fs.value
    if path := (spec.path if spec and spec.path else view.home):
        found["Path"] = path
    return found
