"""File modes as Go has them, which restic stores, and as Linux has them."""

import stat

# A format bit of Linux is a number among several; in Go each is a bit of its own.
_TYPES = {
    stat.S_IFREG: 0,
    stat.S_IFDIR: 1 << 31,
    stat.S_IFLNK: 1 << 27,
    stat.S_IFBLK: 1 << 26,
    stat.S_IFCHR: 1 << 26 | 1 << 21,
    stat.S_IFIFO: 1 << 25,
    stat.S_IFSOCK: 1 << 24,
}
_BITS = ((stat.S_ISUID, 1 << 23), (stat.S_ISGID, 1 << 22), (stat.S_ISVTX, 1 << 20))
_GO_TYPES = {go: linux for linux, go in _TYPES.items()}
_GO_TYPE_BITS = 1 << 31 | 1 << 27 | 1 << 26 | 1 << 25 | 1 << 24 | 1 << 21


def from_linux(mode: int) -> int:
    """`st_mode` in Go's bits; what lstat gives is of a known type."""
    special = sum(go for linux, go in _BITS if mode & linux)
    return mode & 0o777 | special | _TYPES[stat.S_IFMT(mode)]


def to_linux(mode: int) -> int:
    """Go's bits as `st_mode`; an unknown type has no format bits."""
    special = sum(linux for linux, go in _BITS if mode & go)
    return mode & 0o777 | special | _GO_TYPES.get(mode & _GO_TYPE_BITS, 0)
