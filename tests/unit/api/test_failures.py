"""How errors are told: one status per kind, one printable line per text."""

from collections.abc import Iterator

import pytest

from convoy_py import errors
from convoy_py.api.failures import STATUSES, result_of, tell
from convoy_py.errors import (
    ConvoyError,
    InUse,
    InvalidName,
    Kind,
    NoSpace,
    NotFound,
    VolumeInUse,
    VolumeNotFound,
)


def classes(base: type[ConvoyError]) -> Iterator[type[ConvoyError]]:
    yield base
    for derived in base.__subclasses__():
        yield from classes(derived)


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_has_a_status_of_an_error(kind: Kind) -> None:
    """A new kind cannot be forgotten."""
    assert 400 <= STATUSES[kind] <= 599


@pytest.mark.parametrize("error", list(classes(ConvoyError)), ids=lambda error: error.__name__)
def test_every_error_is_of_a_kind_in_the_table(error: type[ConvoyError]) -> None:
    """So every error that can be raised can be answered."""
    assert error.kind in STATUSES
    assert error.__module__ == errors.__name__


@pytest.mark.parametrize(
    ("error", "name", "text"),
    [
        (NoSpace("the host is full"), "db", "volume db: the host is full"),
        (VolumeNotFound("db"), "db", "no such volume: db"),
        (VolumeInUse("db", ["pid 42"]), "db", "volume db is in use by pid 42"),
        (NoSpace("a text with the letter a"), "a", "volume a: a text with the letter a"),
        (NoSpace("the host is full"), "", "the host is full"),
        (NoSpace("the host is full"), "db@nightly", "snapshot db@nightly: the host is full"),
        (InUse("db@nightly is mounted"), "db@nightly", "db@nightly is mounted"),
        (InUse("volume db@nightly is mounted"), "nightly", "volume db@nightly is mounted"),
        (VolumeNotFound("web"), "db,web", "no such volume: web"),
        (NoSpace("full"), "db,web", "volume db,web: full"),
        (NotFound("no such compose project: shop"), "shop", "no such compose project: shop"),
        (NoSpace("full"), "d\nb", "volume d b: full"),
        (
            RuntimeError("/etc/secret"),
            "db",
            "volume db: internal error; the daemon's log has the details",
        ),
    ],
)
def test_an_error_names_its_volume_once(error: Exception, name: str, text: str) -> None:
    """Docker leaves the name out of its own words."""
    assert tell(error, name) == text


@pytest.mark.parametrize("said", ["the engine is gone", "compose project shop: the engine is gone"])
def test_what_is_no_volume_is_called_what_it_is(said: str) -> None:
    """Once, as a volume is."""
    told = tell(NoSpace(said), "shop", "compose project shop")
    assert told == "compose project shop: the engine is gone"


def test_a_bad_name_is_told_once() -> None:
    """The name rule's own text has the name in quotes."""
    assert tell(InvalidName("-x"), "-x") == str(InvalidName("-x"))


def test_results_are_ok_a_kind_or_internal() -> None:
    """These are the values of the metric's label."""
    assert result_of(None) == "ok"
    assert result_of(VolumeNotFound("db")) == "not-found"
    assert result_of(KeyError("db")) == "internal"
