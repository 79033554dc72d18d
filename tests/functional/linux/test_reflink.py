"""Copies of files on filesystems that can share blocks, and on those that cannot."""

import errno
import os
import random
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from convoy_py.linux import extents, files, fsxattr, loop, mounts, reflink

pytestmark = pytest.mark.root

MIB = 1 << 20

MakeHost = Callable[[str], Path]
AttachAndMount = Callable[..., loop.LoopDevice]


@pytest.fixture(autouse=True)
def nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test's filesystems are new, but the numbers of their devices may not be."""
    monkeypatch.setattr(reflink, "_support", {})


@pytest.mark.parametrize("fs", ["xfs", "btrfs"])
def test_hosts_with_reflinks_are_known(fs: str, make_host: MakeHost) -> None:
    """They say nothing, and nothing is left of the trial."""
    host = make_host(fs)
    assert reflink.support(host) is None
    assert list(host.iterdir()) == []


def test_hosts_without_reflinks_say_why(
    scratch: Path, make_host: MakeHost, attach_and_mount: AttachAndMount
) -> None:
    """The reason names the filesystem, and tells an xfs that was made so from one that was not."""
    assert reflink.support(make_host("ext4")) == "ext4 has no reflinks"
    ram = scratch / "ram"
    ram.mkdir()
    mounts.mount("ramfs", ram, "ramfs", ())
    assert reflink.support(ram) == "ramfs has no reflinks"
    assert list(ram.iterdir()) == []
    with (scratch / "image").open("wb") as file:
        file.truncate(320 * MIB)
    old = ("-s", "size=4096", "-m", "reflink=0")
    subprocess.run(["mkfs.xfs", "-q", *old, scratch / "image"], check=True)
    attach_and_mount("xfs", scratch / "image", scratch / "old")
    assert reflink.support(scratch / "old") == "this xfs was made without reflinks"


def test_answer_is_remembered(make_host: MakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second question, about any folder of the filesystem, tries nothing."""
    host = make_host("xfs")
    (host / "folder").mkdir()
    assert reflink.support(host) is None
    monkeypatch.setattr(reflink, "clone", None)
    assert reflink.support(host / "folder") is None


@pytest.mark.parametrize("fs", ["xfs", "btrfs"])
def test_clone_is_the_same_and_holds_the_same_blocks(fs: str, make_host: MakeHost) -> None:
    """Contents and size are those of the source, and stay when that is written to."""
    host = make_host(fs)
    data = os.urandom(8 * MIB)
    (host / "source").write_bytes(data)
    with (host / "source").open("r+b") as source, (host / "target").open("wb") as target:
        source.truncate(9 * MIB)
        reflink.clone(source.fileno(), target.fileno())
        found = extents.shares(target.fileno())
        assert found.allocated == found.shared == 8 * MIB
        source.write(bytes(MIB))
    assert (host / "target").read_bytes() == data + bytes(MIB)


def test_file_kept_in_pieces_stays_whole_though_written_all_over(make_host: MakeHost) -> None:
    """As do its clones; any other becomes about as many fragments as it has small writes."""
    host = make_host("xfs")
    places = random.Random(1).sample(range(512), 512)
    fragments = {}
    with ExitStack() as stack:
        kept, clone, other = (
            stack.enter_context((host / name).open("w+b", buffering=0)) for name in "kco"
        )
        reflink.keep_in_pieces(kept.fileno())
        reflink.clone(kept.fileno(), clone.fileno())
        for file in (kept, clone, other):
            for place in places:
                os.pwrite(file.fileno(), b"x" * 4096, place * 4096)
                os.fsync(file.fileno())
            fragments[file] = fsxattr.read(file.fileno()).extents
    assert fragments[kept] <= 8
    assert fragments[clone] <= 8
    assert fragments[other] > 100


@pytest.mark.parametrize("fs", ["ext4", "btrfs"])
def test_keeping_in_pieces_is_xfs_alone(fs: str, make_host: MakeHost) -> None:
    """Elsewhere it is no error, and does nothing."""
    with (make_host(fs) / "file").open("wb") as file:
        reflink.keep_in_pieces(file.fileno())


def test_clone_is_refused_where_there_are_none(make_host: MakeHost, scratch: Path) -> None:
    """Without reflinks, and from one filesystem to another."""
    for folder, number in ((make_host("ext4"), errno.EOPNOTSUPP), (make_host("xfs"), errno.EXDEV)):
        source = folder if number == errno.EOPNOTSUPP else scratch
        (source / "source").write_bytes(b"x")
        with (source / "source").open("rb") as file, (folder / "target").open("wb") as target:
            with pytest.raises(OSError, match=r".") as caught:
                reflink.clone(file.fileno(), target.fileno())
            assert caught.value.errno == number


def test_images_that_btrfs_overwrites_in_place_are_cloned(make_host: MakeHost) -> None:
    """And the clone is another of the kind, without which the two could not share."""
    host = make_host("btrfs")
    with (host / "source").open("w+b") as source, (host / "target").open("wb") as target:
        files.set_nocow(source.fileno())
        source.write(os.urandom(MIB))
        source.flush()
        reflink.clone(source.fileno(), target.fileno())
        assert files.is_nocow(target.fileno())
        assert extents.shares(target.fileno()).shared == MIB


@pytest.mark.parametrize(
    ("source_fs", "target_fs"),
    [("xfs", None), ("btrfs", None), ("ext4", None), ("ext4", "xfs"), ("xfs", "btrfs")],
)
def test_copy_keeps_contents_and_holes_wherever_it_goes(
    make_host: MakeHost, source_fs: str, target_fs: str | None
) -> None:
    """Within a filesystem, with reflinks or not, and from one to another."""
    source_host = make_host(source_fs)
    target_host = source_host if target_fs is None else make_host(target_fs)
    told: list[int] = []
    with (source_host / "source").open("wb") as file:
        for at in (0, 20 * MIB, 100 * MIB):
            file.seek(at)
            file.write(os.urandom(18 * MIB))
        file.truncate(200 * MIB + 5)
    with (source_host / "source").open("rb") as source, (target_host / "copy").open("wb") as target:
        reflink.copy(source.fileno(), target.fileno(), told.append)
        os.fsync(target.fileno())
        found = extents.shares(target.fileno())
    subprocess.run(["cmp", source_host / "source", target_host / "copy"], check=True)
    assert found.allocated == 54 * MIB
    assert found.shared == (54 * MIB if source_fs != "ext4" and target_fs is None else 0)
    assert sum(told) == 200 * MIB + 5


def test_large_copy_leaves_the_page_cache_to_others(make_host: MakeHost) -> None:
    """What was copied is on the disk and not in memory, but for the last part."""
    host = make_host("ext4")
    with (host / "source").open("wb") as file:
        for _ in range(100):
            file.write(os.urandom(MIB))
    with (host / "source").open("rb") as source, (host / "copy").open("wb") as target:
        reflink.copy(source.fileno(), target.fileno(), lambda _done: None)
    resident = subprocess.run(
        ["fincore", "-bnro", "RES", host / "copy"], check=True, capture_output=True
    )
    assert int(resident.stdout) < 64 * MIB
