"""What a backend has made, or put in another's place, is on the disk when it says so."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.bed import MIB, Bed, written
from tests.unsynced import Unsynced

pytestmark = pytest.mark.root


@pytest.fixture
def unsynced(bed: Bed) -> Iterator[Unsynced]:
    """Watches from the start of the test."""
    with pytest.MonkeyPatch.context() as patch:
        yield Unsynced(patch)


def _left(bed: Bed, unsynced: Unsynced, *homes: Path) -> set[str]:
    """What a power cut could undo, but for the names that it is for the engine to sync."""
    return unsynced.left(bed.root, bed.volumes, bed.root / "mounts", bed.run / "frozen", *homes)


def _early(bed: Bed, unsynced: Unsynced) -> list[str]:
    """What got its name too early; but for what a power cut takes in any case."""
    return [path for path in unsynced.early if not Path(path).is_relative_to(bed.run)]


def test_a_new_volume_survives_a_power_cut(bed: Bed, unsynced: Unsynced) -> None:
    """As soon as it can get its name."""
    place = bed.created(uid=1000, mode=0o750)
    assert (_left(bed, unsynced, place.home), _early(bed, unsynced)) == (set(), [])


@pytest.mark.parametrize("mounted", [True, False])
def test_snapshots_and_clones_survive_a_power_cut(
    bed: Bed, unsynced: Unsynced, *, mounted: bool
) -> None:
    """With all that had been written to the volume."""
    place = bed.created()
    written(bed.mounted(place) / "file", MIB)
    if not mounted:
        bed.unmounted(place)
    snapshot = bed.snapshot(place)
    clones = [bed.clone(source, f"c{number}") for number, source in enumerate((place, snapshot))]
    homes = [each.home for each in (place, snapshot, *clones)]
    assert (_left(bed, unsynced, snapshot.home.parent, *homes), _early(bed, unsynced)) == (
        set(),
        [],
    )


@pytest.mark.parametrize("mounted", [True, False])
def test_a_rollback_survives_a_power_cut(bed: Bed, unsynced: Unsynced, *, mounted: bool) -> None:
    """Also while the snapshot is mounted, so that no unmount brings it to the disk."""
    place = bed.created()
    written(bed.mounted(place) / "file", MIB)
    snapshot = bed.snapshot(place)
    (bed.backend.exposed(place) / "file").unlink()
    bed.unmounted(place)
    if mounted:
        bed.mounted(snapshot)
    unsynced.forget()
    bed.rolled_back(place, snapshot)
    assert (_left(bed, unsynced), _early(bed, unsynced)) == (set(), [])
    assert (bed.mounted(place) / "file").stat().st_size == MIB
