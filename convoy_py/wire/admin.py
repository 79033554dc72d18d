"""Messages of the admin API under /v1; unknown fields are refused. The CLI speaks these too.

Keys are Convoy's where Convoy had them (Name, Driver, MountPoint, CreatedTime, DriverInfo, …).
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_pascal


class Message(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_pascal, populate_by_name=True
    )


class Failure(Message):
    """Every error's body: one line, and the kind by which scripts tell errors apart."""

    error: str
    kind: str


class CreateVolume(Message):
    """`options` are those of `docker volume create -o`; `name` is made up when it is empty."""

    name: str = ""
    options: dict[str, str] = Field(default_factory=dict)
    adopt: bool = False


class VolumeInfo(Message):
    """One volume, in Convoy's keys; `driver_info` holds its options and status as text."""

    name: str
    driver: str
    mount_point: str
    created_time: str  # RFC 3339, UTC
    driver_info: dict[str, str] = Field(default_factory=dict)
    snapshots: dict[str, Any] = Field(default_factory=dict)
    status: dict[str, Any] = Field(default_factory=dict)  # as in Docker's Get
    state: str
    references: int = 0


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
    uptime: float  # seconds


class Space(Message):
    """The host's filesystem below the root, in bytes."""

    size: int
    free: int
    promised: int
    may_promise: int  # what further sparse images may still be given


class Info(Message):
    general: General
    settings: dict[str, Setting]
    space: Space
    options: list[dict[str, Any]]  # the table of volume options
    drivers: dict[str, dict[str, str]]  # backend -> what it can do here, and what not and why


class Health(Message):
    healthy: bool
    problems: list[str]
