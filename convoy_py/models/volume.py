"""The values that describe one volume: what was asked, what it became, how it is now."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from convoy_py.models.sizes import format_size


class Filesystem(StrEnum):
    """What a loopback image can be formatted with."""

    EXT4 = "ext4"
    XFS = "xfs"
    BTRFS = "btrfs"


class State(StrEnum):
    """What Get and List say of a volume."""

    CREATING = "creating"
    READY = "ready"
    MOUNTED = "mounted"
    REMOVING = "removing"
    BROKEN = "broken"


class Frozen(BaseModel):
    """A value of ours: immutable, and an unknown field in it is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Options(Frozen):
    """What a user asked for at Create; None (or empty) where nothing was said."""

    backend: str | None = None
    size: int | None = None  # bytes
    fs: Filesystem | None = None
    sparse: bool | None = None
    uid: int | None = None
    gid: int | None = None
    mode: int | None = None
    path: str | None = None
    mount_options: tuple[str, ...] | None = None

    def asked(self) -> dict[str, str]:
        """The options that were given, as text."""
        return {k: show(k, v) for k, v in self if v is not None}


class Spec(Frozen):
    """The complete options of an existing volume, defaults filled in; recorded on disk.

    A backend leaves None what has no meaning for it: `fs` and `sparse` are a loopback's, `path` a
    directory's; `uid`, `gid` and `mode` are None where they were left as they stood.
    """

    backend: str
    size: int | None = None  # bytes; None: as large as the host's filesystem
    fs: Filesystem | None = None
    sparse: bool | None = None
    uid: int | None = None
    gid: int | None = None
    mode: int | None = None
    path: str | None = None
    mount_options: tuple[str, ...] | None = None
    exposed: str = "data"  # the folder inside a loopback's filesystem that containers see
    project: int | None = None  # the project id by which a directory's size is enforced

    def shown(self) -> dict[str, str]:
        """The options that apply to this volume, as text."""
        return {k: show(k, v) for k in Options.model_fields if (v := getattr(self, k)) is not None}

    def differences(self, options: Options) -> dict[str, tuple[str, str]]:
        """Option -> (recorded, asked) for each given option that does not match."""
        return {
            key: (show(key, getattr(self, key)), show(key, asked))
            for key, asked in options
            if asked is not None and asked != getattr(self, key)
        }


class Usage(Frozen):
    """A background sample of a volume's space, in bytes; `sampled` is POSIX time in seconds."""

    size: int | None = None  # what the filesystem offers in all
    used: int | None = None  # by the volume's files
    available: int | None = None  # to an unprivileged writer
    allocated: int | None = None  # on the host
    sampled: float


class View(Frozen):
    """One volume as the engine tells it to the edges; made from memory alone."""

    name: str
    state: State
    backend: str
    created: datetime | None  # aware, UTC; None where the record cannot be read
    mountpoint: str  # what a container sees; "" while not mounted
    references: int  # how many mounts are counted
    spec: Spec | None  # None where the record cannot be read
    usage: Usage | None  # None until the first sample
    reason: str = ""  # why it is broken


def show(key: str, value: object) -> str:
    """One option's value as a user would write it."""
    if value is None:
        return "unset"
    if key == "mode" and isinstance(value, int):
        return f"{value:04o}"
    if key == "size" and isinstance(value, int):
        exact = format_size(value)
        return exact if _is_round(value) else str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ",".join(value)
    return str(value)


def _is_round(size: int) -> bool:
    while size >= 1024 and size % 1024 == 0:
        size //= 1024
    return size < 1000


def join(options: Mapping[str, str]) -> str:
    """Options as one phrase: `size=1GiB, fs=ext4`."""
    return ", ".join(f"{k}={v}" for k, v in options.items())
