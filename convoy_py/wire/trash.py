"""Messages about the trash."""

from pydantic import Field

from convoy_py.wire.base import Message


class Removed(Message):
    """One volume in the trash; `key` tells it from others of its name."""

    name: str
    key: str
    driver: str
    removed: str  # RFC 3339, UTC; "" where it is not known
    until: str  # when it is deleted
    snapshots: list[str]


class TrashList(Message):
    volumes: list[Removed]


class RestoreTrash(Message):
    """`name` is a name or a key; `as_name` another name for the volume."""

    name: str = Field(min_length=1)
    as_name: str = ""


class PurgeTrash(Message):
    """`name` is a name or a key; `all`, which has to be said, is everything."""

    name: str = ""
    all: bool = False


class Purged(Message):
    keys: list[str]
