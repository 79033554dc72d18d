"""The records and notes as they lie on disk, and their formats.

docs/state-format.md is the description for people; tests/golden holds files of every format ever
written, and the fields of each: a field more, fewer or of another type is a new format, which needs
a step from the one before.
"""

from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import AwareDatetime, Field, RootModel

from convoy_py.models.names import is_valid_name
from convoy_py.models.schedule import LastRun
from convoy_py.models.snapshot import Consistency, Way
from convoy_py.models.values import Frozen
from convoy_py.models.volume import Spec
from convoy_py.state.formats import Format, Sealed, Unreadable

# On disk: any change of a field, or of what it may hold, is a new format: one more step for its
# Format below. tests/unit/state/test_formats.py fails until there is one.


class Record(Frozen):
    """One volume: `<root>/volumes/<name>/volume.json`."""

    name: str
    # The name before a rename: the folder has the one or the other, and the folder is right.
    formerly: str | None = None
    uuid: str  # a version 4 UUID; also that of a loopback's filesystem, unless it is a clone
    created: AwareDatetime
    protected: bool = False  # Remove refuses
    # The name of its data in the folder, such as `image.4`, where that is not the backend's usual
    # one; state/data.py says what else may lie there.
    data: str | None = Field(default=None, pattern=r"^[a-z]+\.[1-9][0-9]{0,17}$")
    spec: Spec


class SnapshotRecord(Frozen):
    """One snapshot: `<root>/volumes/<volume>/snapshots/<name>/snapshot.json`."""

    name: str
    uuid: str  # a version 4 UUID; also the name of the subvolume of one that lies inside
    created: AwareDatetime
    spec: Spec  # the volume's at that time
    way: Way
    consistency: Consistency
    group: str = ""  # what was taken at the same moment bears the same id
    automatic: bool = False
    scheduled: bool = False  # taken by a schedule
    base_of: str = ""  # the repository whose next backup is compared with it


class Moment(Frozen):
    """A reading of the clock of passed time: of which root's, and its seconds."""

    clock: str
    passed: float


class Removal(Frozen):
    """When a volume was removed: `<root>/trash/<name>.<uuid>/removed.json`."""

    removed: AwareDatetime
    moment: Moment | None = None  # the same by the clock of passed time; older daemons had none


class Passed(Frozen):
    """The clock of passed time, and what others said then: `<root>/passed.json`."""

    moment: Moment
    boot: str
    boottime: float  # seconds since that boot
    wall: AwareDatetime


class Reading(Frozen):
    """What the clocks said at one moment: the wall clock, that of passed time, and which boot."""

    wall: AwareDatetime
    moment: Moment
    boot: str


class Ran(Frozen):
    """What is known of the runs of one task of a schedule."""

    since: Reading  # the schedule's moments up to here are done with
    last: LastRun | None = None
    good: AwareDatetime | None = None  # when the last good one began
    failures: int = 0  # in a row, to the last


class Runs(Frozen):
    """What became of a volume's schedule: `<root>/volumes/<name>/runs.json`."""

    volume: str  # its uuid
    snapshot: Ran | None = None
    backup: Ran | None = None
    prove: Ran | None = None


class Hold(Frozen):
    """How often one mount ID holds a volume, and in which life of its engine it said so."""

    count: int
    epoch: str


class References(Frozen):
    """Who holds one volume: `<run>/references/<name>.json`; true only under its boot id."""

    boot: str
    holds: dict[str, Hold] = Field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(hold.count for hold in self.holds.values())


class Restore(Frozen):
    """What is not to stay if a restore is cut off: `<root>/volumes/<name>/restoring.json`."""

    path: str  # within the volume's data


class Pending(Frozen):
    """A volume that is to be made of a backup: `<root>/restores/<name>.json`."""

    repository: str  # its name
    backup: str  # its id
    url: str  # the same, for people
    created: AwareDatetime
    options: dict[str, str]  # as a user gives them


class Freeze(RootModel[tuple[str, ...]]):
    """The mountpoints that are frozen at this moment: `<run>/frozen/<id>.json`."""


Halt = Literal["paused", "stopped"]


class Pause(RootModel[tuple[Halt, tuple[tuple[str, str] | tuple[str, str, str], ...]]]):
    """Containers that are held up at this moment: `<run>/paused/<id>.json`.

    How, and of each its id, its name, and its state of before if it is not told by the first.
    """


class Owed(Frozen):
    """Commands that are to be run in containers after a snapshot: `<root>/hooks/<id>.json`."""

    commands: tuple[tuple[str, ...], ...]  # each a container's name or id, and the words


class Release(Frozen):
    """What a release may have half made under Docker: `<root>/releasing/<id>.json`."""

    volume: str
    target: str  # the name that it is to have there
    new: bool  # whether that one is made, too
    beside: str  # where it is built


class Repository(Frozen):
    """Where backups go: `<root>/repositories/<name>.json`.

    What is secret lies in files of the user's, or beside the record: `<name>.password` and
    `<name>.credentials`, readable by root alone.
    """

    name: str
    location: str
    id: str  # of the repository: what is found at the location must have it
    created: AwareDatetime
    password_file: str | None = None
    credentials_file: str | None = None
    keeps_credentials: bool = False
    keeper: str = ""  # the host that prunes it; empty: nobody has said


class Proof(Frozen):
    """That a backup was restored and found to be what it says."""

    volume: str
    proven: AwareDatetime


class Proofs(Frozen):
    """Of backups by their ids: `<root>/repositories/<name>.proofs`."""

    proofs: dict[str, Proof]


class Locks(Frozen):
    """What sessions may have locked: `<root>/repositories/<name>.locks`.

    Those of sessions that were cut off are the next one's, to be taken away.
    """

    locks: tuple[str, ...]


class About(Frozen):
    """One host of a shared root: `<root>/hosts/<number>/about.json`."""

    name: str
    machine: str  # its machine id; empty where it has none
    boot: str  # in which its daemon began last
    version: str  # of the daemon


class Joined(Frozen):
    """As what this boot is on a shared root: `<run>/host.json`."""

    boot: str
    host: int
    incarnation: int


def _fields_added(content: Any) -> Any:
    """All that the next format has more may be missing."""
    return content


VOLUME = Sealed("volume", Record, *[_fields_added] * 8)
SNAPSHOT = Sealed("snapshot", SnapshotRecord, *[_fields_added] * 7)
RUNS = Format("runs", Runs, _fields_added)
REFERENCES = Format("references", References)
PASSED_TIME = Format("passed", Passed)
RESTORE = Format("restore", Restore)
PENDING = Format("pending", Pending)
RELEASE = Format("release", Release)
OWED = Format("owed", Owed)
REPOSITORY = Format("repository", Repository, _fields_added)
LOCKS = Format("locks", Locks)
PROOFS = Format("proofs", Proofs)
HOST = Format("host", About)
JOINED = Format("joined", Joined)
# Daemons that knew of no numbers would not read these with one, and delete the latter two.
REMOVAL = Format("removal", Removal, numbered_from=2)
FREEZE = Format("freeze", Freeze, numbered_from=2)
PAUSE = Format("pause", Pause, numbered_from=2)


def encode(record: Record) -> bytes:
    return VOLUME.encode(record)


def decode(data: bytes, name: str) -> Record:
    """The record in a file that lies in the folder of volume `name`; raises Unreadable."""
    record = VOLUME.decode(data)
    if name not in (record.name, record.formerly) or not is_valid_name(name):
        raise Unreadable(f"it is the record of {record.name!r}")
    return record.model_copy(update={"name": name, "formerly": None})


def encode_snapshot(record: SnapshotRecord) -> bytes:
    return SNAPSHOT.encode(record)


def decode_snapshot(data: bytes, name: str = "") -> SnapshotRecord:
    """The record in a file that lies in the folder of snapshot `name`; raises Unreadable.

    One that is being taken has no name yet.
    """
    record = SNAPSHOT.decode(data)
    if name not in ("", record.name) or not is_valid_name(record.name):
        raise Unreadable(f"it is the record of {record.name!r}")
    return record


def timestamp(seconds: float) -> datetime:
    """POSIX seconds as the aware UTC time that records hold, to the microsecond."""
    return datetime.fromtimestamp(seconds, UTC)
