"""Extended attributes: read and given, ACLs and capabilities among them."""

import errno
import os

# How btrfs is to store a file, and how xfs stores the ACLs that it tells of by their own names.
_OF_FILESYSTEMS = (b"btrfs.", b"trusted.SGI_ACL_")
_USERS = (b"user.", b"trusted.", b"system.posix_acl_")
_CAPABILITY = b"security.capability"


def of(place: str | int) -> dict[bytes, bytes]:
    """Those that the caller may see, by name, but for those of a filesystem's own.

    `place` is a path, or an open file.
    """
    return {name: os.getxattr(place, name) for name in sorted(_names(place))}


def give(place: str | int, wanted: dict[bytes, bytes]) -> None:
    """Let a file have these and none other that users set.

    Raises OSError for one that its filesystem does not take; the labels of security modules are
    the host's own, and left where it takes none.
    """
    for name in _names(place):  # such as the ACL that a new file takes over from its folder
        if name not in wanted and _is_users(name):
            os.removexattr(place, name)
    for name, value in wanted.items():
        try:
            os.setxattr(place, name, value)
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP or _is_users(name):
                reason = f"the attribute {os.fsdecode(name)} cannot be kept: {error.strerror}"
                raise OSError(error.errno, reason) from error


def of_users(found: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """Those that users set: the labels of security modules are the host's own."""
    return {name: value for name, value in found.items() if _is_users(name)}


def _is_users(name: bytes) -> bool:
    return name.startswith(_USERS) or name == _CAPABILITY


def _names(place: str | int) -> list[bytes]:
    try:
        found = map(os.fsencode, os.listxattr(place))
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            return []
        raise
    return [name for name in found if not name.startswith(_OF_FILESYSTEMS)]
