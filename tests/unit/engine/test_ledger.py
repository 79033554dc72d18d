"""Space is promised to images only as far as the host and the settings allow."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from convoy_py.engine.memory.ledger import Ledger
from convoy_py.errors import HostFull, NoSpace

GIB = 2**30


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """A host of 100 GiB with 11 GiB free, of which 1 GiB is kept; twice the rest is promised."""
    host = SimpleNamespace(f_blocks=100, f_bavail=11, f_frsize=GIB)
    monkeypatch.setattr("convoy_py.engine.memory.ledger.os.statvfs", lambda _: host)
    return Ledger(tmp_path, overcommit=2.0, reserve=GIB)


def _promise(ledger: Ledger, name: str, size: int, *, preallocated: bool = False) -> None:
    with ledger.promise(name, size, preallocated=preallocated):
        pass


def test_sparse_images_may_be_promised_more_than_there_is(ledger: Ledger) -> None:
    """Up to the over-commit ratio, and not a byte further."""
    _promise(ledger, "a", 15 * GIB)
    _promise(ledger, "b", 5 * GIB)
    with pytest.raises(NoSpace, match=r"volume c: 1B cannot be promised.*overcommit"):
        _promise(ledger, "c", 1)


def test_a_reserved_image_must_fit(ledger: Ledger) -> None:
    """Over-committing is for images that allocate on demand."""
    with pytest.raises(NoSpace, match="cannot be reserved"):
        _promise(ledger, "a", 10 * GIB + 1, preallocated=True)
    _promise(ledger, "a", 10 * GIB, preallocated=True)


def test_a_promise_is_taken_back_if_the_build_fails(ledger: Ledger) -> None:
    """A failed create leaves no space spoken for."""
    with pytest.raises(RuntimeError), ledger.promise("a", 20 * GIB, preallocated=False):
        raise RuntimeError
    _promise(ledger, "b", 20 * GIB)


def test_what_an_image_has_is_no_longer_outstanding(ledger: Ledger) -> None:
    """Allocated blocks are already missing from the free space."""
    _promise(ledger, "a", 20 * GIB)
    ledger.record("a", 20 * GIB, 15 * GIB)
    assert ledger.space().promised == 5 * GIB
    assert ledger.space().may_promise == 15 * GIB
    ledger.forget("a")
    assert ledger.space().promised == 0


def test_directories_are_promised_nothing(ledger: Ledger) -> None:
    """A volume without a size of its own is always possible."""
    _promise(ledger, "full", 20 * GIB)
    _promise(ledger, "a", 0)


def test_a_copy_has_room_while_it_is_made(ledger: Ledger) -> None:
    """Two that are made at once do not count on the same bytes, nor on the reserve."""
    with ledger.room("a", 6 * GIB):
        with pytest.raises(HostFull, match="volume b: 5GiB cannot be reserved") as error:
            _room(ledger, "b", 5 * GIB)
        assert error.value.needs == 12 * GIB
        _room(ledger, "b", 4 * GIB)
    _room(ledger, "b", 10 * GIB)
    with pytest.raises(NoSpace):
        _room(ledger, "b", 10 * GIB + 1)


def test_a_copy_need_not_care_for_promises(ledger: Ledger) -> None:
    """They are kept later or never; what it takes is there."""
    _promise(ledger, "a", 20 * GIB)
    _room(ledger, "b", GIB)
    assert ledger.space().promised == 20 * GIB


def _room(ledger: Ledger, name: str, size: int) -> None:
    with ledger.room(name, size):
        pass


def test_what_an_extension_was_refused_is_not_promised(ledger: Ledger) -> None:
    """All that there is may be had, and not a byte more."""
    _promise(ledger, "a", 15 * GIB)
    with pytest.raises(NoSpace), ledger.extend("a", 5 * GIB + 1, preallocated=False):
        pass
    assert ledger.space().promised == 15 * GIB
    with ledger.extend("a", 5 * GIB, preallocated=False):
        pass
    assert ledger.space().promised == 20 * GIB
