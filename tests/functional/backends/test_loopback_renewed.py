"""A fresh inode for an image that another host has mounted still: neither reaches the other's data.

The other host is another mount of the old image, on a device of its own.
"""

import hashlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from convoy_py.backends import BACKENDS
from convoy_py.backends.base import Place
from convoy_py.errors import Unsupported
from convoy_py.linux import filesystems, reflink, shutdown
from convoy_py.models.filesystem import Filesystem
from convoy_py.models.volume import Options
from tests.conformance.bed import MIB, Bed, Case
from tests.functional.backends.conftest import MakeBed

pytestmark = pytest.mark.root

FILES = 150


@pytest.fixture(params=[Filesystem.EXT4, Filesystem.XFS])
def fs(request: pytest.FixtureRequest) -> Filesystem:
    found: Filesystem = request.param
    return found


@pytest.fixture(params=["copied", "shared"])
def bed(
    request: pytest.FixtureRequest, fs: Filesystem, make_bed: MakeBed, make_bed_on_xfs: MakeBed
) -> Bed:
    """On a host where blocks are copied, or shared."""
    options = Options(fs=fs, size=filesystems.MINIMUM[fs] + 48 * MIB)
    make = make_bed if request.param == "copied" else make_bed_on_xfs
    return make(Case("loopback", BACKENDS["loopback"], "image", options))


def elsewhere(place: Place) -> Place:
    """The same volume, as another host has it."""
    return replace(place, mountpoint=place.mountpoint.with_name("elsewhere"))


def write(folder: Path, whose: str) -> dict[str, str]:
    """Write files, each acknowledged before the next; their checksums."""
    sums = {}
    for number in range(FILES):
        name, content = f"{whose}-{number}", os.urandom(9000)
        with (folder / name).open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        sums[name] = hashlib.sha256(content).hexdigest()
    return sums


def lost(folder: Path, sums: dict[str, str]) -> list[str]:
    """Which of the files are missing, or are others."""
    gone = []
    for name, known in sums.items():
        found = ""
        with suppress(OSError):
            found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        if found != known:
            gone.append(name)
    return gone


def test_neither_of_two_hosts_reaches_the_others_data(bed: Bed) -> None:
    """What both had is in both; what a late writer wrote is in the snapshot, and only there."""
    place = bed.created()
    zombie = elsewhere(place)
    seen = bed.mounted(zombie)
    early = write(seen, "early")
    place, kept = bed.renewed(place)
    after = bed.mounted(place)
    assert lost(after, early) == []
    successor = write(after, "successor")
    late = write(seen, "late")
    bed.unmounted(place)
    bed.unmounted(zombie)
    at = bed.mounted(place)
    assert lost(at, {**early, **successor}) == []
    assert not list(at.glob("late-*"))
    bed.unmounted(place)
    filesystems.check(place.spec.fs or "", bed.data(place))
    at = bed.mounted(kept)
    assert lost(at, {**early, **late}) == []
    assert not list(at.glob("successor-*"))
    bed.unmounted(kept)
    bed.at_rest(place)


@pytest.mark.parametrize("fs", [Filesystem.EXT4], indirect=True)
def test_without_a_fresh_inode_the_successor_loses_data(bed: Bed) -> None:
    """The same on the same inode: else the test before would show nothing."""
    place = bed.created()
    zombie = elsewhere(place)
    seen = bed.mounted(zombie)
    early = write(seen, "early")
    with attached_again(bed, place) as after:
        assert lost(after / "data", early) == []
        successor = write(after / "data", "successor")
        write(seen, "late")
    with suppress(OSError):
        bed.unmounted(zombie)
    with attached_again(bed, place) as after:
        assert lost(after / "data", successor)


@contextmanager
def attached_again(bed: Bed, place: Place) -> Iterator[Path]:
    """The image mounted once more, as a host does that cannot know that it is mounted."""
    folder = bed.root / "again"
    folder.mkdir(exist_ok=True)
    losetup = ["losetup", "-f", "--show", str(bed.data(place))]
    found = subprocess.run(losetup, check=True, capture_output=True, text=True)
    device = found.stdout.strip()
    try:
        subprocess.run(["mount", device, folder], check=True)
        try:
            yield folder
        finally:
            subprocess.run(["umount", folder], check=True)
    finally:
        subprocess.run(["losetup", "-d", device], check=True)


def test_a_snapshot_of_what_was_ended_on_the_spot_is_replayed(bed: Bed) -> None:
    """What its host had acknowledged is in it, though only its journal tells."""
    place = bed.created()
    zombie = elsewhere(place)
    seen = bed.mounted(zombie)
    place, kept = bed.renewed(place)
    late = write(seen, "late")
    shutdown.shut_down(zombie.mountpoint)
    bed.unmounted(zombie)
    for _ in range(2):
        at = bed.mounted(kept)
        assert "ro" in bed.mount_options(kept)
        assert lost(at, late) == []
        bed.unmounted(kept)
    clone = bed.clone(kept)
    assert lost(bed.mounted(clone), late) == []
    bed.unmounted(clone)
    bed.deleted(kept)
    assert list((place.home / "snapshots").iterdir()) == []
    bed.at_rest(place)


def test_the_copy_has_what_the_journal_of_the_old_one_tells(bed: Bed) -> None:
    """All that was acknowledged before, by a host that is gone."""
    place = bed.created()
    zombie = elsewhere(place)
    early = write(bed.mounted(zombie), "early")
    shutdown.shut_down(zombie.mountpoint)
    bed.unmounted(zombie)
    place, _ = bed.renewed(place)
    assert lost(bed.mounted(place), early) == []
    bed.unmounted(place)
    bed.at_rest(place)


def test_holes_stay_and_reserved_blocks_are_its_own(make_bed_on_xfs: MakeBed) -> None:
    """A copy takes no more than it has to, and what was promised is kept."""
    for sparse in (True, False):
        options = Options(fs=Filesystem.EXT4, size=96 * MIB, sparse=sparse)
        bed = make_bed_on_xfs(Case("loopback", BACKENDS["loopback"], "image", options))
        place = bed.created()
        before = bed.data(place).stat()
        place, kept = bed.renewed(place)
        now = bed.data(place).stat()
        assert now.st_size == before.st_size
        assert (now.st_blocks * 512 >= now.st_size) is not sparse
        shares = bed.snapshots.shares(place)
        assert shares is not None
        assert bool(shares.shared) is sparse
        assert kept.spec.sparse is sparse


def test_holes_stay_where_blocks_are_copied(make_bed: MakeBed) -> None:
    options = Options(fs=Filesystem.EXT4, size=640 * MIB)
    bed = make_bed(Case("loopback", BACKENDS["loopback"], "image", options))
    assert reflink.support(bed.root) is not None
    place = bed.created()
    before = bed.data(place).stat().st_blocks
    place, _ = bed.renewed(place)
    assert bed.data(place).stat().st_blocks <= before + 256
    bed.mounted(place)
    bed.unmounted(place)
    bed.at_rest(place)


def test_a_btrfs_image_is_refused(make_bed: MakeBed) -> None:
    """With all as it was."""
    options = Options(fs=Filesystem.BTRFS, size=filesystems.MINIMUM[Filesystem.BTRFS])
    bed = make_bed(Case("loopback", BACKENDS["loopback"], "image", options))
    place = bed.created()
    with pytest.raises(Unsupported, match="has its snapshots inside"):
        bed.renewed(place)
    bed.mounted(place)
    bed.unmounted(place)
    bed.at_rest(place)
