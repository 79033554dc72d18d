"""What the contract says of images that are handed out as a file, and become volumes again.

Knows no backend by name. tests/conformance/test_suite_rejects.py shows what each test catches.
"""

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from convoy_py.backends.base import Place
from convoy_py.errors import Corrupt, Unsupported
from convoy_py.linux import filesystems
from convoy_py.models.filesystem import Filesystem
from tests.conformance.bed import MIB, Bed, Case
from tests.conformance.conftest import CASES
from tests.conformance.test_snapshots import furnish, portrait

pytestmark = pytest.mark.root

# A byte of what each superblock says of the filesystem, which its own checksum covers.
_TOLD = {"ext4": 0x400 + 0x0C, "xfs": 0x90, "btrfs": 0x10000 + 0x80}


@pytest.fixture(params=[case for case in CASES if case.data == "image"], ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Case:
    """Of those with the power."""
    found: Case = request.param
    return found


def handed_out(bed: Bed) -> tuple[Place, Path, dict[str, object]]:
    """A volume, its image, and what is to be seen in it."""
    place = bed.created()
    furnish(bed.mounted(place))
    seen = portrait(bed.backend.exposed(place))
    bed.unmounted(place)
    image = bed.images.image(place)
    assert image is not None
    return place, image, seen


def begun(bed: Bed, place: Place, image: Path, **options: object) -> Place:
    """Another one, to which the image was brought."""
    staged = bed.staged("again", **options)
    bed.images.suits(place.spec, staged.spec)
    into = bed.images.begin_image(staged, image.stat().st_size)
    assert into.stat().st_size == image.stat().st_size
    subprocess.run(
        ["dd", f"if={image}", f"of={into}", "bs=1M", "conv=notrunc,sparse", "status=none"],
        check=True,
    )
    return staged


def taken(bed: Bed, staged: Place) -> Place:
    spec = bed.images.take_image(staged)
    return bed.settled(replace(staged, spec=spec))


def test_an_image_becomes_a_volume_beside_the_one_that_it_is_of(bed: Bed) -> None:
    """All is in it; both are mounted at once; a reserved one has its blocks."""
    place, image, seen = handed_out(bed)
    again = taken(bed, begun(bed, place, image))
    bed.at_rest(again)
    into = bed.images.image(again)
    assert into is not None
    if place.spec.fs is Filesystem.BTRFS:  # by which the kernel tells devices of one apart
        assert _identity(into) != _identity(image)
    assert portrait(bed.mounted(again)) == seen
    (bed.backend.exposed(again) / "mine").touch()
    assert portrait(bed.mounted(place)) == seen
    bed.flush(again)
    if bed.backend.reserves(again.spec):
        assert bed.allocated(again) >= (again.spec.size or 0)
    for mounted in (again, place):
        bed.unmounted(mounted)
    for rested in (again, place):
        bed.at_rest(rested)


def _identity(image: Path) -> bytes:
    with image.open("rb") as file:
        file.seek(0x10020)
        return file.read(16)


def test_an_image_becomes_a_larger_volume(bed: Bed) -> None:
    place, image, seen = handed_out(bed)
    size = (place.spec.size or 0) + 256 * MIB
    again = taken(bed, begun(bed, place, image, size=size))
    assert (again.spec.size, again.spec.grows_from) == (size, None)
    bed.backend.check(again)
    assert portrait(bed.mounted(again)) == seen
    assert filesystems.space(bed.backend.exposed(again)).size > (place.spec.size or 0)
    bed.unmounted(again)
    bed.at_rest(again)


def spoilt(image: Path) -> None:
    """As chance does it, or somebody."""
    fs = filesystems.identify(image)
    assert fs is not None
    with image.open("r+b") as file:
        file.seek(_TOLD[fs])
        byte = file.read(1)
        file.seek(_TOLD[fs])
        file.write(bytes([byte[0] ^ 0x55]))


def never(*_: object) -> None:
    pytest.fail("it is mounted")


def zeroed(image: Path) -> None:
    with image.open("r+b") as file:
        file.write(bytes(MIB))


@pytest.mark.parametrize("harm", [spoilt, zeroed])
def test_a_damaged_image_is_refused_before_it_is_mounted(
    bed: Bed, harm: Callable[[Path], None]
) -> None:
    place, image, _ = handed_out(bed)
    staged = begun(bed, place, image)
    into = bed.images.image(staged)
    assert into is not None
    harm(into)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("convoy_py.linux.mounts.mount", never)
        with pytest.raises(Corrupt):
            bed.images.take_image(staged)
    bed.abandoned(staged)
    bed.at_rest(place)


def test_an_image_of_another_filesystem_is_refused_before_it_is_mounted(bed: Bed) -> None:
    place, image, _ = handed_out(bed)
    staged = begun(bed, place, image)
    others = [fs for fs in Filesystem if fs is not place.spec.fs]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("convoy_py.linux.mounts.mount", never)
        for fs in others:
            wrong = replace(staged, spec=staged.spec.model_copy(update={"fs": fs}))
            with pytest.raises(Corrupt, match=f"not {fs}"):
                bed.images.take_image(wrong)
    bed.abandoned(staged)


def test_what_an_image_cannot_become_is_refused(bed: Bed) -> None:
    spec = bed.resolved(bed.case.options)
    size = spec.size or 0
    bed.images.suits(spec, spec)
    bed.images.suits(spec, spec.model_copy(update={"size": 2 * size}))
    (fs, *_) = [fs for fs in Filesystem if fs is not spec.fs]
    for update in ({"size": size - MIB}, {"fs": fs}, {"inodes": 4096}):
        with pytest.raises(Unsupported):
            bed.images.suits(spec, spec.model_copy(update=update))
    far = replace(bed.staged(), spec=spec.model_copy(update={"size": filesystems.MAXIMUM[fs]}))
    bed.images.begin_image(far, size)
    with pytest.raises(Corrupt, match="no filesystem"):
        bed.images.take_image(far)
    bed.abandoned(far)


def test_a_snapshot_has_an_image_of_its_own_or_none(bed: Bed) -> None:
    """It is whole, and never its volume's; of what has none a clone has one."""
    place = bed.created()
    snapshot = bed.snapshot(place)
    image = bed.images.image(snapshot)
    if image is None:
        clone = bed.clone(snapshot)
        image = bed.images.image(clone)
    assert image is not None
    assert image != bed.images.image(place)
    assert place.spec.fs is not None
    filesystems.check(place.spec.fs, image)
