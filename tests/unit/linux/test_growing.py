"""When a filesystem is grown and when it is left alone, to the byte."""

import errno
import fcntl
import struct
from pathlib import Path

import pytest

from convoy_py.linux import files, filesystems, growing, process

BLOCK = 4096
MIB = 1 << 20


class Tools:
    """What grows an ext4 in an image: its superblock, and the programs that were run."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.size, self.reserved_for = 64 * MIB, 128 * MIB
        self.was_interrupted, self.has_right_checksum = False, True
        self.done: list[str] = []
        patch.setattr(growing._Ext4, "read", lambda _: self._superblock())
        patch.setattr(growing._Ext4, "was_interrupted", property(lambda _: self.was_interrupted))
        patch.setattr(
            growing._Ext4, "has_right_checksum", property(lambda _: self.has_right_checksum)
        )
        patch.setattr(growing, "_write_checksum", lambda *_: self.done.append("checksum"))
        patch.setattr(filesystems, "run", lambda _fs, _image, argv, _: self._run(argv))

    def _superblock(self) -> growing._Ext4:
        return growing._Ext4(b"", BLOCK, self.size, self.reserved_for)

    def _run(self, argv: list[str]) -> None:
        self.done.append(" ".join(word for word in argv if not word.startswith("/")))


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> Tools:
    return Tools(monkeypatch)


GROWN, MENDED = ["e2fsck -f -p", "resize2fs"], ["e2fsck -f -y", "resize2fs"]


@pytest.mark.parametrize(
    ("more", "interrupted", "done"),
    [
        (0, False, []),
        (BLOCK - 1, False, []),
        (BLOCK, False, GROWN),
        (64 * MIB, False, GROWN),
        (0, True, MENDED),
        (64 * MIB, True, MENDED),
    ],
)
def test_ext4_is_grown_by_whole_blocks(
    tmp_path: Path, tools: Tools, more: int, done: list[str], *, interrupted: bool
) -> None:
    """And what was interrupted is ended, whatever its size."""
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(tools.size + more)
    tools.was_interrupted = interrupted
    assert growing.grow_offline("ext4", image)
    assert tools.done == done


def test_superblock_that_was_being_written_is_looked_at(tmp_path: Path, tools: Tools) -> None:
    """Its checksum is made right for that, and only where it is wrong."""
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(tools.size)
    tools.was_interrupted, tools.has_right_checksum = True, False
    assert growing.grow_offline("ext4", image)
    assert tools.done == ["checksum", *MENDED]


@pytest.mark.parametrize(("more", "number"), [(-1, errno.EUCLEAN), (64 * MIB + 1, errno.EFBIG)])
def test_ext4_in_a_file_of_no_fitting_size_is_left_alone(
    tmp_path: Path, tools: Tools, more: int, number: int
) -> None:
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(tools.size + more)
    tools.was_interrupted = True
    with pytest.raises(OSError, match="ext4") as caught:
        growing.grow_offline("ext4", image)
    assert caught.value.errno == number
    assert tools.done == []


@pytest.mark.parametrize(
    ("status", "expected"),
    [(0, None), (1, None), (4, filesystems.DamagedFilesystem), (-9, process.ProcessFailed)],
)
def test_only_what_e2fsck_finds_is_damage(
    monkeypatch: pytest.MonkeyPatch, status: int, expected: type[OSError] | None
) -> None:
    """1 is "mended"; that it was killed says nothing of the image."""

    def run(*_: object) -> None:
        if status:
            raise process.ProcessFailed("e2fsck", status, "", "it said so")

    monkeypatch.setattr(filesystems, "run", run)
    if expected is None:
        growing._mend(Path("/image"), answer="-p")
    else:
        with pytest.raises(OSError, match="it said so") as caught:
            growing._mend(Path("/image"), answer="-p")
        assert type(caught.value) is expected


@pytest.mark.parametrize(
    ("flags", "state", "errors", "is_right", "interrupted"),
    [
        (0, 0, 0, False, False),
        (0, 2, 0, False, True),  # resize2fs says so while it works
        (0, 2, 1, False, False),  # the kernel counts what it has found
        (0x400, 0, 0, True, False),
        (0x400, 0, 0, False, True),
        (0x400, 2, 0, True, True),
    ],
)
def test_interrupted_growth_is_told_from_damage(
    flags: int, state: int, errors: int, *, is_right: bool, interrupted: bool
) -> None:
    raw = bytearray(1024)
    struct.pack_into("<H", raw, 0x3A, state)
    struct.pack_into("<I", raw, 0x64, flags)
    struct.pack_into("<I", raw, 0x194, errors)
    right = growing._crc32c(bytes(raw[:1020]))
    struct.pack_into("<I", raw, 1020, right if is_right else right ^ 1)
    assert growing._Ext4(bytes(raw), BLOCK, 0, 0).was_interrupted is interrupted


def test_image_that_is_no_ext4_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(bytes(4096))
    with pytest.raises(filesystems.DamagedFilesystem, match="no superblock of ext4"):
        growing.bounds("ext4", tmp_path / "image")


def test_link_in_the_place_of_an_image_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"theirs")
    (tmp_path / "image").symlink_to("other")
    with pytest.raises(OSError, match="symbolic links"):
        growing._write_checksum(tmp_path / "image", growing._Ext4(bytes(1024), BLOCK, 0, 0))
    assert (tmp_path / "other").read_bytes() == b"theirs"


class Btrfs:
    """A filesystem of one device, number 3: of what size it is, and how a resize ends."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.size, self.answer = 128 * MIB, 0
        self.resized: list[bytes] = []
        patch.setattr(fcntl, "ioctl", self._asked)

    def _asked(self, _fd: int, request: int, argument: bytearray) -> bytes | int:
        if request == growing._BTRFS_FS_INFO:
            return growing._BTRFS_FS.pack(3)
        if request == growing._BTRFS_DEV_INFO:
            argument[:] = growing._BTRFS_DEV.pack(3, 0, self.size)
            return 0
        self.resized.append(growing._BTRFS_ARGS.unpack(argument)[1].rstrip(b"\0"))
        return self.answer


@pytest.mark.parametrize(
    ("size", "asked"),
    [
        (512 * MIB, []),
        (512 * MIB + BLOCK - 1, []),
        (512 * MIB + BLOCK, [b"3:max"]),
    ],
)
def test_btrfs_is_grown_by_whole_blocks(
    monkeypatch: pytest.MonkeyPatch, size: int, asked: list[bytes]
) -> None:
    btrfs = Btrfs(monkeypatch)
    btrfs.size = 512 * MIB
    growing._grow_btrfs(0, size)
    assert btrfs.resized == asked


def test_btrfs_is_not_grown_below_what_the_kernel_takes_or_while_it_is_rearranged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    btrfs = Btrfs(monkeypatch)
    with pytest.raises(OSError, match=f"grows to {256 * MIB} bytes or more"):
        growing._grow_btrfs(0, 256 * MIB - 1)
    assert btrfs.resized == []
    growing._grow_btrfs(0, 256 * MIB)
    btrfs.answer = 1
    with pytest.raises(OSError, match="balanced") as caught:
        growing._grow_btrfs(0, 256 * MIB)
    assert caught.value.errno == errno.EBUSY


@pytest.mark.parametrize(
    ("size", "grown"), [(BLOCK * 99, []), (BLOCK * 100, []), (BLOCK * 101, [101])]
)
def test_xfs_is_only_made_larger(
    monkeypatch: pytest.MonkeyPatch, size: int, grown: list[int]
) -> None:
    blocks: list[int] = []

    def ioctl(_fd: int, request: int, argument: bytes) -> bytes:
        if request == growing._XFS_GEOMETRY:
            return growing._XFS_GEOM.pack(BLOCK, 25, 100)
        told, inodes = growing._XFS_GROWTH.unpack(argument)
        assert inodes == 25
        blocks.append(told)
        return argument

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    growing._grow_xfs(0, size)
    assert blocks == grown


def test_blocks_are_trimmed_once_the_deletions_are_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before that they are not free; told is what the filesystem says it gave."""
    done: list[str] = []

    def trim(_fd: int, request: int, argument: bytearray) -> None:
        assert request == growing._FITRIM
        done.append("trimmed")
        argument[:] = growing._FSTRIM_RANGE.pack(0, 5 * MIB, 0)

    monkeypatch.setattr(files, "sync_filesystem", lambda _: done.append("synced"))
    monkeypatch.setattr(fcntl, "ioctl", trim)
    assert growing.trim(tmp_path) == 5 * MIB
    assert done == ["synced", "trimmed"]


@pytest.mark.parametrize("most", [1 << 30, 1 << 36, 1 << 40])
def test_ext4_is_begun_no_larger_than_it_must_be(most: int) -> None:
    """To grow just so far as one that is begun with a size can, that size is enough."""
    first = growing.beginning("ext4", most)
    reached = growing.reach("ext4", first)
    assert reached >= most
    assert growing.beginning("ext4", reached) == first
