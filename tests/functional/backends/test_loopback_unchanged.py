"""Snapshots of a volume to which nobody wrote between them are told as that, and no others."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from convoy_py.backends import BACKENDS
from convoy_py.backends.base import Place
from convoy_py.linux import changes, filesystems, reflink
from convoy_py.models.filesystem import Filesystem
from convoy_py.models.volume import Options
from tests.conformance.bed import Bed, Case, uncounted
from tests.functional.backends.conftest import MakeBed

pytestmark = pytest.mark.root

_OWN = {"ext4": "set_inode_field /data/file uid 7", "xfs": "write core.uid 7"}


@pytest.fixture(params=[Filesystem.EXT4, Filesystem.XFS])
def bed(request: pytest.FixtureRequest, make_bed_on_xfs: MakeBed) -> Bed:
    options = Options(fs=request.param, size=filesystems.MINIMUM[request.param])
    return make_bed_on_xfs(Case("", BACKENDS["loopback"], "image", options))


def is_unchanged(bed: Bed, *snapshots: Place) -> bool:
    old, new = snapshots
    with (
        bed.snapshots.reading(old) as before,
        bed.snapshots.reading(new) as now,
        changes.of_images(before, now, bed.data(old), bed.data(new)) as hook,
    ):
        return hook is changes.unchanged


def cut_off(bed: Bed, place: Place) -> None:
    """The power of a mounted volume: what is left is the image as it is at this moment."""
    left = place.home / "left"
    with bed.data(place).open("rb") as image, left.open("wb") as copy:
        reflink.copy(image.fileno(), copy.fileno(), uncounted)
    bed.unmounted(place)
    left.rename(bed.data(place))


def _fsynced_and_cut_off(bed: Bed, place: Place) -> None:
    """Of the file only the journal tells, or the log."""
    with (bed.mounted(place) / "new").open("wb") as file:
        os.fsync(file.fileno())
    cut_off(bed, place)


def _changed_from_outside(bed: Bed, place: Place) -> None:
    """An owner, with all times as they were."""
    number = (bed.mounted(place) / "file").stat().st_ino
    bed.unmounted(place)
    own, image = _OWN[filesystems.identify(bed.data(place)) or ""], bed.data(place)
    command: list[str | Path] = ["debugfs", "-w", "-R", own, image]
    if own == _OWN["xfs"]:
        command = ["xfs_db", "-x", "-f", "-c", f"inode {number}", "-c", own, image]
    subprocess.run(command, check=True, capture_output=True)


def test_nothing_but_mounts_is_unchanged(bed: Bed) -> None:
    place = bed.created()
    (bed.mounted(place) / "file").write_bytes(b"data")
    snapshots = [bed.snapshot(place, "while it is mounted")]
    bed.unmounted(place)
    snapshots.append(bed.snapshot(place, "while it is not"))
    bed.remounted(place)
    snapshots.append(bed.snapshot(place, "when it was mounted again"))
    for number, newer in enumerate(snapshots[1:]):
        assert is_unchanged(bed, snapshots[number], newer), newer.name


@pytest.mark.parametrize("change", [_fsynced_and_cut_off, _changed_from_outside])
def test_changes_that_no_program_in_it_ended_are_seen(
    bed: Bed, change: Callable[[Bed, Place], None]
) -> None:
    place = bed.created()
    (bed.mounted(place) / "file").write_bytes(b"data")
    bed.unmounted(place)
    before = bed.snapshot(place, "before")
    change(bed, place)
    assert not is_unchanged(bed, before, bed.snapshot(place, "after"))
