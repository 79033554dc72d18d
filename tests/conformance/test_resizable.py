"""What the contract says of growing and trimming, on every filesystem.

Knows no backend by name. tests/conformance/test_suite_rejects.py shows what each test catches.
"""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from convoy_py.backends.base import Place
from convoy_py.errors import Corrupt, Invalid, NoSpace, Unsupported
from convoy_py.linux import filesystems
from tests.conformance.bed import MIB, Bed, Case, written
from tests.conformance.conftest import CASES

pytestmark = pytest.mark.root


@pytest.fixture(params=[case for case in CASES if case.is_resizable], ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Case:
    """Of those with the power."""
    found: Case = request.param
    return found


def test_a_mounted_volume_grows_or_says_when(bed: Bed) -> None:
    """At once, or with the next mount and the reason; what was in it stays, also while it is
    written."""
    place = limited(bed)
    if place is None:
        return
    seen = bed.mounted(place)
    written(seen / "file", MIB)
    content = (seen / "file").read_bytes()
    size, offered = least(place), room(bed, place)
    wanted = replace(place, spec=bed.sizes.resized(place.spec, 2 * size))
    delay = bed.sizes.delay(wanted)
    with (seen / "open").open("wb") as file:
        assert bed.sizes.grow(wanted) is (delay == "")
        os.posix_fallocate(file.fileno(), 0, MIB)
    bed.backend.check(wanted)
    if delay:
        assert room(bed, place) == offered
        seen = bed.remounted(wanted)
    grown = replace(wanted, spec=wanted.spec.model_copy(update={"grows_from": None}))
    assert room(bed, grown) >= offered + size * 3 // 4
    with (seen / "big").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, size * 5 // 4)
    assert (bed.remounted(grown) / "file").read_bytes() == content
    assert bed.sizes.delay(grown) == delay
    bed.unmounted(grown)
    assert bed.sizes.delay(grown) == ""
    bed.at_rest(grown)


def test_a_volume_grows_while_nobody_uses_it(bed: Bed) -> None:
    """It is sound and whole before it is mounted again; a second time there is nothing to do."""
    place = limited(bed)
    if place is None:
        return
    (bed.mounted(place) / "file").write_text("kept")
    offered = room(bed, place)
    bed.unmounted(place)
    place = replace(place, spec=bed.sizes.resized(place.spec, 2 * least(place)))
    for _ in range(2):
        assert bed.sizes.grow(place) is True
        bed.at_rest(place)
    place = replace(place, spec=place.spec.model_copy(update={"grows_from": None}))
    bed.backend.check(place)
    assert (bed.mounted(place) / "file").read_text() == "kept"
    assert room(bed, place) >= offered * 3 // 2
    if place.spec.sparse is False:
        assert bed.allocated(place) >= least(place)


@pytest.mark.parametrize("part", [0.0, 0.5, 1.0])
def test_growing_that_was_cut_off_is_completed_by_the_mount(bed: Bed, part: float) -> None:
    """Wherever the image's end had come to; until then it counts as sound, and it can be copied."""
    place = limited(bed)
    if place is None:
        return
    (bed.mounted(place) / "file").write_text("kept")
    offered = room(bed, place)
    bed.unmounted(place)
    size = least(place)
    place = replace(place, spec=bed.sizes.resized(place.spec, 2 * size))
    if bed.data(place).is_file():
        os.truncate(bed.data(place), size + int(size * part) // 4096 * 4096)
    bed.backend.check(place)
    copies = [bed.snapshot(place), bed.clone(place)] if part == 0.5 else []
    for one in (place, *copies):
        assert (bed.mounted(one) / "file").read_text() == "kept"
        assert one.within or room(bed, one) >= offered * 3 // 2
    for one in (place, *copies):
        bed.unmounted(one)
    for one in (place, *copies):
        bed.at_rest(one)


def test_a_limit_never_sinks_below_the_data(bed: Bed) -> None:
    """It is as it was then; down to the data it may sink, where it is a limit and no image."""
    place = limited(bed)
    if place is None or bed.data(place).is_file():
        return
    written(bed.mounted(place) / "file", 8 * MIB)
    bed.flush(place)
    with pytest.raises(NoSpace, match=r"vol holds .*, more than 4MiB"):
        bed.sizes.grow(replace(place, spec=bed.sizes.resized(place.spec, 4 * MIB)))
    written(bed.backend.exposed(place) / "more", 8 * MIB)
    bed.flush(place)
    bed.sizes.grow(replace(place, spec=bed.sizes.resized(place.spec, 20 * MIB)))
    with pytest.raises(OSError, match="quota exceeded"):
        written(bed.backend.exposed(place) / "too much", 8 * MIB)


def test_an_image_of_another_size_is_damaged(bed: Bed) -> None:
    """Shorter than before it was to grow, or longer than it should become."""
    place = limited(bed)
    if place is None or not bed.data(place).is_file():
        return
    size = least(place)
    place = replace(place, spec=bed.sizes.resized(place.spec, 2 * size))
    for wrong in (size - 4096, 2 * size + 4096):
        os.truncate(bed.data(place), wrong)
        with pytest.raises(Corrupt, match="vol"):
            bed.backend.check(place)


def test_sizes_that_cannot_be_are_refused_with_the_way_around(bed: Bed) -> None:
    """A smaller image is a clone of the files, a limit may sink to what is used; the same size is
    no change."""
    place = limited(bed)
    if place is None:
        with pytest.raises(Unsupported, match="convoy clone"):
            bed.sizes.resized(bed.created("other").spec, 512 * MIB)
        return
    size = least(place)
    assert bed.sizes.resized(place.spec, size) == place.spec
    with pytest.raises(Invalid, match="outside of"):
        bed.sizes.resized(place.spec, 1)
    if bed.data(place).is_file():
        with pytest.raises(Unsupported, match=r"cannot shrink.*convoy clone"):
            bed.sizes.resized(place.spec, size - 4096)
    pending = bed.sizes.resized(place.spec, 2 * size)
    assert bed.sizes.resized(pending, 3 * size).grows_from == size


def test_trimming_gives_free_blocks_back(bed: Bed) -> None:
    """Of a sparse image, mounted or not; what keeps its blocks, or has none, says why not."""
    place = bed.created()
    if place.spec.sparse is not True:
        with pytest.raises(Unsupported, match=r"vol.*(reserved|fstrim)"):
            bed.sizes.trim(place)
        return
    written(bed.mounted(place) / "file", 4 * MIB)
    bed.unmounted(place)
    size = least(place)
    for mounted in (False, True):
        if mounted:
            bed.mounted(place)
        with bed.data(place).open("r+b") as image:
            os.posix_fallocate(image.fileno(), 0, size)
        full = bed.allocated(place)
        assert bed.sizes.trim(place) > 0
        assert full - bed.allocated(place) >= size // 4
    assert (bed.backend.exposed(place) / "file").stat().st_size == 4 * MIB
    bed.unmounted(place)
    bed.at_rest(place)


def limited(bed: Bed) -> Place | None:
    """A volume with a size; None where the host cannot enforce one."""
    if bed.host.fs not in bed.case.limited_on:
        return None
    return bed.created(size=bed.case.options.size or 64 * MIB)


def least(place: Place) -> int:
    assert place.spec.size is not None
    return place.spec.size


def room(bed: Bed, place: Place) -> int:
    """Bytes that a mounted volume offers in all."""
    if bed.data(place).is_file():
        return filesystems.space(seen(bed, place)).size
    size = bed.backend.usage(place, 0.0).size
    assert size is not None
    return size


def seen(bed: Bed, place: Place) -> Path:
    return bed.backend.exposed(place)
