"""How much of a file is its own: counted by the kernel, on filesystems that share and do not."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from convoy_py.linux import extents, files, mounts, reflink, walk
from convoy_py.linux.descriptors import opened
from convoy_py.linux.extents import Shares

pytestmark = pytest.mark.root

KIB = 1 << 10
MIB = 1 << 20

MakeHost = Callable[[str], Path]


@pytest.mark.parametrize("fs", ["xfs", "btrfs"])
def test_writing_takes_blocks_out_of_the_share(fs: str, make_host: MakeHost) -> None:
    """A file shares nothing, its clone all; what is written anew is the writer's own."""
    host = make_host(fs)
    source, target = host / "source", host / "target"
    source.write_bytes(os.urandom(8 * MIB))
    assert shares(source) == Shares(8 * MIB, 0)
    clone(source, target)
    assert shares(source) == shares(target) == Shares(8 * MIB, 8 * MIB)
    with target.open("r+b") as file:
        file.seek(2 * MIB)
        file.write(os.urandom(3 * MIB))
    assert shares(target) == Shares(8 * MIB, 5 * MIB)


@pytest.mark.parametrize(
    ("fs", "options", "can"),
    [
        ("ext4", (), False),
        ("btrfs", (), True),
        ("xfs", (), True),
        ("xfs", ("-m", "reflink=0"), False),
    ],
)
def test_whether_files_can_share_is_known_without_a_try(
    fs: str, options: tuple[str, ...], can: bool, make_image: Callable[..., Path], scratch: Path
) -> None:
    """As of a snapshot that is mounted read-only."""
    image, folder = make_image(fs), scratch / "mounted"
    folder.mkdir()
    if options:
        subprocess.run(["mkfs.xfs", "-q", "-f", *options, image], check=True)
    subprocess.run(["mount", "-o", "loop,ro", image, folder], check=True)
    with opened(folder) as fd:
        assert extents.can_share(fd) == can


def test_file_of_many_extents_is_counted_to_its_end(make_host: MakeHost) -> None:
    """There are more than one answer of the kernel holds; holes are not among them."""
    path = make_host("ext4") / "file"
    with path.open("wb") as file:
        for number in range(1300):
            os.pwrite(file.fileno(), b"x" * 4096, number * 64 * KIB)
    assert shares(path) == Shares(1300 * 4096, 0)


def test_filesystem_that_does_not_tell_shares_nothing(scratch: Path) -> None:
    """Where there is no map of extents the allocated blocks are counted."""
    (scratch / "ram").mkdir()
    mounts.mount("tmpfs", scratch / "ram", "tmpfs", ())
    (scratch / "ram" / "file").write_bytes(b"x" * MIB)
    assert shares(scratch / "ram" / "file") == Shares(MIB, 0)


def test_tree_is_the_sum_of_its_files(make_host: MakeHost, scratch: Path) -> None:
    """Each file once; not what a link leads to, what is mounted inside, or what is no file."""
    host = make_host("xfs")
    tree, outside = host / "tree", host / "outside"
    (tree / "deep" / "deeper").mkdir(parents=True)
    outside.write_bytes(os.urandom(4 * MIB))
    (tree / "own").write_bytes(os.urandom(MIB))
    (tree / "deep" / "again").hardlink_to(tree / "own")
    (tree / "deep" / "link").symlink_to(outside)
    os.mkfifo(tree / "deep" / "fifo")
    clone(outside, tree / "deep" / "deeper" / "clone")
    (tree / "mounted").mkdir()
    (tree / "mounted" / "beneath").write_bytes(os.urandom(MIB))
    mounts.mount("tmpfs", tree / "mounted", "tmpfs", ())
    (tree / "mounted" / "file").write_bytes(b"x" * MIB)
    assert extents.tree_shares(tree) == Shares(5 * MIB, 4 * MIB)


def test_device_that_takes_the_place_of_a_file_is_not_opened(
    scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container may make one at any moment, and to open some devices does harm."""
    tree = scratch / "tree"
    tree.mkdir()
    (tree / "file").write_bytes(b"x" * MIB)
    seen = walk.every

    def swapped(position: walk.Walk) -> Iterator[tuple[str, os.stat_result]]:
        for name, found in seen(position):
            if name == "file":
                (tree / "file").unlink()
                os.mknod(tree / "file", 0o020600, os.makedev(60, 0))  # opens as ENXIO
            yield name, found

    monkeypatch.setattr(files, "every", swapped)
    assert extents.tree_shares(tree) == Shares(0, 0)


def shares(path: Path) -> Shares:
    with path.open("rb") as file:
        return extents.shares(file.fileno())


def clone(source: Path, target: Path) -> None:
    with source.open("rb") as original, target.open("wb") as copy:
        reflink.clone(original.fileno(), copy.fileno())
