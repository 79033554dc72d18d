"""Messages of the admin API under /v1; unknown fields are refused. The CLI speaks these too.

Keys are Convoy's where Convoy had them (Name, Driver, MountPoint, CreatedTime, DriverInfo, …).
"""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_pascal

from convoy_py.models.options import OPTIONS


class Message(BaseModel):
    """`model_validate` makes one of a value of the engine, too, by the names of its fields."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_pascal,
        populate_by_name=True,
        from_attributes=True,
    )


class Query(BaseModel):
    """What stands behind the `?`: unlike a message it has its keys as they are."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Nothing(Query):
    """Neither a query nor a body; or an answer without a body."""


def rfc3339(moment: datetime | None) -> str | None:
    """A moment in UTC in the only form that Docker takes; None where it is not known."""
    return moment.isoformat().replace("+00:00", "Z") if moment else None


def _moment(value: object) -> object:
    return rfc3339(value) or "" if value is None or isinstance(value, datetime) else value


Moment = Annotated[str, BeforeValidator(_moment)]  # RFC 3339, UTC; "" where it is not known


class Failure(Message):
    """Every error's body: one line, and the kind by which scripts tell errors apart."""

    error: str
    kind: str


class CreateVolume(Message):
    """`options` are those of `docker volume create -o`; `name` is made up when it is empty."""

    name: str = ""
    options: dict[str, str] = Field(default_factory=dict)
    adopt: bool = False


def _known(kind: str, meaning: str) -> dict[str, str]:
    return {"type": kind, "description": meaning}


# What a volume's Status may hold; what is not known of a volume is left out.
STATUS: dict[str, Any] = {
    "backend": _known("string", "directory or loopback"),
    "filesystem": _known("string", "of a loopback image"),
    "data": _known("string", "the host's folder with the data, or how to have one shown"),
    "size": _known("integer", "bytes: the limit, else what the filesystem offers"),
    "references": _known("integer", "counted mounts"),
    "state": _known("string", "ready, mounted or broken"),
    "reason": _known("string", "why the volume is broken"),
    "options": _known("object", "the options that hold for the volume, as text"),
    "snapshots": _known("integer", "how many snapshots the volume has"),
    "protected": _known("boolean", "whether the volume cannot be removed"),
    "doing": _known("string", "the long work that is going on with it"),
    "used": _known("integer", "bytes of the volume's files, without their holes"),
    "available": _known("integer", "bytes that an unprivileged user may still write"),
    "allocated": _known("integer", "bytes that the host has given"),
    "usageAge": _known("integer", "seconds since used, available and allocated were measured"),
}


class SnapshotInfo(Message):
    """One snapshot, in Convoy's keys and with what Convoy's lacked."""

    name: str
    volume_name: str
    full_name: str  # as Docker mounts it: db@nightly
    created_time: str  # RFC 3339, UTC
    way: str  # subvolume, inside, reflink, files or copy; "" where it is not known
    consistency: str  # offline, frozen, atomic, paused, per-file or ""
    size: int = 0  # bytes: the volume's limit at that time; 0: none
    group: str = ""  # the same id for what was taken at the same moment
    automatic: bool = False  # made by a rollback
    references: int = 0
    mount_point: str = ""
    state: str  # ready, mounted or broken
    reason: str = ""
    driver_info: dict[str, str] = Field(default_factory=dict)


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


class Setting(Message):
    value: Any
    source: str


class General(Message):
    """Convoy's `General` object, with what it lacked."""

    root: str
    driver_list: list[str]
    default_driver: str
    version: str
    pid: int
    volumes: int
    broken: int
    mounted: int
    kept: list[str]  # names of data that `delete --reference` left for `create --adopt`
    health: str
    notes: list[str] = []  # what is to be known though all is well, as that the clock was set
    uptime: float  # seconds


class Space(Message):
    """The host's filesystem below the root, in bytes."""

    size: int
    free: int
    promised: int  # what images may yet take of it
    may_promise: int  # what further sparse images may still be given


class OptionHelp(Message):
    """One row of the table of volume options."""

    key: str
    aliases: tuple[str, ...]
    values: str
    meaning: str


def option_table() -> list[OptionHelp]:
    return [OptionHelp.model_validate(option) for option in OPTIONS]


class Info(Message):
    general: General
    settings: dict[str, Setting]
    space: Space
    options: list[OptionHelp]
    drivers: dict[str, dict[str, str]]  # backend -> what it can do here, and what not and why
    # Where Convoy told of its drivers, in its keys; empty for one that is off.
    vfs: dict[str, str] = Field(default_factory=dict, alias="vfs")
    loopback: dict[str, str] = Field(default_factory=dict, alias="loopback")


class Health(Message):
    healthy: bool
    problems: list[str]
    notes: list[str] = []
