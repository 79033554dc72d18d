"""Project quotas: what the kernel answers where there are none, and where they bound nothing."""

import ctypes
import errno
import os
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from convoy_py.linux import libc, mounts, quota

ENFORCED, COUNTED = 1 << 5, 1 << 4
Answer = Callable[[int, int], None]


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Answer:
    """Has the kernel answer with an error, or with these flags."""

    def answer(number: int, flags: int = 0) -> None:
        def syscall(_number: int, *arguments: Any) -> int:
            if number:
                raise OSError(number, os.strerror(number))
            told: ctypes.Array[ctypes.c_char] = arguments[-1]
            struct.pack_into("=H", told, 2, flags)
            return 0

        monkeypatch.setattr(libc, "syscall", syscall)

    return answer


@pytest.mark.parametrize(
    "number", [errno.ENOSYS, errno.ESRCH, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTTY, 0]
)
@pytest.mark.parametrize(
    ("fstype", "reason"),
    [
        ("xfs", "the xfs it lies on is not mounted with prjquota"),
        ("btrfs", "btrfs has no project quotas"),
    ],
)
def test_missing_quota_has_a_reason(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    answer: Answer,
    number: int,
    fstype: str,
    reason: str,
) -> None:
    """In whichever way the kernel says so; what is counted without a bound is of no use."""
    mount = replace(mounts.holding(tmp_path), fstype=fstype)
    monkeypatch.setattr(mounts, "holding", lambda _: mount)
    answer(number, COUNTED)
    assert quota.support(tmp_path) == reason


def test_quota_is_supported_where_it_is_enforced(tmp_path: Path, answer: Answer) -> None:
    answer(0, COUNTED | ENFORCED)
    assert quota.support(tmp_path) is None


def test_failing_disk_is_no_missing_quota(tmp_path: Path, answer: Answer) -> None:
    """But a project of which nothing is kept has nothing."""
    answer(errno.EIO, 0)
    with pytest.raises(OSError, match="Input/output error"):
        quota.support(tmp_path)
    with pytest.raises(OSError, match="Input/output error"):
        quota.usage(tmp_path, 7)
    answer(errno.ENOENT, 0)
    assert quota.usage(tmp_path, 7) == (0, 0)


@pytest.mark.parametrize(
    ("limit", "inodes", "blocks"), [(None, None, 0), (1024, 5, 1), (1025, 5, 2)]
)
def test_bounds_are_told_to_the_kernel(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    limit: int | None,
    inodes: int | None,
    blocks: int,
) -> None:
    """Bytes to the kibibyte above; none is 0."""
    told: list[tuple[int, ...]] = []
    monkeypatch.setattr(libc, "syscall", lambda *got: told.append(quota._DQBLK.unpack(got[-1].raw)))
    quota.set_limit(tmp_path, 7, limit, inodes)
    assert (told[0][0], told[0][3]) == (blocks, inodes or 0)
