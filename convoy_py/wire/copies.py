"""Messages about volumes' data: clone, compare, restore, convert, adopt, release."""

from pydantic import Field

from convoy_py.wire.base import Message, Query
from convoy_py.wire.volumes import VolumeInfo

PATH = r"below the volume's root; \xHH is a byte that cannot be printed, \\ a backslash"


class CloneVolume(Message):
    """`snapshot` is empty to clone the volume as it is now."""

    name: str = Field(min_length=1)
    snapshot: str = ""
    options: dict[str, str] = Field(default_factory=dict)


class ConvertVolume(Message):
    options: dict[str, str]


class TakeOver(Message):
    host_is_off: bool = Field(
        False, description="somebody who knows says that the host writes nothing any more"
    )


class TakenOver(Message):
    volume: VolumeInfo
    hosts: list[str] = Field(description="the hosts that had it")
    lost: str = Field(description="the snapshot that has what the volume was; empty: a directory")


class DiffQuery(Query):
    from_: str = Field(alias="from", min_length=1, description="a snapshot of the volume")
    to: str = Field("", description="another; the volume as it is now, where none is given")


class ChangeInfo(Message):
    kind: str  # added, changed or removed
    path: str = Field(description=PATH)
    size: int  # bytes of the file; of a removed one, those it had
    what: list[str] = Field(default_factory=list)  # of a changed one: content, mode, owner, …


class Difference(Message):
    """What came between two trees; `changes` has the first of them, the counts have all."""

    added: int
    changed: int
    removed: int
    bytes: int  # of added and changed files
    changes: list[ChangeInfo]
    truncated: bool = False


class RestoreFile(Message):
    """From a snapshot of the volume, or from a backup of it."""

    snapshot: str = ""
    backup: str = Field("", description="its URL, the first digits of its id, or `latest`")
    repository: str = Field("", description="of the backup; empty: the default, or the only one")
    path: str = Field(min_length=1, description=PATH)


class RestoredFile(Message):
    path: str
    bytes: int


class Adopt(Message):
    """Take over volumes of Docker's `local` driver: one, or all of a compose project."""

    docker_volume: str = ""
    compose_project: str = ""
    name: str = ""  # of the one; default: the same
    options: dict[str, str] = Field(default_factory=dict)
    dry_run: bool = False
    stop_containers: bool = False


class AdoptedVolume(Message):  # what was taken over, or would be
    docker_volume: str
    name: str
    bytes: int
    files: int = 0
    note: str = ""  # what stands in the way, or what to do next


class Adopted(Message):
    volumes: list[AdoptedVolume]
    dry_run: bool = False


class Release(Message):
    """Give volumes to Docker's driver `local`: one, or all of a compose project."""

    name: str = ""
    compose_project: str = ""
    docker_volume: str = ""  # what to call the one; default: the same
    dry_run: bool = False


class ReleasedVolume(Message):  # what was given away, or would be
    name: str
    docker_volume: str
    bytes: int
    files: int = 0
    note: str = ""  # what stands in the way, or what to do next


class Released(Message):
    volumes: list[ReleasedVolume]
    dry_run: bool = False
