"""What only snapshots and clones of images can meet."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from convoy_py.backends.base import Place
from convoy_py.errors import OperationFailed, Unsupported
from convoy_py.linux import btrfs, filesystems, loop
from convoy_py.models.filesystem import Filesystem
from convoy_py.models.snapshot import Way
from convoy_py.models.volume import Options, Spec
from tests.conformance.bed import MIB, Bed, written

pytestmark = pytest.mark.root


@pytest.fixture
def inside(bed: Bed) -> Bed:
    """For volumes whose snapshots lie inside."""
    bed.case = replace(bed.case, options=Options(fs=Filesystem.BTRFS, size=160 * MIB))
    return bed


def top(bed: Bed, place: Place) -> Path:
    """The top of the filesystem of a volume, which it mounts."""
    bed.mounted(place)
    return place.mountpoint


def foreign(bed: Bed) -> Place:
    """A volume adopted with a btrfs that someone else made."""
    place = bed.staged()
    with bed.data(place).open("wb") as file:
        file.truncate(160 * MIB)
    filesystems.make("btrfs", bed.data(place), 160 * MIB, uuid=place.uuid)
    place = bed.settled(replace(place, spec=Spec(backend=place.spec.backend)))
    return replace(place, spec=bed.backend.adopt(place, Options()))


def test_a_snapshot_of_its_own_is_on_a_device_nobody_writes_to(bed: Bed) -> None:
    """Nor could a mistake of ours, and it is known by its own tag."""
    place = bed.created()
    snapshot = bed.snapshot(place)
    bed.mounted(snapshot)
    if place.spec.fs is Filesystem.BTRFS:
        (attached,) = loop.find(bed.data(place))
        assert [path.name for path in snapshot.home.iterdir()] == ["snapshot.json"]
        return
    (attached,) = loop.find(bed.data(snapshot))
    assert attached.tag == f"convoy:{snapshot.uuid}"
    assert Path(f"/sys/block/loop{attached.device.number}/ro").read_text() == "1\n"


def test_a_clone_can_be_told_by_its_id(bed: Bed) -> None:
    """Where two alike cannot be mounted together; that of a clone is its own."""
    place = bed.created()
    clone = bed.clone(place)
    bed.mounted(place)
    bed.mounted(clone)
    argv = ["btrfs", "filesystem", "show", "--raw", str(clone.mountpoint)]
    if place.spec.fs is Filesystem.BTRFS:
        found = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
        assert clone.uuid in found
        assert place.uuid not in found


def test_what_a_clone_cannot_be_is_told_beforehand(bed: Bed) -> None:
    """Its files are copied then: into another filesystem, a smaller one, or one too large."""
    place = bed.created()
    snapshot = bed.snapshot(place)
    size = place.spec.size
    assert size is not None
    other = Filesystem.EXT4 if place.spec.fs is not Filesystem.EXT4 else Filesystem.XFS
    for source in (place, snapshot):
        for wanted, possible in (
            ({}, True),
            ({"size": 2 * size}, True),
            ({"size": size - 4096}, False),
            ({"fs": other}, False),
            ({"backend": "directory"}, False),
            ({"size": 14 * 2**40}, place.spec.fs is Filesystem.BTRFS),
        ):
            spec = place.spec.model_copy(update=wanted)
            assert bed.snapshots.clones(source, spec) is possible, wanted


def test_a_filesystem_live_out_of_sight_is_not_copied(bed: Bed) -> None:
    """Whoever has it writes on meanwhile; the device is named, and nothing is left."""
    place = bed.created()
    bed.detached()  # others of this host may look at its device for a moment
    with bed.data(place).open("r+b") as image:
        device, fd = loop.attach(image.fileno(), tag=f"convoy:{place.uuid}")
        with open(fd, "rb"), pytest.raises(OperationFailed, match=rf"vol.*live on {device.path}"):
            bed.clone(place)
    bed.at_rest(place)
    assert [path.name for path in bed.volumes.iterdir()] == ["vol"]


def test_a_volume_that_was_cut_off_is_cloned_whole(bed: Bed, tmp_path: Path) -> None:
    """What a power cut left in the journal is in the clone, as it is in the volume."""
    place = bed.created()
    seen = bed.mounted(place)
    written(seen / "file", MIB)
    content = (seen / "file").read_bytes()
    shutil.copy(bed.data(place), tmp_path / "cut")
    bed.unmounted(place)
    (tmp_path / "cut").rename(bed.data(place))
    clone = bed.clone(place)
    for one in (clone, place):
        assert (bed.mounted(one) / "file").read_bytes() == content
        bed.unmounted(one)
    bed.at_rest(clone)


def test_what_a_rollback_left_is_swept_by_the_mount(inside: Bed) -> None:
    """The data of before, or a copy that was not used."""
    place = inside.created()
    btrfs.create_subvolume(top(inside, place) / ".new-0123456789abcdef")
    inside.remounted(place)
    assert {path.name for path in place.mountpoint.iterdir()} == {"data"}
    inside.unmounted(place)
    inside.at_rest(place)


def test_what_lies_in_a_foreign_image_is_not_ours_to_sweep(inside: Bed) -> None:
    """Whatever it is called; it has no snapshots, but its files can be cloned."""
    place = foreign(inside)
    mine = inside.mounted(place) / ".new-0123456789abcdef"
    btrfs.create_subvolume(mine)
    inside.remounted(place)
    assert mine.is_dir()
    for refused in (inside.snapshots.plan, inside.snapshot):
        with pytest.raises(Unsupported, match=r"volume vol.*convoy clone"):
            refused(place)
    assert not inside.snapshots.clones(place, place.spec)


def test_an_image_of_ours_is_adopted_with_its_snapshots(inside: Bed) -> None:
    """They are no reason to take it for someone else's."""
    place = inside.created()
    (inside.mounted(place) / "file").write_text("before")
    snapshot = inside.snapshot(place)
    inside.unmounted(place)
    place = replace(place, spec=Spec(backend=place.spec.backend))
    place = replace(place, spec=inside.backend.adopt(place, Options()))
    assert place.spec.exposed == "data"
    assert (inside.mounted(place) / "file").read_text() == "before"
    assert (inside.mounted(replace(snapshot, within=place)) / "file").read_text() == "before"


def test_a_volume_that_is_mounted_read_only_is_snapshotted(inside: Bed) -> None:
    """Its mount does not change, and stays read-only for containers."""
    place = inside.created(mount_options=("ro",))
    seen = inside.mounted(place)
    inside.mounted(inside.snapshot(place))
    with pytest.raises(OSError, match="Read-only"):
        (seen / "file").touch()
    assert {"ro"} <= inside.mount_options(place)


def test_a_clone_has_none_of_the_snapshots(inside: Bed) -> None:
    """Nor what keeps their space."""
    place = inside.created()
    inside.mounted(place)
    snapshot = inside.snapshot(place)
    for source in (place, snapshot):
        clone = inside.clone(source, f"of-{source.name.partition('@')[2]}")
        assert {path.name for path in top(inside, clone).iterdir()} == {"data"}


def test_a_snapshot_of_a_lost_volume_is_withdrawn(inside: Bed) -> None:
    """It went with the image."""
    place = inside.created()
    snapshot = inside.snapshot(place)
    inside.data(place).unlink()
    inside.snapshots.withdraw(snapshot)


def test_a_rollback_that_failed_changes_nothing(
    inside: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy of before it could take effect is gone with the next mount."""
    place = inside.created()
    (inside.mounted(place) / "file").write_text("before")
    snapshot = inside.snapshot(place)
    (inside.backend.exposed(place) / "file").write_text("now")
    inside.unmounted(place)

    def fail(one: Path, other: Path) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr("convoy_py.linux.files.exchange", fail)
        with pytest.raises(OSError, match="Input/output"):
            inside.rolled_back(place, snapshot)
    inside.at_rest(place)
    assert (inside.mounted(place) / "file").read_text() == "now"
    assert {path.name for path in place.mountpoint.iterdir()} == {"data", "snapshots"}


def test_a_reserved_clone_is_announced_as_a_copy(bed: Bed) -> None:
    """On a host with reflinks too: what is promised cannot be shared."""
    place = bed.created(sparse=False)
    assert bed.snapshots.plan(place, clone=True).way is Way.COPY
    clone = bed.clone(place)
    assert bed.data(clone).stat().st_blocks * 512 >= (place.spec.size or 0)
