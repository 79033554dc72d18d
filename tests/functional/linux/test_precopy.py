"""Clones that are made in pieces beside writers, and completed when these stand still."""

import os
import random
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from convoy_py.linux import btrfs, extents, files, fsxattr, precopy, reflink

pytestmark = pytest.mark.root

MIB, BLOCK = 1 << 20, 4096
SIZE = 40 * MIB + 5

MakeHost = Callable[[str], Path]


@pytest.fixture(params=["xfs", "btrfs"])
def host(request: pytest.FixtureRequest, make_host: MakeHost) -> Path:
    fs: str = request.param
    return make_host(fs)


@pytest.fixture
def source(host: Path) -> Iterator[int]:
    """A file with data, holes, what is reserved, and an end within a block."""
    with (host / "source").open("w+b", buffering=0) as file:
        reflink.keep_in_pieces(file.fileno())
        os.ftruncate(file.fileno(), SIZE)
        for at in (0, 8 * MIB, 39 * MIB):
            os.pwrite(file.fileno(), os.urandom(MIB + 5), at)
        os.posix_fallocate(file.fileno(), 20 * MIB, MIB)
        yield file.fileno()


@pytest.fixture
def target(host: Path) -> Iterator[int]:
    with (host / "target").open("w+b", buffering=0) as file:
        yield file.fileno()


def uncounted(count: int) -> None:
    assert count == 0


def change(host: Path, dice: random.Random) -> None:
    """Something small, all over: overwritten, written where there was a hole, given back."""
    with (host / "source").open("r+b", buffering=0) as file:
        for _ in range(20):
            os.pwrite(file.fileno(), os.urandom(BLOCK), dice.randrange(SIZE // BLOCK) * BLOCK)
    where = ("-o", str(dice.randrange(SIZE // BLOCK) * BLOCK), "-l", str(16 * BLOCK))
    subprocess.run(["fallocate", "-p", *where, host / "source"], check=True)


def test_completed_is_what_is_there_when_writers_stand_still(
    host: Path, source: int, target: int
) -> None:
    """Whatever was written between, and in, the pieces before; and all of it is shared."""
    dice = random.Random(1)
    for _ in range(4):
        precopy.advance(
            source, target, lambda _: change(host, dice) if dice.random() < 0.1 else None
        )
        change(host, dice)
    precopy.complete(source, target, uncounted)
    subprocess.run(["cmp", host / "source", host / "target"], check=True)
    found = extents.shares(target)
    assert found.shared == found.allocated > 0
    content = (host / "target").read_bytes()
    change(host, dice)
    assert (host / "target").read_bytes() == content


def test_what_is_in_memory_only_is_not_missed(host: Path, source: int, target: int) -> None:
    """Nobody asks the writers to sync."""
    os.fsync(source)
    precopy.advance(source, target, uncounted)
    os.pwrite(source, os.urandom(BLOCK), 8 * MIB)
    precopy.complete(source, target, uncounted)
    subprocess.run(["cmp", host / "source", host / "target"], check=True)


def test_target_follows_the_size_of_its_source(host: Path, source: int, target: int) -> None:
    """Also where it became shorter."""
    for size in (SIZE, 10 * MIB, SIZE + MIB):
        os.ftruncate(source, size)
        precopy.advance(source, target, uncounted)
        precopy.complete(source, target, uncounted)
        subprocess.run(["cmp", host / "source", host / "target"], check=True)


def test_target_gets_its_blocks_as_its_source_does(make_host: MakeHost) -> None:
    """In pieces on xfs; on btrfs in place, without which the two could not share."""
    for fs in ("xfs", "btrfs"):
        host = make_host(fs)
        with (host / "source").open("w+b") as source, (host / "target").open("w+b") as target:
            reflink.keep_in_pieces(source.fileno())
            if fs == "btrfs":
                files.set_nocow(source.fileno())
            os.pwrite(source.fileno(), os.urandom(2 * MIB), 0)
            precopy.advance(source.fileno(), target.fileno(), uncounted)
            if fs == "btrfs":
                assert files.is_nocow(target.fileno())
            else:
                assert fsxattr.read(target.fileno()).extent_size == 256 << 10


def test_it_can_be_stopped_between_two_pieces(host: Path, source: int, target: int) -> None:
    """And taken up again."""

    def stop(_: int) -> None:
        if extents.shares(target).allocated:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        precopy.advance(source, target, stop)
    assert 0 < extents.shares(target).allocated < extents.shares(source).allocated
    precopy.advance(source, target, uncounted)
    precopy.complete(source, target, uncounted)
    subprocess.run(["cmp", host / "source", host / "target"], check=True)


def test_btrfs_tells_what_differs_and_no_more(make_host: MakeHost) -> None:
    """Of many fragments, more than one look shows, those that were written since."""
    host, dice = make_host("btrfs"), random.Random(1)
    with (
        (host / "source").open("w+b", buffering=0) as source,
        (host / "target").open("w+b", buffering=0) as target,
    ):
        one, other = source.fileno(), target.fileno()
        places = [place * 2 * BLOCK for place in range(14_000)]
        for place in places:
            os.pwrite(one, b"x" * BLOCK, place)
        os.fsync(one)
        assert list(btrfs.differences(one, other)) == [(at, at + BLOCK) for at in places]
        reflink.clone(one, other)
        os.fsync(other)
        assert list(btrfs.differences(one, other)) == []
        written = sorted(dice.sample(places, 50))
        for place in written:
            os.pwrite(one, b"y" * BLOCK, place)
        os.fsync(one)
        assert list(btrfs.differences(one, other)) == [(at, at + BLOCK) for at in written]


def test_it_pays_for_large_files_where_blocks_can_be_compared(
    make_host: MakeHost, scratch: Path
) -> None:
    """Not for what lies within an inode, and not where nothing is shared."""
    for fs, size, pays in (
        ("xfs", MIB, True),
        ("btrfs", MIB, True),
        ("btrfs", 100, False),
        ("ext4", MIB, False),
    ):
        with (make_host(fs) / "file").open("w+b") as file:
            os.ftruncate(file.fileno(), size)
            assert precopy.pays(file.fileno()) is pays
