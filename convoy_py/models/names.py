"""The rules for names of volumes and snapshots, applied at every entry and to what is read back."""

import re
from enum import Enum, auto

from convoy_py.errors import Invalid, InvalidName

NAME_PATTERN = r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}"
_NAME = re.compile(NAME_PATTERN)


def is_valid_name(name: str) -> bool:
    """Whether `name` may be a volume's; ASCII only, so it is also its length in bytes."""
    return _NAME.fullmatch(name) is not None


def check_name(name: str, what: str = "volume") -> str:
    """Return `name`, or raise InvalidName; `what` it names."""
    if not is_valid_name(name):
        raise InvalidName(name, what)
    return name


def check_volume(name: str) -> str:
    """Return what is to name a volume that is there; raises Invalid, of a snapshot with advice."""
    if AT in name and is_source(name):
        raise Invalid(
            f"{name} names a snapshot, and this takes a volume: name {volume_of(name)}, or make "
            f"one of it with `convoy clone {name} NEW`; `convoy snapshot delete {name}` deletes it"
        )
    return check_name(name)


# Between a volume's name and its snapshot's, and between it and the key of a private clone: no
# name can have either.
AT, HASH = "@", "#"


class NameKind(Enum):
    """What a full name is the name of."""

    VOLUME = auto()
    SNAPSHOT = auto()
    CLONE = auto()


def kind_of(name: str) -> NameKind:
    """Of any text: a private clone of a snapshot there is not."""
    if HASH in name:
        return NameKind.CLONE
    return NameKind.SNAPSHOT if AT in name else NameKind.VOLUME


def is_source(text: str) -> bool:
    """Whether this is the name of a volume, or of a snapshot with its volume's."""
    volume, at, snapshot = text.partition(AT)
    return is_valid_name(volume) and (not at or is_valid_name(snapshot))


def split_source(text: str) -> tuple[str, str]:
    """(volume, snapshot or "") of `db` or `db@nightly`; raises Invalid."""
    if not is_source(text):
        raise Invalid(
            f"{text!r} is neither a volume's name, such as db, nor a snapshot's, such as db@nightly"
        )
    volume, _, snapshot = text.partition(AT)
    return volume, snapshot


def joined(volume: str, snapshot: str) -> str:
    """The full name of a snapshot: `db@nightly`; without one the volume's."""
    return f"{volume}{AT}{snapshot}" if snapshot else volume


def clone_name(volume: str, mount_id: str) -> str:
    """The full name of the private clone that a mount ID has of a volume."""
    from hashlib import sha256  # noqa: PLC0415 - it loads OpenSSL, which no short command needs

    return clone_of(volume, sha256(mount_id.encode()).hexdigest()[:16])


def clone_of(volume: str, key: str) -> str:
    """The full name of the private clone that has this key."""
    return f"{volume}{HASH}{key}"


def is_full_name(name: str) -> bool:
    """Whether it can be the name of a volume, a snapshot or a private clone."""
    volume, _, _ = name.partition(HASH)
    return is_source(volume)


def name_within(name: str) -> str:
    """The snapshot's own name, or the private clone's key, in a full name; "" in a volume's."""
    return name.removeprefix(volume_of(name))[1:]


def volume_of(name: str) -> str:
    """The volume's own name in a full name."""
    return name.partition(AT)[0].partition(HASH)[0]
