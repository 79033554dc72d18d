"""How many files an image takes: what it was limited to, what growing adds, what is told of it."""

import itertools
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from convoy_py.backends import BACKENDS
from convoy_py.backends.base import Place
from convoy_py.errors import InvalidOption, Unsupported
from convoy_py.linux import filesystems
from convoy_py.models.filesystem import Filesystem
from convoy_py.models.volume import BLOCK, EXT4_GROUP, EXT4_OWN, Options
from tests.conformance.bed import MIB, Bed, Case
from tests.functional.backends.conftest import MakeBed

pytestmark = pytest.mark.root

# The sizes of the bed's images, and limits that they can have. An ext4 has so many inodes more as
# make a block of each group full, an xfs up to the next percent, which it counts per processor.
EXT4, XFS = 160 * MIB, 320 * MIB
COUNTED = 256
LIMITS = {Filesystem.EXT4: (1000, 1032), Filesystem.XFS: (7000, 2 * XFS // 100 // 512 + COUNTED)}


@pytest.fixture(params=list(LIMITS))
def limited(request: pytest.FixtureRequest, make_bed: MakeBed) -> Bed:
    """For volumes of the filesystems that have a limit."""
    fs: Filesystem = request.param
    options = Options(fs=fs, size=XFS if fs is Filesystem.XFS else EXT4, inodes=LIMITS[fs][0])
    return make_bed(Case("loopback", BACKENDS["loopback"], "image", options))


def _filled(folder: Path) -> int:
    """How many files there are, once there is no room for one more; they are empty."""
    there = len(os.listdir(folder))
    with pytest.raises(OSError, match="No space left"):
        _make_files(folder, itertools.count(there))
    return len(os.listdir(folder))


def _make_files(folder: Path, numbers: Iterable[int]) -> None:
    for number in numbers:
        (folder / f"file{number}").touch(exist_ok=False)


def _most(bed: Bed) -> tuple[int, int]:
    fs = bed.case.options.fs
    assert fs is not None
    return LIMITS[fs]


def test_as_many_files_as_were_asked_for(limited: Bed) -> None:
    """And hardly more, while there is room for their bytes; usage tells how many there are."""
    fewest, most = _most(limited)
    place = limited.created()
    seen = limited.mounted(place)
    files = _filled(seen)
    assert fewest <= files <= most
    usage = limited.backend.usage(place, 0.0)
    assert usage.inodes is not None
    assert usage.inodes_used is not None
    assert fewest <= usage.inodes <= most + 16
    assert files - COUNTED <= usage.inodes_used <= files + 16
    assert usage.inodes_available == usage.inodes - usage.inodes_used < COUNTED
    assert usage.available is not None
    assert usage.available > 50 * MIB


def test_the_limit_grows_with_the_image(limited: Bed) -> None:
    """Twice as large is twice as many: as the record says, and in truth."""
    fewest, most = _most(limited)
    place = limited.created()
    size = 2 * (place.spec.size or 0)
    wanted = replace(place, spec=limited.sizes.resized(place.spec, size))
    assert wanted.spec.inodes is not None
    assert wanted.spec.inodes >= 1.5 * fewest
    assert limited.sizes.grow(wanted)
    files = _filled(limited.mounted(wanted))
    assert wanted.spec.inodes <= files <= 2 * most


def test_clones_have_the_limit_too(limited: Bed) -> None:
    """A copy of the image is one where it is the same; another limit needs another filesystem."""
    fewest, most = _most(limited)
    place = limited.created()
    clone = limited.clone(place)
    assert clone.spec.inodes == fewest
    assert fewest <= _filled(limited.mounted(clone)) <= most
    larger = (place.spec.size or 0) * 2
    for size, inodes, same in (
        (place.spec.size, fewest + 500, False),
        (place.spec.size, None, False),
        (larger, fewest, False),
        (larger, place.spec.inodes_at(larger), True),
    ):
        spec = place.spec.model_copy(update={"size": size, "inodes": inodes})
        assert limited.snapshots.clones(place, spec) is same


@pytest.mark.parametrize(
    ("fs", "inodes", "said"),
    [
        (Filesystem.EXT4, 19, "outside of 20 to 40948, .*16 for each 128MiB; make it smaller"),
        (Filesystem.EXT4, EXT4 // 4096, "inodes 40960 is outside of 20 to 40948, what ext4 of 160"),
        (
            Filesystem.XFS,
            6000,
            r"outside of 6553 to 655360, what xfs .*whole percents.*use fs=ext4",
        ),
        (Filesystem.XFS, 700_000, "outside of 6553 to 655360"),
    ],
)
def test_what_cannot_be_held_is_refused(
    make_bed: MakeBed, fs: Filesystem, inodes: int, said: str
) -> None:
    """With the bounds."""
    size = XFS if fs is Filesystem.XFS else EXT4
    bed = make_bed(Case("loopback", BACKENDS["loopback"], "image", Options(fs=fs, size=size)))
    with pytest.raises(InvalidOption, match=said):
        bed.staged(inodes=inodes)


@pytest.mark.parametrize("inodes", [20, EXT4 // 4096 - 12])
def test_the_bounds_of_ext4(make_bed: MakeBed, inodes: int) -> None:
    """Fewest and most are made as they are told, and so is what growing adds."""
    options = Options(fs=Filesystem.EXT4, size=EXT4, inodes=inodes)
    bed = make_bed(Case("loopback", BACKENDS["loopback"], "image", options))
    place = bed.created()
    bed.mounted(place)
    usage = bed.backend.usage(place, 0.0)
    assert inodes <= (usage.inodes_available or 0) <= inodes + 32
    bed.unmounted(place)
    wanted = replace(place, spec=bed.sizes.resized(place.spec, 2 * EXT4))
    assert bed.sizes.grow(wanted)
    bed.mounted(wanted)
    usage = bed.backend.usage(wanted, 0.0)
    assert wanted.spec.inodes is not None
    assert wanted.spec.inodes <= (usage.inodes_available or 0) <= wanted.spec.inodes + 48


def test_btrfs_has_no_number_of_files(make_bed: MakeBed) -> None:
    """It is refused with the reason and the way around, and nothing is told."""
    options = Options(fs=Filesystem.BTRFS, size=EXT4)
    bed = make_bed(Case("loopback", BACKENDS["loopback"], "image", options))
    with pytest.raises(Unsupported, match="btrfs cannot limit the number of files; use fs=ext4"):
        bed.backend.resolve(options.model_copy(update={"inodes": 1000}))
    place = bed.created()
    bed.mounted(place)
    usage = bed.backend.usage(place, 0.0)
    assert (usage.inodes, usage.inodes_used, usage.inodes_available) == (None, None, None)


def test_directories_refuse_what_the_host_cannot_count(folders: Bed, allowed: Path) -> None:
    """So that another backend is chosen; a host folder has no limit at all."""
    for options, said in (
        (Options(inodes=10), "cannot limit inodes here .*; use backend=loopback"),
        (Options(inodes=10, path=str(allowed / "x")), "inodes"),
    ):
        with pytest.raises(Unsupported, match=said):
            folders.backend.resolve(options)


def test_directories_tell_what_the_host_has_left(
    folders: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they do of bytes; nothing, where the host has no number of them."""
    place: Place = folders.created()
    found = os.statvfs(folders.volumes)
    monkeypatch.setattr(os, "statvfs", lambda _: found)
    usage = folders.backend.usage(place, 0.0)
    assert (usage.inodes, usage.inodes_available) == (None, found.f_favail or None)


def test_the_figures_are_those_of_the_tools() -> None:
    """A spec knows how the inodes of an image grow, without knowing of filesystems."""
    assert filesystems.inode_bounds("ext4", EXT4_GROUP) == (16 - EXT4_OWN, 32768 - EXT4_OWN)
    assert filesystems.inode_bounds("ext4", EXT4_GROUP + 4096) == (32 - EXT4_OWN, 32769 - EXT4_OWN)
    assert filesystems.BLOCK == BLOCK
