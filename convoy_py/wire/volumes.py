"""Messages about volumes as a whole."""

from typing import Any

from pydantic import Field

from convoy_py.wire.base import Message, Query
from convoy_py.wire.snapshots import SnapshotInfo


class CreateVolume(Message):
    """`options` are those of `docker volume create -o`; `name` is made up when it is empty."""

    name: str = ""
    options: dict[str, str] = Field(default_factory=dict)
    adopt: bool = False


def _key(kind: str, meaning: str) -> dict[str, str]:
    return {"type": kind, "description": meaning}


# What a volume's Status may hold; what is not known of a volume is left out.
STATUS: dict[str, Any] = {
    "backend": _key("string", "directory or loopback"),
    "filesystem": _key("string", "of a loopback image"),
    "data": _key("string", "the host's folder with the data, or how to have one shown"),
    "size": _key("integer", "bytes: the limit, else what the filesystem offers"),
    "references": _key("integer", "counted mounts"),
    "state": _key("string", "ready, mounted, restoring or broken"),
    "reason": _key("string", "why the volume is broken"),
    "options": _key("object", "the options that hold for the volume, as text"),
    "snapshots": _key("integer", "how many snapshots the volume has"),
    "protected": _key("boolean", "whether the volume cannot be removed"),
    "doing": _key("string", "the long work that is going on with it"),
    "hosts": _key("array", "the names of the hosts of a shared root that use the volume"),
    "used": _key("integer", "bytes of the volume's files, without their holes"),
    "available": _key("integer", "bytes that an unprivileged user may still write"),
    "allocated": _key("integer", "bytes that the host has given"),
    "inodes": _key("integer", "how many files there may be"),
    "inodesUsed": _key("integer", "how many files there are"),
    "inodesAvailable": _key("integer", "how many more an unprivileged user may make"),
    "usageAge": _key("integer", "seconds since used and what follows it were measured"),
}


class VolumeInfo(Message):
    """One volume, in Convoy's keys; `driver_info` holds its options and status as text."""

    name: str
    driver: str
    mount_point: str
    created_time: str  # RFC 3339, UTC
    driver_info: dict[str, str] = Field(default_factory=dict)
    snapshots: dict[str, SnapshotInfo] = Field(default_factory=dict)  # by name within the volume
    # As in Docker's Get.
    status: dict[str, Any] = Field(default_factory=dict, json_schema_extra={"properties": STATUS})
    state: str
    references: int = 0


class DeleteQuery(Query):
    reference: bool = Field(False, description="forget the volume and keep its data")


class VolumeList(Message):
    volumes: dict[str, VolumeInfo]


class MountVolume(Message):
    """`reference` names the hold, so that several users of one mount do not end each other's."""

    reference: str = Field("convoy", min_length=1, max_length=256)


class Mounted(Message):
    mount_point: str


class RenameVolume(Message):
    name: str = Field(min_length=1)


class ProtectVolume(Message):
    on: bool = True
