"""What a file bears beside its content: owner, mode, times and extended attributes."""

import errno
import os
import stat
from typing import NamedTuple

Place = int | str
"""An open file, or a path; that of an O_PATH descriptor is /proc/self/fd/N."""

# How btrfs is to store a file, and how xfs stores the ACLs that it tells of by their own names.
_OF_FILESYSTEMS = ("btrfs.", "trusted.SGI_ACL_")
_USERS = ("user.", "trusted.", "system.posix_acl_")
_CAPABILITY = "security.capability"


class Attributes(NamedTuple):
    stat: os.stat_result
    xattrs: dict[str, bytes]

    @classmethod
    def of(cls, place: Place, found: os.stat_result) -> "Attributes":
        """Those of a file whose stat is `found`."""
        return cls(found, xattrs(place))

    def give(self, place: Place) -> None:
        """Let the file have these and no others: owner, xattrs, mode, times.

        Raises OSError for an attribute of a user, an ACL or a capability that its filesystem does
        not take; the labels of security modules are the host's own, and left where it takes none.
        """
        for name in _names(place):  # such as the ACL that a new file takes over from its folder
            if name not in self.xattrs and is_users(name):
                os.removexattr(place, name)
        os.chown(place, self.stat.st_uid, self.stat.st_gid)
        # A change of owner takes a capability away and, like an ACL, may change the mode.
        for name, value in self.xattrs.items():
            _set(place, name, value)
        if not stat.S_ISLNK(self.stat.st_mode):
            os.chmod(place, stat.S_IMODE(self.stat.st_mode))  # noqa: PTH101 - no path as a rule
        os.utime(place, ns=(self.stat.st_atime_ns, self.stat.st_mtime_ns))


def xattrs(place: Place, *, follow_symlinks: bool = True) -> dict[str, bytes]:
    """Every extended attribute that the caller may see, but for those of a filesystem's own."""
    found = {}
    for name in _names(place, follow_symlinks=follow_symlinks):
        try:
            found[name] = os.getxattr(place, name, follow_symlinks=follow_symlinks)
        except OSError as error:
            if error.errno != errno.ENODATA:  # it was removed meanwhile
                raise
    return found


def is_users(name: str) -> bool:
    """Whether users rely on this attribute: their own, ACLs, capabilities, those of overlays."""
    return name.startswith(_USERS) or name == _CAPABILITY


def _names(place: Place, *, follow_symlinks: bool = True) -> list[str]:
    try:
        names = os.listxattr(place, follow_symlinks=follow_symlinks)
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            return []
        raise
    return [name for name in names if not name.startswith(_OF_FILESYSTEMS)]


def _set(place: Place, name: str, value: bytes) -> None:
    try:
        os.setxattr(place, name, value)
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise OSError(
                error.errno, f"the attribute {name} cannot be kept: {error.strerror}"
            ) from error
        if is_users(name):
            raise OSError(
                error.errno, f"the filesystem of the copy takes no attribute {name}"
            ) from error
