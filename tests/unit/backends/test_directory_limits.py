"""Limits of directories: bounded, changed, and what is too much for them."""

import pytest

from convoy_py.backends.directory import Directory, limits
from convoy_py.errors import InvalidOption, NoSpace, OperationFailed, Unsupported
from convoy_py.models.sizes import LARGEST
from convoy_py.models.volume import Spec
from tests.unit.backends.conftest import MakePlace, Quotas

MIB = 1 << 20


@pytest.fixture
def directory(place: MakePlace, quotas: Quotas) -> Directory:
    return Directory(place().home.parents[1])


def _spec(**spec: object) -> Spec:
    return Spec.model_validate({"backend": "directory", **spec})


def test_a_size_has_bounds() -> None:
    assert [limits.bounded(size) for size in (MIB, LARGEST)] == [MIB, LARGEST]
    for size in (MIB - 1, LARGEST + 1):
        with pytest.raises(InvalidOption, match="is outside of 1MiB to"):
            limits.bounded(size)


@pytest.mark.parametrize(
    ("size", "inodes", "spec", "told"),
    [
        (8, 3, {}, ""),
        (8, 3, {"size": 8, "inodes": 3}, ""),
        (8, None, {"inodes": 3}, ""),
        (9, 3, {"size": 8}, "holds 9, more than 8"),
        (8, 4, {"size": 8, "inodes": 3}, "holds 4 files, more than 3"),
    ],
)
def test_no_more_than_the_limits_goes_in(
    size: int, inodes: int | None, spec: dict[str, int], told: str
) -> None:
    def look() -> None:
        limits.refuse_more("volume db", size, inodes, _spec(**spec))

    if not told:
        look()
        return
    with pytest.raises(NoSpace, match=f"volume db {told}"):
        look()


def test_a_limit_rises_and_sinks(directory: Directory) -> None:
    """What it was is known until it is changed everywhere; its own size is no change."""
    spec = _spec(size=4 * MIB)
    assert directory.resized(spec, 4 * MIB) == spec
    smaller = directory.resized(spec, 2 * MIB)
    assert (smaller.size, smaller.grows_from) == (2 * MIB, 4 * MIB)
    again = directory.resized(smaller, 8 * MIB)
    assert (again.size, again.grows_from) == (8 * MIB, 4 * MIB)
    with pytest.raises(InvalidOption, match="outside of"):
        directory.resized(spec, MIB - 1)


@pytest.mark.parametrize(
    ("spec", "told"),
    [({"path": "/srv/x", "size": MIB}, "a host folder"), ({}, "convoy clone VOLUME NEW --size")],
)
def test_what_has_no_size_cannot_get_one(
    directory: Directory, spec: dict[str, object], told: str
) -> None:
    with pytest.raises(Unsupported, match=told):
        directory.resized(_spec(**spec), 2 * MIB)


@pytest.mark.parametrize(
    ("spec", "limit"),
    [
        ({"size": 8 * MIB, "project": 7}, {7: (8 * MIB, None)}),
        ({"size": 8 * MIB, "inodes": 3, "project": 7}, {7: (8 * MIB, 4)}),
        ({"inodes": 3, "project": 7}, {7: (None, 4)}),
        ({"size": 8 * MIB}, {"subvolume": (8 * MIB, None)}),
        ({"inodes": 3}, {}),
        ({"project": 7}, {}),
    ],
)
def test_a_limit_is_set_to_what_is_recorded(
    directory: Directory,
    place: MakePlace,
    quotas: Quotas,
    spec: dict[str, int],
    limit: dict[int | str, tuple[int | None, int | None]],
) -> None:
    """As long as it is no less than what is used; on the disk before a record says so."""
    wanted = place("v", **spec)
    (wanted.home / "data").mkdir()
    quotas.used = {7: (8 * MIB, 2), "subvolume": (8 * MIB, 0)}
    assert directory.grow(wanted)
    assert (quotas.limits, quotas.unsynced) == (limit, False)


@pytest.mark.parametrize(
    ("used", "works", "error", "told"),
    [
        (8 * MIB + 1, True, NoSpace, "volume v holds 8388609, more than 8MiB"),
        (8 * MIB, False, OperationFailed, "volume v cannot get another limit: No such process"),
    ],
)
def test_a_limit_that_cannot_be_is_as_it_was(
    directory: Directory,
    place: MakePlace,
    quotas: Quotas,
    *,
    used: int,
    works: bool,
    error: type[Exception],
    told: str,
) -> None:
    wanted = place("v", size=8 * MIB, project=7)
    (wanted.home / "data").mkdir()
    quotas.used, quotas.works = {7: (used, 2)}, works
    with pytest.raises(error, match=told):
        directory.grow(wanted)
    assert quotas.limits == {}
