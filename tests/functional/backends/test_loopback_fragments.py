"""Images on an xfs, whose snapshots freeze writers for as long as there are fragments to share."""

import os
import random

import pytest

from convoy_py.backends import BACKENDS
from convoy_py.backends.base import Place
from convoy_py.linux import fsxattr
from convoy_py.models.filesystem import Filesystem
from convoy_py.models.volume import Options
from tests.conformance.bed import MIB, Bed, Case
from tests.functional.backends.conftest import MakeBed

pytestmark = pytest.mark.root

OPTIONS = Options(fs=Filesystem.EXT4, size=64 * MIB)


@pytest.fixture
def bed(make_bed_on_xfs: MakeBed) -> Bed:
    """For ext4 images on a host of xfs."""
    return make_bed_on_xfs(Case("", BACKENDS["loopback"], "image", OPTIONS))


def written_all_over(bed: Bed, place: Place) -> int:
    """The fragments of an image in whose filesystem a file was written in no order, synced."""
    with (bed.mounted(place) / "file").open("wb", buffering=0) as file:
        for number in random.Random(1).sample(range(2048), 2048):
            os.pwrite(file.fileno(), bytes(4096), number * 4096)
            os.fsync(file.fileno())
    bed.unmounted(place)
    with bed.data(place).open("rb") as image:
        return fsxattr.read(image.fileno()).extents


def test_an_image_and_its_clone_have_few_fragments(bed: Bed) -> None:
    """Though they are sparse and get thousands of small writes."""
    place = bed.created()
    clone = bed.clone(place)
    assert written_all_over(bed, place) < 200
    assert written_all_over(bed, clone) < 200
