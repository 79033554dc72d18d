"""Whether the root is there, and whether what is there instead is one to go on with."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from convoy_py.errors import Unavailable
from convoy_py.linux import mounts
from convoy_py.models.volume import Spec
from convoy_py.state.presence import Presence
from convoy_py.state.records import Record, timestamp
from convoy_py.state.store import Store

_UUIDS = {"a": "6e3c4b6a-6d6f-4ad7-9a52-2f9f3c0c6a11", "b": "6e3c4b6a-6d6f-4ad7-9a52-2f9f3c0c6a12"}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "root")
    store.open("test")
    yield store
    store.close()


def _add(store: Store, name: str) -> None:
    record = Record(
        name=name, uuid=_UUIDS[name], created=timestamp(0), spec=Spec(backend="directory")
    )
    store.commit(store.stage(), record)


def _replace(store: Store, *names: str) -> None:
    """Put another root, with these volumes, in place of the one that was opened."""
    other = Store(store.root.with_name("other"))
    other.open("other")
    for name in names:
        _add(other, name)
    other.close()
    store.root.rename(store.root.with_name("away"))
    other.root.rename(store.root)


def test_while_it_is_away_and_until_it_was_read_again_nothing_changes(store: Store) -> None:
    away = store.root.with_name("away")
    store.root.rename(away)
    assert not store.presence.look()
    with pytest.raises(Unavailable, match="is not the folder any more"):
        _add(store, "a")
    store.fill_ballast()
    assert not store.root.exists()
    away.rename(store.root)
    assert store.presence.look()
    with pytest.raises(Unavailable):
        _add(store, "a")
    store.presence.back()
    _add(store, "a")


def test_ballast_is_made_in_the_root_that_was_opened_alone(store: Store) -> None:
    store.fill_ballast()
    assert (store.root / "ballast").is_dir()
    _replace(store)
    store.fill_ballast()
    assert not (store.root / "ballast").exists()


@pytest.mark.parametrize(
    ("known", "there", "is_covered", "may"),
    [
        ("", "", False, True),
        ("", "a", False, True),
        ("a", "ab", False, True),
        ("ab", "a", False, False),
        ("a", "", False, False),
        ("a", "b", False, False),
        ("a", "b", True, True),
    ],
)
def test_another_root_is_taken_if_nothing_is_missing_there_or_it_was_mounted_over_it(
    store: Store,
    known: str,
    there: str,
    is_covered: bool,
    may: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _replace(store, *there)
    monkeypatch.setattr(Presence, "is_covered", lambda _: is_covered)
    assert store.may_take_over({name: _UUIDS[name] for name in known}) is may


@pytest.mark.parametrize(
    ("known", "is_covered", "may"), [("", True, True), ("a", True, False), ("", False, False)]
)
def test_an_empty_disk_is_taken_only_if_it_covers_the_root_and_nothing_is_known(
    store: Store, known: str, is_covered: bool, may: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.root.rename(store.root.with_name("away"))
    store.root.mkdir()
    monkeypatch.setattr(Presence, "is_covered", lambda _: is_covered)
    assert store.may_take_over({name: _UUIDS[name] for name in known}) is may


@pytest.mark.parametrize("is_mounted", [True, False])
def test_what_something_was_mounted_over_is_covered_while_it_is_mounted_itself(
    store: Store, is_mounted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not store.presence.is_covered()  # it is seen
    _replace(store)
    monkeypatch.setattr(Path, "readlink", lambda _: store.root)  # so the kernel tells of it then
    if not is_mounted:
        monkeypatch.setattr(mounts, "table", list)
    assert store.presence.is_covered() is is_mounted
    store.close()
    assert not store.presence.is_covered()


def test_what_was_renamed_is_not_covered(store: Store) -> None:
    _replace(store)
    assert not store.presence.is_covered()


def test_other_volumes_within_the_same_root_are_not_gone_on_with(store: Store) -> None:
    """As when something was mounted on that folder; then nothing covers the root."""
    _add(store, "a")
    store.volumes.rename(store.root / "away")
    store.volumes.mkdir()
    assert not store.presence.look()
    with pytest.raises(Unavailable, match="volumes is not the folder any more"):
        _add(store, "b")
    assert not store.presence.is_covered()
    assert not store.may_take_over({"a": _UUIDS["a"]})
    store.volumes.rmdir()
    (store.root / "away").rename(store.volumes)
    assert store.presence.look()


def test_after_it_was_opened_again_another_daemon_is_told(store: Store) -> None:
    _replace(store, "a")
    store.reopen()
    store.presence.back()
    assert list(store.load()) == ["a"]
    rival = Store(store.root)
    with pytest.raises(Unavailable, match=r"another daemon uses .*: test"):
        rival.open("rival")
