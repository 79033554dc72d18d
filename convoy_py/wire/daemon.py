"""Messages about the daemon: its settings, its host and its health."""

from typing import Any

from pydantic import Field

from convoy_py.models.options import OPTIONS
from convoy_py.wire.base import Message
from convoy_py.wire.space import Space


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
    notes: list[str] = Field([])  # to be known though all is well: the clock was set
    uptime: float  # seconds


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
    root: dict[str, str] = Field({}, description="what the filesystem of a shared root can do")
    drivers: dict[str, dict[str, str]]  # backend -> what it can do here, and what not and why
    # Where Convoy told of its drivers, in its keys; empty for one that is off.
    vfs: dict[str, str] = Field(default_factory=dict, alias="vfs")
    loopback: dict[str, str] = Field(default_factory=dict, alias="loopback")


class HostInfo(Message):
    """One host of a shared root."""

    number: int
    name: str
    state: str = Field(description="alive, silent, fenced or left")
    seen: float | None = Field(description="seconds since its last sign of life")
    incarnation: int = Field(description="which of its lives this is")
    version: str
    volumes: list[str] = Field(description="those that it uses")
    here: bool = Field(description="whether it is this one")


class HostList(Message):
    hosts: list[HostInfo]


class Health(Message):
    healthy: bool
    problems: list[str]
    notes: list[str] = Field([])
