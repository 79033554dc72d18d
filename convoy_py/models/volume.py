"""The values that describe one volume: what was asked, what it became, how it is now."""

from datetime import datetime
from enum import StrEnum

from convoy_py.models.filesystem import Filesystem
from convoy_py.models.hooks import Hooks
from convoy_py.models.sizes import exact_size
from convoy_py.models.snapshot import SnapshotView
from convoy_py.models.values import Frozen


class State(StrEnum):
    """What Get and List say of a volume."""

    READY = "ready"
    MOUNTED = "mounted"
    RESTORING = "restoring"  # its data is not there yet
    BROKEN = "broken"


# An image's size is a multiple of this.
BLOCK = 4096
# What ext4 grows by as far as its inodes go: each group of blocks has the same number of them.
EXT4_GROUP = 128 * 2**20
# How many inodes of an ext4 are none of the volume's files: 10 that are reserved, lost+found, data.
EXT4_OWN = 12


# How a value says that nothing was asked; `-o o=rw` asks for no mount option.
_UNSET = (None, ())
# The fields of a schedule: a copy of a volume has none of them.
SCHEDULE = (
    "schedule_snapshot",
    "schedule_backup",
    "schedule_to",
    "schedule_keep",
    "schedule_before",
    "schedule_after",
    "schedule_pause",
    "schedule_stop",
    "schedule_prove",
    "schedule_raw",
)
UNSCHEDULED: dict[str, None] = dict.fromkeys(SCHEDULE)


# Spec has these too: a new one is a new format, see there.
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
    source: str | None = (
        None  # option `from`: a volume, or `volume@snapshot`, to begin as a copy of
    )
    per_mount: bool | None = None
    backup: str | None = None  # a repository's name, or a URL: to begin with the data of a backup
    autogrow: int | None = None  # bytes
    inodes: int | None = None  # files of all kinds
    # What is done by itself, see models/schedule.py; of all options the ones that may change.
    schedule_snapshot: str | None = None  # a cron expression
    schedule_backup: str | None = None  # the same
    schedule_to: str | None = None  # the name of a repository
    schedule_keep: str | None = None  # a policy such as 24h,7d
    schedule_before: str | None = None  # commands in containers, a line each
    schedule_after: str | None = None  # the same
    schedule_pause: bool | None = None
    schedule_stop: bool | None = None
    schedule_prove: str | None = None  # an expression, as of the two others
    schedule_raw: bool | None = None  # backups are of the image, as one file

    def given(self) -> dict[str, object]:
        """What was said, by field."""
        return {key: value for key, value in self if value not in _UNSET}

    def shown(self) -> dict[str, str]:
        """What was said, as text."""
        return {option_of(key): show(key, value) for key, value in self.given().items()}

    def differences(self, options: "Options") -> dict[str, tuple[str, str]]:
        """Option -> (here, asked) for each given option that does not match."""
        return {
            option_of(key): (show(key, getattr(self, key)), show(key, asked))
            for key, asked in options.given().items()
            if asked != getattr(self, key)
        }


# On disk: any change of a field, or of what it may hold, is a new format of the records that have
# it (state/records.py). tests/unit/state/test_formats.py fails until there is one.
class Spec(Options):
    """The complete options of an existing volume, defaults filled in; recorded on disk.

    None is what has no meaning for its backend: `fs` and `sparse` are a loopback's, `path` a
    directory's. Else a `size` of None is as large as the host's filesystem, `inodes` are as many as
    the filesystem has, and `uid`, `gid` and `mode` were left as they stood.
    """

    backend: str
    exposed: str = "data"  # the folder inside a loopback's filesystem that containers see
    project: int | None = None  # the project id by which a directory's size is enforced
    # The size in bytes from which an image is still to grow to `size`: in full at the next mount.
    grows_from: int | None = None

    @classmethod
    def of(cls, options: Options, **settled: object) -> "Spec":
        """All that was asked for, but for what is settled otherwise."""
        return cls.model_validate({**dict(options), **settled})

    def options(self) -> Options:
        """What would have to be asked for, to get the same."""
        return Options.model_validate({key: getattr(self, key) for key in Options.model_fields})

    @property
    def is_scheduled(self) -> bool:
        """Whether anything is done by itself."""
        return bool(self.schedule_snapshot or self.schedule_backup)

    @property
    def scheduled_hooks(self) -> Hooks:
        """What is done to containers around what a schedule takes."""
        return Hooks.asked(
            (self.schedule_before or "").splitlines(),
            (self.schedule_after or "").splitlines(),
            pause=bool(self.schedule_pause),
            stop=bool(self.schedule_stop),
        )

    def inodes_at(self, size: int) -> int | None:
        """The limit of files that goes with another size: that of an image grows with it."""
        if self.inodes is None or self.size is None or self.fs is None:
            return self.inodes
        size -= size % BLOCK
        if self.fs is Filesystem.EXT4:
            return (self.inodes + EXT4_OWN) * _groups(size) // _groups(self.size) - EXT4_OWN
        return -(-self.inodes * size // self.size)

    def size_for_inodes(self) -> int:
        """The next size at which an image would have more inodes than it has now."""
        assert self.size is not None
        return (
            (_groups(self.size) + 1) * EXT4_GROUP if self.fs is Filesystem.EXT4 else self.size + 1
        )

    def shown(self) -> dict[str, str]:
        """The options that apply to this volume, as text."""
        return self.options().shown()


class Usage(Frozen):
    """A background sample of a volume's space, in bytes; `sampled` is POSIX time in seconds."""

    size: int | None = None  # what the filesystem offers in all
    used: int | None = None  # by the volume's files
    available: int | None = None  # to an unprivileged writer
    allocated: int | None = None  # on the host
    inodes: int | None = None  # how many files the filesystem, or the limit, has room for
    inodes_used: int | None = None
    inodes_available: int | None = None
    sampled: float

    @property
    def content(self) -> int:
        """Roughly what there is to copy; of an image that is not mounted, what it occupies."""
        return self.used or self.allocated or 0


class View(Frozen):
    """One volume as the engine tells it to the edges; made from memory alone."""

    name: str
    state: State
    backend: str
    created: datetime | None  # aware, UTC; None where the record cannot be read
    mountpoint: str  # what a container sees; "" while not mounted
    home: str = ""  # the folder with the data and the record
    data: str = ""  # the folder of the data where it can be read without a mount, or is mounted
    references: int  # how many mounts are counted
    spec: Spec | None  # None where the record cannot be read
    usage: Usage | None  # None until the first sample
    reason: str = ""  # why it is broken
    protected: bool = False
    snapshots: tuple[SnapshotView, ...] = ()  # oldest first
    doing: str = ""  # the long work that is going on with it
    hosts: tuple[str, ...] = ()  # which hosts of a shared root use it


def _groups(size: int) -> int:
    return -(-size // EXT4_GROUP)


def option_of(field: str) -> str:
    """The option that a field of Options holds; see `Option.field`."""
    return "from" if field == "source" else field.replace("schedule_", "schedule.")


def show(key: str, value: object) -> str:
    """One option's value as a user would write it."""
    if value in _UNSET:
        return "unset"
    if key == "mode" and isinstance(value, int):
        return f"{value:04o}"
    if key in ("size", "autogrow") and isinstance(value, int):
        return exact_size(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ",".join(value)
    return str(value)
