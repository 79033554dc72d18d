"""References are true for one boot, and gone with their last hold."""

import shutil
from pathlib import Path

import pytest

from convoy_py.state.records import Hold, References
from convoy_py.state.references import ReferenceStore


@pytest.fixture
def store(tmp_path: Path) -> ReferenceStore:
    store = ReferenceStore(tmp_path, "this boot")
    store.open()
    return store


def _held(boot: str = "this boot") -> References:
    return References(boot=boot, holds={"container": Hold(count=2, epoch="1:1")})


def test_they_outlive_the_daemon_until_the_last_is_given_back(
    store: ReferenceStore, tmp_path: Path
) -> None:
    """Then there is no file of them; to give back nothing is no error."""
    store.save("db", _held())
    assert ReferenceStore(tmp_path, "this boot").load() == {"db": _held()}
    for _ in range(2):
        store.save("db", store.none())
        assert (store.load(), list(store.folder.iterdir())) == ({}, [])


def test_those_of_another_boot_count_as_none(store: ReferenceStore, tmp_path: Path) -> None:
    """Mounts died with it; nor do files count that cannot be read, or are nobody's."""
    store.save("db", _held("an older boot"))
    (store.folder / "bad.json").write_text("{")
    (store.folder / "note.txt").touch()
    (store.folder / "-.json").write_text(_held().model_dump_json())
    assert store.load() == {}


def test_an_emptied_run_folder_is_filled_again(store: ReferenceStore) -> None:
    """Somebody may have tidied up below /run while volumes are in use."""
    shutil.rmtree(store.folder.parent)
    store.save("gone", store.none())
    store.save("db", _held())
    assert store.load() == {"db": _held()}


def test_what_was_being_written_is_swept(store: ReferenceStore) -> None:
    """That alone."""
    store.save("db", _held())
    (store.folder / ".db.json.0123").write_text("{")
    store.open()
    assert [path.name for path in store.folder.iterdir()] == ["db.json"]
