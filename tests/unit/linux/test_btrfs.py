"""What is and is not a subvolume, and what is told where quotas are off."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from convoy_py.linux import btrfs


@pytest.mark.parametrize("kind", ["folder", "link", "file"])
@pytest.mark.parametrize("on_btrfs", [True, False])
def test_only_a_folder_of_btrfs_is_a_subvolume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, *, on_btrfs: bool
) -> None:
    """Elsewhere any file may have the number that its root has there; none is opened."""
    path = tmp_path / "name"
    {"folder": os.mkdir, "link": lambda to: os.symlink("real", to), "file": os.mkfifo}[kind](path)
    monkeypatch.setattr(btrfs, "is_btrfs", lambda _: on_btrfs)
    assert not btrfs.is_subvolume(path)
    monkeypatch.setattr(btrfs, "_SUBVOLUME_INODE", path.lstat().st_ino)
    assert btrfs.is_subvolume(path) is (on_btrfs and kind == "folder")


def test_usage_that_nobody_counts_is_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither where quotas are off nor where this subvolume has no group yet."""

    def off(*_: object) -> Iterator[bytes]:
        yield from [path.read_bytes() for path in [tmp_path / "no tree of quotas"]]

    monkeypatch.setattr(btrfs, "_subvolume_id", lambda _: 256)
    for search in (off, lambda *_: iter(())):
        monkeypatch.setattr(btrfs, "_search", search)
        assert btrfs.exclusive(tmp_path) is None
        with pytest.raises(FileNotFoundError, match="counts no quota"):
            btrfs.usage(tmp_path)
