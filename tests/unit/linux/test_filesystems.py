"""What is told of images by their bytes, and of the programs that look at them."""

import errno
import os
import struct
from collections.abc import Sequence
from pathlib import Path

import pytest

from convoy_py.linux import filesystems, process


def failed(status: int, stdout: str = "", stderr: str = "") -> process.ProcessFailed:
    return process.ProcessFailed("e2fsck", status, stdout, stderr)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (failed(4, "Pass 1: Checking\n\nblock 7 is lost\n"), "block 7 is lost"),
        (failed(4, "d", "e2fsck 1.47\n a\nb\n c"), "a; b; c"),
        (failed(8, "Pass 1: Checking"), "e2fsck failed with exit status 8: Pass 1: Checking"),
    ],
)
def test_findings_are_told_without_the_chatter(error: process.ProcessFailed, told: str) -> None:
    """The first of them; where there are none, how the program ended."""
    assert filesystems.findings(error) == told


@pytest.mark.parametrize("status", [1, 4, -9])
def test_checker_that_was_killed_found_no_damage(
    monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    def run(*_: object) -> None:
        raise failed(status, "", "it said so")

    monkeypatch.setattr(filesystems, "run", run)
    expected = process.ProcessFailed if status == -9 else filesystems.DamagedFilesystem
    with pytest.raises(OSError, match="it said so") as caught:
        filesystems.check("ext4", Path("/image"))
    assert type(caught.value) is expected


@pytest.mark.parametrize("size", [0, filesystems._SECTOR_SIZE["ext4"][0] + 3])
def test_image_without_a_superblock_has_sectors_of_a_block(tmp_path: Path, size: int) -> None:
    image = tmp_path / "image"
    image.write_bytes(bytes(size))
    with image.open("rb") as file:
        assert filesystems.sector_size("ext4", file.fileno()) == filesystems.BLOCK


@pytest.mark.parametrize("log_root", [0, 1 << 20])
def test_clone_with_a_log_that_awaits_replay_gets_no_new_identity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log_root: int
) -> None:
    """It would lose what was synced since the last commit; other filesystems need none."""
    image, ran = tmp_path / "image", list[Sequence[str]]()
    with image.open("wb") as file:
        os.pwrite(file.fileno(), struct.pack("<Q", log_root), filesystems._BTRFS_LOG_ROOT)
    monkeypatch.setattr(filesystems, "run", lambda _fs, _image, argv, _: ran.append(argv))
    for fs in ("ext4", "xfs"):
        filesystems.new_identity(fs, image, "uuid")
    assert ran == []
    if log_root:
        with pytest.raises(OSError, match="was not unmounted") as caught:
            filesystems.new_identity("btrfs", image, "uuid")
        assert caught.value.errno == errno.EBUSY
    else:
        filesystems.new_identity("btrfs", image, "uuid")
    assert [argv[0] for argv in ran] == ([] if log_root else ["btrfstune"])


@pytest.mark.parametrize("discard", [True, False])
def test_discard_is_always_said(*, discard: bool) -> None:
    """No default decides whether deleted data gives its space back."""
    told = {fs: filesystems.mount_data(fs, discard=discard) for fs in filesystems.MINIMUM}
    on = {"ext4": "discard", "xfs": "discard", "btrfs": "discard=async"}
    assert {fs: data[-1] for fs, data in told.items()} == (
        on if discard else dict.fromkeys(on, "nodiscard")
    )


@pytest.mark.parametrize(
    ("fs", "size", "bounds"),
    [
        ("ext4", 64 << 20, (4, 16372)),
        ("ext4", (128 << 20) + 1, (20, 32756)),
        ("xfs", 512 * 1000, (10, 1000)),
        ("btrfs", 1 << 30, None),
    ],
)
def test_inodes_can_be_bounded_where_they_are_counted(
    fs: str, size: int, bounds: tuple[int, int] | None
) -> None:
    """On ext4 by blocks of them in each group, on xfs by percents of the space."""
    assert filesystems.inode_bounds(fs, size) == bounds
