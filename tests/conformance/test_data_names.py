"""A record may name the data of its volume: then what else lies in the home is nobody's.

Knows no backend by name. Beside the data lies junk, under the name that it usually has.
"""

from contextlib import suppress
from dataclasses import replace

import pytest

from convoy_py.backends.base import Place, Resizable
from convoy_py.backends.imageable import Imageable
from convoy_py.errors import Corrupt, Unsupported
from convoy_py.linux import quota
from convoy_py.models.volume import Options
from tests.conformance.bed import MIB, NOW, Bed

pytestmark = pytest.mark.root


@pytest.fixture
def place(bed: Bed) -> Place:
    """A volume that was mounted and written, and whose record names its data."""
    place = bed.created()
    (bed.mounted(place) / "file").write_text("1")
    bed.unmounted(place)
    return bed.named(place)


def test_what_is_mounted_is_what_the_record_names(bed: Bed, place: Place) -> None:
    """And what is looked at: mounts, holders, usage, what can be read without a mount."""
    backend = bed.backend
    backend.check(place)
    assert (bed.mounted(place) / "file").read_text() == "1"
    assert backend.is_mounted(place)
    stranger = bed.leak()
    backend.unmount(place)
    assert str(stranger.pid) in " ".join(map(str, bed.holders(place)))
    stranger.end()
    bed.unmounted(place)
    bed.at_rest(place)
    assert backend.usage(place, NOW).sampled == NOW
    if (data := backend.data(place)) is not None:
        assert (data / "file").read_text() == "1"
    with bed.snapshots.writing(place) as folder:
        (folder / "more").touch()
    with bed.snapshots.reading(place) as folder:
        assert {path.name for path in folder.iterdir()} == {"file", "more"}
    bed.snapshots.shares(place)
    bed.at_rest(place)


def test_data_that_the_record_names_is_missed(bed: Bed, place: Place) -> None:
    """What has the usual name is not taken for it."""
    kept = bed.data(place).rename(place.home / "away")
    with pytest.raises(Corrupt, match="is missing"):
        bed.backend.check(place)
    kept.rename(bed.data(place))
    bed.backend.check(place)


def test_copies_are_of_it_and_have_the_usual_name(bed: Bed, place: Place) -> None:
    """Snapshots and clones, of a volume that is mounted or not."""
    snapshot = bed.snapshot(place)
    (bed.mounted(place) / "file").write_text("2")
    later = bed.snapshot(place, "later")
    bed.unmounted(place)
    clones = [bed.clone(source, name) for name, source in (("a", snapshot), ("b", place))]
    told = {"1": (snapshot, clones[0]), "2": (later, clones[1], place)}
    for content, copies in told.items():
        for copy in copies:
            assert (bed.mounted(copy) / "file").read_text() == content
            bed.unmounted(copy)
    assert {copy.data for copy in (snapshot, later, *clones)} == {None}
    bed.at_rest(clones[0])


def test_it_goes_back_and_keeps_its_name(bed: Bed, place: Place) -> None:
    snapshot = bed.snapshot(place)
    (bed.mounted(place) / "file").write_text("2")
    bed.unmounted(place)
    bed.rolled_back(place, snapshot)
    assert (bed.mounted(place) / "file").read_text() == "1"
    bed.unmounted(place)
    bed.at_rest(place)


def test_it_grows_and_gives_space_back(bed: Bed, place: Place) -> None:
    if not isinstance(bed.backend, Resizable) or place.spec.size is None:
        return
    place = bed.grown(place, place.spec.size + 256 * MIB)
    with suppress(Unsupported):
        bed.sizes.trim(place)
    assert (bed.remounted(place) / "file").read_text() == "1"
    bed.unmounted(place)
    bed.backend.check(place)
    bed.at_rest(place)


def test_it_is_recognised_and_adopted_by_its_name(bed: Bed, place: Place) -> None:
    """That a record of before has; without one what has the usual name counts."""
    assert bed.backend.recognises(place.home, place.data)
    bed.data(place).rename(place.home / "away")
    assert not bed.backend.recognises(place.home, place.data)
    assert bed.backend.recognises(place.home)
    (place.home / "away").rename(bed.data(place))
    beside = replace(place, mountpoint=place.mountpoint.with_name(".new-adopted"))
    spec = bed.backend.adopt(beside, Options())
    assert spec.mode == place.spec.mode
    adopted = replace(place, spec=spec)
    assert (bed.mounted(adopted) / "file").read_text() == "1"
    bed.unmounted(adopted)


def test_it_is_the_image(bed: Bed, place: Place) -> None:
    if isinstance(bed.backend, Imageable) and bed.images.image(place) is not None:
        assert bed.images.image(place) == bed.data(place)


def test_it_is_destroyed(bed: Bed, place: Place) -> None:
    """With its home, and what was a limit on it."""
    project = place.spec.project
    bed.backend.destroy(place)
    assert not place.home.exists()
    assert project is None or quota.usage(place.home.parent, project) == (0, 0)
