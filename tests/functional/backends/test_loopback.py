"""What only images on loop devices can meet."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from convoy_py.backends import BACKENDS
from convoy_py.errors import Conflict, ConvoyError, Corrupt, OperationFailed
from convoy_py.linux import filesystems, loop, mounts
from convoy_py.models.filesystem import Filesystem
from convoy_py.models.volume import Options, Spec
from tests.conformance.bed import MIB, Bed, Case, written
from tests.functional.backends.conftest import MakeBed

pytestmark = pytest.mark.root


def test_an_image_that_others_attached_is_refused(bed: Bed) -> None:
    """Two live filesystems on one image destroy it; it says which device, and how to detach it."""
    place = bed.created()
    argv = ["losetup", "-f", "--show", str(bed.data(place))]
    device = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()
    with pytest.raises(OperationFailed, match=rf"vol.*attached to {device}.*losetup -d {device}"):
        bed.mounted(place)
    assert bed.devices() == [device]
    assert mounts.below(bed.root) == []
    assert not bed.holders(place)
    assert bed.backend.unmount(place) is False  # or its data would be deleted under the device
    subprocess.run(["losetup", "-d", device], check=True)
    bed.mounted(place)
    bed.unmounted(place)
    bed.at_rest(place)


def test_a_device_is_ours_tagged_and_detaches_itself(bed: Bed) -> None:
    """With direct I/O where the host has it, and never without autoclear: a crash leaks none."""
    place = bed.created()
    bed.mounted(place)
    (attached,) = loop.find(bed.data(place))
    assert attached.tag == f"convoy:{place.uuid}"
    assert attached.autoclear
    assert attached.direct_io
    subprocess.run(["umount", place.mountpoint], check=True)
    bed.at_rest(place)


def test_the_filesystem_bears_the_volumes_id(bed: Bed) -> None:
    """So that an image can be told by what is in it."""
    place = bed.created()
    argv = ["blkid", "-p", "-o", "value", "-s", "UUID", str(bed.data(place))]
    found = subprocess.run(argv, check=True, capture_output=True, text=True)
    assert found.stdout.strip() == place.uuid


def test_a_foreign_image_is_adopted_whole(bed: Bed) -> None:
    """Made by someone else, its own root is what containers see, and nothing in it is changed."""
    place = bed.staged()
    fs, size = place.spec.fs, place.spec.size
    assert fs is not None
    assert size is not None
    image = bed.data(place)
    with image.open("wb") as file:
        file.truncate(size)
    filesystems.make(fs, image, size, uuid=place.uuid)
    place = bed.settled(replace(place, spec=Spec(backend=place.spec.backend)))
    spec = bed.backend.adopt(place, Options(fs=fs, size=size))
    assert (spec.fs, spec.size, spec.exposed) == (fs, size, ".")
    place = replace(place, spec=spec)
    seen = bed.mounted(place)
    assert seen.resolve() == place.mountpoint
    (seen / "file").write_text("there")
    assert (bed.remounted(place) / "file").read_text() == "there"
    bed.unmounted(place)
    bed.at_rest(place)


def test_an_image_is_adopted_as_what_it_is(bed: Bed) -> None:
    """Another filesystem or another size than was asked for is refused by name."""
    place = bed.created()
    other = Filesystem.XFS if place.spec.fs is not Filesystem.XFS else Filesystem.EXT4
    with pytest.raises(Conflict, match=f"fs is {place.spec.fs}, asked {other}"):
        bed.backend.adopt(place, Options(fs=other))
    with pytest.raises(Conflict, match=r"size is .*, asked 1GiB"):
        bed.backend.adopt(place, Options(size=2**30))


def test_a_damaged_image_is_not_adopted(bed: Bed) -> None:
    """It is looked over before it is mounted."""
    place = bed.created()
    with bed.data(place).open("r+b") as image:
        image.seek(128 * 1024 if place.spec.fs is Filesystem.BTRFS else 4096)
        image.write(b"\xaa" * (100 * MIB))
    with pytest.raises(Corrupt, match=f"vol.*{bed.data(place)}"):
        bed.backend.adopt(place, Options())
    bed.at_rest()


@pytest.mark.parametrize(
    ("argv", "size"),
    [
        (("mkfs.ext4", "-q", "-b", "1024"), 16 * MIB),
        (("mkfs.xfs", "-q", "-s", "size=512"), 320 * MIB),
    ],
)
def test_an_image_of_small_blocks_is_adopted(
    make_bed: MakeBed, argv: tuple[str, ...], size: int
) -> None:
    """What mkfs makes by itself of a small file; it is mounted as it is."""
    bed = make_bed(Case("loopback", BACKENDS["loopback"], "image"))
    place = bed.staged()
    with bed.data(place).open("wb") as file:
        file.truncate(size)
    subprocess.run([*argv, bed.data(place)], check=True)
    place = bed.settled(replace(place, spec=Spec(backend=place.spec.backend)))
    place = replace(place, spec=bed.backend.adopt(place, Options()))
    (bed.mounted(place) / "file").write_text("there")
    assert (bed.remounted(place) / "file").read_text() == "there"
    bed.unmounted(place)
    bed.at_rest(place)


def test_adopting_again_keeps_what_was_recorded(bed: Bed) -> None:
    """A sparse image that was written full is a sparse one still."""
    place = bed.created(sparse=True)
    with bed.data(place).open("r+b") as image:
        os.posix_fallocate(image.fileno(), 0, place.spec.size or 0)
    assert bed.backend.adopt(place, Options()).sparse is True


def test_an_image_without_a_superblock_is_not_mounted(bed: Bed) -> None:
    """The error names the command that looks at it; the image is left as it is."""
    place = bed.created()
    with bed.data(place).open("r+b") as image:
        image.write(bytes(128 * 1024))
    before = bed.data(place).read_bytes()[: 4 * MIB]
    with pytest.raises(Corrupt, match=rf"vol.*cannot be mounted.*{bed.data(place)}"):
        bed.mounted(place)
    bed.at_rest()
    assert bed.data(place).read_bytes()[: 4 * MIB] == before


def test_a_lost_data_folder_is_corrupt(bed: Bed) -> None:
    """What containers would see instead is the inside of the filesystem."""
    place = bed.created()
    (bed.mounted(place)).rmdir()
    with pytest.raises(Corrupt, match="folder data is missing"):
        bed.remounted(place)
    bed.at_rest(place)


def test_a_linked_image_is_not_followed(bed: Bed, tmp_path: Path) -> None:
    """Whoever can put a link into the root must not have another file mounted."""
    place = bed.created()
    bed.data(place).rename(tmp_path / "elsewhere")
    bed.data(place).symlink_to(tmp_path / "elsewhere")
    with pytest.raises((ConvoyError, OSError)):
        bed.mounted(place)
    bed.at_rest()


def test_deleted_data_is_discarded_by_itself(bed: Bed) -> None:
    """No fstrim is needed; ext4 and XFS do it with the next commit, btrfs when it has time."""
    place = bed.created()
    if place.spec.fs is Filesystem.BTRFS:
        bed.mounted(place)
        assert "discard=async" in bed.mount_options(place)
        return
    seen = bed.mounted(place)
    written(seen / "file", 16 * MIB)
    bed.flush(place)
    full = bed.data(place).stat().st_blocks * 512
    (seen / "file").unlink()
    bed.unmounted(place)
    assert full - bed.data(place).stat().st_blocks * 512 >= 12 * MIB


def test_a_reserved_volume_asks_for_no_discards(bed: Bed) -> None:
    """Its device would refuse them, and the kernel would log that at each mount."""
    place = bed.created(sparse=False)
    bed.mounted(place)
    assert {option.partition("=")[0] for option in bed.mount_options(place)} & {"discard"} == set()


@pytest.fixture
def dead_device(tmp_path: Path) -> Iterator[None]:
    """A loop device of someone else, whose file lies on a filesystem that has failed."""
    root, image = tmp_path / "dead", tmp_path / "dead.image"
    root.mkdir()
    _make_file(image)
    filesystems.make("xfs", image, filesystems.MINIMUM["xfs"], uuid=str(uuid4()))
    device, fd = _attached(image)
    with open(fd, "rb"):
        mounts.mount(device.path, root, "xfs", ())
    try:
        _make_file(root / "file")
        _, fd = _attached(root / "file")
        with open(fd, "rb"):
            subprocess.run(["xfs_io", "-x", "-c", "shutdown", root], check=True)
            yield
    finally:
        subprocess.run(["umount", root], check=True)


def _make_file(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(filesystems.MINIMUM["xfs"])


def _attached(path: Path) -> tuple[loop.LoopDevice, int]:
    with path.open("r+b") as file:
        return loop.attach(file.fileno(), tag="test-dead")


@pytest.mark.usefixtures("dead_device")
def test_a_device_on_a_dead_filesystem_disturbs_nobody(bed: Bed) -> None:
    """Images are looked up among all devices of the host, and some of those may be beyond help."""
    place = bed.created()
    bed.mounted(place)
    bed.unmounted(place)
    bed.at_rest(place)


def test_a_link_in_an_image_leads_nowhere(bed: Bed) -> None:
    """What lies in an image is its users': a link called data must not show the host's folders."""
    place = bed.created()
    subprocess.run(["mount", "-o", "loop", bed.data(place), _made(bed.root / "inside")], check=True)
    try:
        shutil.rmtree(bed.root / "inside/data")
        (bed.root / "inside/data").symlink_to("/etc")
    finally:
        subprocess.run(["umount", bed.root / "inside"], check=True)
    with pytest.raises(Corrupt, match=r"vol.*data is missing"):
        bed.mounted(place)
    bed.at_rest()
    spec = bed.backend.adopt(replace(place, spec=Spec(backend=place.spec.backend)), Options())
    assert spec.exposed == "."


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
