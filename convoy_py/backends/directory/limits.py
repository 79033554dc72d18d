"""Quotas that enforce a directory's size: of a subvolume on btrfs, of a project elsewhere."""

import zlib
from pathlib import Path

from convoy_py.errors import InvalidOption, NoSpace
from convoy_py.linux import btrfs, files, quota
from convoy_py.models.sizes import LARGEST, format_size
from convoy_py.models.volume import Spec, show

MINIMUM_SIZE = 2**20
# Project ids of ours begin here, above those that people and Docker's quotas count up from 1.
_FIRST_PROJECT = 2**30
_OWN = 1  # the volume's folder itself is one of its files


def unsupported(folder: Path) -> str | None:
    """Why sizes cannot be enforced below a folder; None if they can."""
    return None if btrfs.is_btrfs(folder) else quota.support(folder)


def uncountable(folder: Path) -> str | None:
    """Why the number of files cannot be limited below a folder; None if it can."""
    return (
        "a quota of btrfs counts bytes alone" if btrfs.is_btrfs(folder) else quota.support(folder)
    )


def has(spec: Spec) -> bool:
    """Whether anything is to be enforced."""
    return spec.size is not None or spec.inodes is not None


def bounded(size: int) -> int:
    """The size, if it can be one; raises InvalidOption with the bounds."""
    if not MINIMUM_SIZE <= size <= LARGEST:
        raise InvalidOption(
            f"size {format_size(size)} is outside of {format_size(MINIMUM_SIZE)} to "
            f"{format_size(LARGEST)}"
        )
    return size


def begin(data: Path, uuid: str, spec: Spec) -> int | None:
    """Enforce limits on a folder that is still empty; returns the project id if it took one."""
    if btrfs.is_btrfs(data):
        assert spec.size is not None
        btrfs.enable_quota(data)
        _limit_subvolume(data, spec.size)
        return None
    project = _FIRST_PROJECT + zlib.crc32(uuid.encode()) % _FIRST_PROJECT
    while any(quota.usage(data, project)):  # someone's already, or another volume's
        project += 1
    quota.assign(data, project)
    _limit(data, project, spec)
    return project


def enforce(data: Path, spec: Spec) -> None:
    """Set the limits of a volume's folder to what its spec says; does nothing without any."""
    if not has(spec):
        return
    if spec.project is not None:
        _limit(data, spec.project, spec)
    elif spec.size is not None:
        _limit_subvolume(data, spec.size)


def used(data: Path, spec: Spec) -> tuple[int, int | None]:
    """(bytes, files) that count against the limits; None where files are not counted."""
    if spec.project is None:
        return btrfs.usage(data), None
    size, count = quota.usage(data, spec.project)
    return size, max(0, count - _OWN)


def refuse_more(what: object, size: int, inodes: int | None, spec: Spec) -> None:
    """Raise NoSpace if so much is more than the limits of a spec allow."""
    if spec.size is not None and size > spec.size:
        raise NoSpace(f"{what} holds {show('size', size)}, more than {show('size', spec.size)}")
    if spec.inodes is not None and inodes is not None and inodes > spec.inodes:
        raise NoSpace(f"{what} holds {inodes} files, more than {spec.inodes} (option inodes)")


def _limit_subvolume(data: Path, size: int) -> None:
    btrfs.set_limit(data, size)
    # No fsync of a record takes it along: a power cut would bring back the limit of before.
    files.sync_filesystem(data)


def _limit(data: Path, project: int, spec: Spec) -> None:
    inodes = None if spec.inodes is None else spec.inodes + _OWN
    quota.set_limit(data, project, spec.size, inodes)
