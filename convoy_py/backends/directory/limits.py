"""Quotas that enforce a directory's size: of a subvolume on btrfs, of a project elsewhere."""

import zlib
from pathlib import Path

from convoy_py.errors import InvalidOption
from convoy_py.linux import btrfs, quota
from convoy_py.models.sizes import LARGEST, format_size
from convoy_py.models.volume import Spec

MINIMUM_SIZE = 2**20
# Project ids of ours begin here, above those that people and Docker's quotas count up from 1.
_FIRST_PROJECT = 2**30


def unsupported(folder: Path) -> str | None:
    """Why sizes cannot be enforced below a folder; None if they can."""
    return None if btrfs.is_btrfs(folder) else quota.support(folder)


def bounded(size: int) -> int:
    """The size, if it can be one; raises InvalidOption with the bounds."""
    if not MINIMUM_SIZE <= size <= LARGEST:
        raise InvalidOption(
            f"size {format_size(size)} is outside of {format_size(MINIMUM_SIZE)} to "
            f"{format_size(LARGEST)}"
        )
    return size


def begin(data: Path, uuid: str, size: int) -> int | None:
    """Enforce a size on a folder that is still empty; returns the project id if it took one."""
    if btrfs.is_btrfs(data):
        btrfs.enable_quota(data)
        btrfs.set_limit(data, size)
        return None
    project = _FIRST_PROJECT + zlib.crc32(uuid.encode()) % _FIRST_PROJECT
    while quota.usage(data, project):  # someone's already, or another volume's
        project += 1
    quota.assign(data, project)
    quota.set_limit(data, project, size)
    return project


def enforce(data: Path, spec: Spec) -> None:
    """Set the limit of a volume's folder to what its spec says; does nothing without a size."""
    if spec.size is None:
        return
    if spec.project is None:
        btrfs.set_limit(data, spec.size)
    else:
        quota.set_limit(data, spec.project, spec.size)


def used(data: Path, spec: Spec) -> int:
    """Bytes that count against the limit."""
    if spec.project is not None:
        return quota.usage(data, spec.project)
    return btrfs.usage(data)
