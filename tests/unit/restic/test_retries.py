"""How often a storage is asked again, and for how long."""

import time

import pytest

from convoy_py.restic.errors import StoreFailed
from convoy_py.restic.stores.retries import Passing, Patience, Retrying, Unreached, passes

PATIENCE = Patience(retries=4, retrying=12, opening=2, backoff=1, longest_backoff=3)


class _Storage:
    """Fails so often, each time after so many seconds of a clock that it moves itself."""

    def __init__(self, patch: pytest.MonkeyPatch, failures: int, each: float = 0) -> None:
        self._left, self._each = failures, each
        self._now = 100.0
        self.asked = 0
        self.failure: type[Passing] = Passing
        self.waited: list[float] = []
        patch.setattr(time, "monotonic", lambda: self._now)
        patch.setattr(time, "sleep", self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.waited.append(seconds)
        self._now += seconds

    def __call__(self) -> str:
        self.asked += 1
        self._now += self._each
        self._left -= 1
        if self._left >= 0:
            raise self.failure("no answer")
        return "answer"


def test_what_passes_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = _Storage(monkeypatch, 4)
    assert Retrying(PATIENCE)(storage) == "answer"
    for waited, wanted in zip(storage.waited, (1, 2, 3, 3), strict=True):
        assert wanted * 0.8 <= waited <= wanted * 1.2


def test_it_is_not_asked_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = _Storage(monkeypatch, 100)
    with pytest.raises(StoreFailed, match="no answer"):
        Retrying(PATIENCE)(storage)
    assert storage.asked == 1 + PATIENCE.retries


def test_no_try_begins_when_it_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = _Storage(monkeypatch, 100, each=8)
    with pytest.raises(StoreFailed):
        Retrying(PATIENCE)(storage)
    assert storage.asked == 2


def test_what_lasts_is_not_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = _Storage(monkeypatch, 0)

    def refused() -> None:
        storage()
        raise StoreFailed("no")

    with pytest.raises(StoreFailed):
        Retrying(PATIENCE)(refused)
    assert storage.asked == 1


def test_a_storage_that_was_never_reached_is_given_up_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """For somebody waits to hear of it; in the middle of work it may come back."""
    storage, retrying = _Storage(monkeypatch, 100), Retrying(PATIENCE)
    storage.failure = Unreached
    with pytest.raises(StoreFailed, match="no answer"):
        retrying(storage)
    assert storage.asked == 2
    with pytest.raises(StoreFailed, match="it is not there"):
        retrying(_missing)
    with pytest.raises(StoreFailed, match="no answer"):
        retrying(storage)
    assert storage.asked == 2 + 1 + PATIENCE.retries


def _missing() -> None:
    raise StoreFailed("it is not there")


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 507])
def test_these_statuses_pass(status: int) -> None:
    assert passes(status)


@pytest.mark.parametrize("status", [200, 301, 400, 401, 403, 404, 409, 412, 416])
def test_these_do_not(status: int) -> None:
    assert not passes(status)
