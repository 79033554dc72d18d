"""Which loop devices may hold a file, by what the kernel tells of them without asking storage."""

import errno
import os
from pathlib import Path

import pytest

from convoy_py.linux import backing, mounts
from convoy_py.linux.backing import Candidate

TABLE = b"""30 1 8:1 / /var rw - ext4 /dev/sda1 rw
31 30 0:50 / /srv/nfs rw - nfs4 host:/ rw
32 30 8:50 / /srv/ntfs rw - fuseblk /dev/sdd2 rw
33 30 8:17 / /srv/disk rw - xfs /dev/sdb1 rw
"""


@pytest.fixture
def _one_device(monkeypatch: pytest.MonkeyPatch, known: str | None, own: int) -> None:
    """Its file has the path `known`; that asked for lies on a mount of the table."""
    monkeypatch.setattr(backing, "_bound", lambda: [7])
    monkeypatch.setattr(backing, "path", lambda _number: known)
    monkeypatch.setattr(mounts, "read", lambda _pid="self": TABLE)
    monkeypatch.setattr(mounts, "holding", lambda _path: mounts.table()[own])


ON_DISK, ON_NFS = 0, 1
LIKELY, PERHAPS = [Candidate(7, likely=True)], [Candidate(7, likely=False)]


@pytest.mark.usefixtures("_one_device")
@pytest.mark.parametrize(
    ("own", "known", "found"),
    [
        (ON_DISK, "/srv/disk/volumes/db/image", LIKELY),  # the same name as far as it counts
        (ON_DISK, "/srv/nfs/volumes/db/image", LIKELY),
        (ON_DISK, "/var/other", LIKELY),  # the same filesystem
        (ON_NFS, "/srv/nfs/other", LIKELY),
        (ON_DISK, None, LIKELY),
        (ON_DISK, "/srv/disk/other", PERHAPS),
        (ON_DISK, "/not/seen/here", PERHAPS),
        (ON_DISK, "/srv/nfs/other", []),
        (ON_DISK, "/srv/ntfs/other", []),
        (ON_DISK, "", []),
    ],
)
def test_devices_are_told_by_the_path_of_their_file(found: list[Candidate]) -> None:
    """Ruled out is only what lies on another filesystem that may hang, under another name."""
    assert backing.candidates(Path("/volumes/db/image")) == found


def test_file_that_lies_nowhere_is_an_error_only_where_devices_hold_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def holding(path: Path) -> mounts.Mount:
        raise FileNotFoundError(errno.ENOENT, "none", str(path))

    monkeypatch.setattr(mounts, "holding", holding)
    monkeypatch.setattr(backing, "_bound", list)
    assert backing.candidates(Path("/volumes/db/image")) == []
    monkeypatch.setattr(backing, "_bound", lambda: [7])
    monkeypatch.setattr(backing, "path", lambda _number: None)
    with pytest.raises(FileNotFoundError, match="/volumes/db/image"):
        backing.candidates(Path("/volumes/db/image"))


@pytest.mark.parametrize(
    ("number", "told"),
    [(errno.ENOENT, ""), (errno.ENODEV, ""), (errno.ENAMETOOLONG, None), (errno.EIO, None)],
)
def test_path_that_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch, number: int, told: str | None
) -> None:
    """Of a device that was detached there is none; of any other it is not known."""

    def fail(*_: object, **__: object) -> int:
        raise OSError(number, "refused")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", fail)
        assert backing.path(7) == told
