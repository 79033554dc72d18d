"""A repository in a folder: names, modes, what power cuts and errors leave, a disk that is away."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from convoy_py.restic.errors import AlreadyThere, Damaged, NoRepository, NotFound, StoreFailed
from convoy_py.restic.stores.base import Kind
from convoy_py.restic.stores.local import LocalStore
from tests.unsynced import Unsynced

NAME = "ab" * 32


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "repository"


@pytest.fixture
def store(folder: Path) -> LocalStore:
    """Of a repository that has a config."""
    store = LocalStore(folder)
    store.prepare()
    store.write(Kind.CONFIG, "", [b"config"])
    return store


def _files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_files_and_folders_are_their_owners_alone(store: LocalStore, folder: Path) -> None:
    store.write(Kind.PACK, NAME, [b"pack"])
    modes = {path.stat().st_mode & 0o7777 for path in folder.rglob("*") if path.is_file()}
    assert modes == {0o400}
    folders = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    assert {path.stat().st_mode & 0o7777 for path in folders} == {0o700}
    assert _files(folder) == ["config", f"data/ab/{NAME}"]


def test_a_pack_in_the_wrong_folder_is_not_listed(store: LocalStore, folder: Path) -> None:
    """It could not be read."""
    store.write(Kind.PACK, NAME, [b"pack"])
    (folder / "data" / "00").mkdir()
    (folder / "data" / "00" / NAME).write_bytes(b"pack")
    assert list(store.list(Kind.PACK)) == [(NAME, 4)]


@pytest.mark.parametrize("create", [False, True])
@pytest.mark.parametrize("kind", [Kind.PACK, Kind.SNAPSHOT])
def test_a_power_cut_undoes_nothing_that_was_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch, kind: Kind, create: bool
) -> None:
    with monkeypatch.context() as patch:
        unsynced = Unsynced(patch)
        store = LocalStore(folder)
        store.prepare()
        store.write(kind, NAME, [b"a", b"b"], create=create)
        assert (unsynced.left(), unsynced.early) == (set(), [])


def test_a_power_cut_brings_nothing_back(
    store: LocalStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write(Kind.LOCK, NAME, [b"lock"])
    synced: list[tuple[str, bool]] = []
    fsync = os.fsync

    def watched(fd: int) -> None:
        fsync(fd)
        synced.append((os.readlink(f"/proc/self/fd/{fd}"), (folder / "locks" / NAME).exists()))

    monkeypatch.setattr(os, "fsync", watched)
    store.delete(Kind.LOCK, NAME)
    assert synced == [(str(folder / "locks"), False)]


def _failing(code: int, *, times: int = 1, after: int = 0) -> Callable[..., Any]:
    """What stands for a system call that fails, once `after` calls went well."""
    left = [times, after]

    def call(*arguments: Any, **named: Any) -> Any:
        if left[1]:
            left[1] -= 1
            return None
        left[0] -= 1
        raise OSError(code, os.strerror(code))

    return call


@pytest.mark.parametrize("create", [False, True])
@pytest.mark.parametrize(
    ("call", "code"),
    [
        ("open", errno.EROFS),
        ("writev", errno.ENOSPC),
        ("writev", errno.EIO),
        ("fsync", errno.EIO),
        ("rename", errno.EIO),
        ("link", errno.EIO),
    ],
)
def test_a_write_that_fails_leaves_nothing(
    store: LocalStore,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    code: int,
    create: bool,
) -> None:
    if (call, create) in {("rename", True), ("link", False)}:
        return
    with monkeypatch.context() as patch:
        patch.setattr(os, call, _failing(code))
        with pytest.raises(StoreFailed, match=f"{folder} .*{os.strerror(code)}"):
            store.write(Kind.INDEX, NAME, [b"index"], create=create)
    assert _files(folder) == ["config"]


def test_a_write_that_was_interrupted_leaves_nothing(
    store: LocalStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(fd: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            store.write(Kind.INDEX, NAME, [b"index"])
    assert _files(folder) == ["config"]


def test_a_write_is_continued_where_the_kernel_stopped(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    writev = os.writev
    with monkeypatch.context() as patch:
        patch.setattr(os, "writev", lambda fd, pieces: writev(fd, [b"".join(pieces)[:3]]))
        store.write(Kind.INDEX, NAME, [b"in", b"", b"dex of", b" some ", b"packs"])
    assert store.read(Kind.INDEX, NAME) == b"index of some packs"


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOTSUP])
def test_config_stays_even_where_there_are_no_hard_links(
    folder: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    store = LocalStore(folder)
    store.prepare()
    monkeypatch.setattr(os, "link", _failing(code, times=2))
    store.write(Kind.CONFIG, "", [b"first"], create=True)
    with pytest.raises(AlreadyThere):
        store.write(Kind.CONFIG, "", [b"second"], create=True)
    assert store.read(Kind.CONFIG, "") == b"first"
    assert _files(folder) == ["config"]


def test_filesystems_that_cannot_sync_will_do(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", _failing(errno.EINVAL, times=2))
        store.write(Kind.INDEX, NAME, [b"index"])
    assert store.read(Kind.INDEX, NAME) == b"index"


@pytest.mark.parametrize("left", ["nothing", "a bare mountpoint"])
def test_a_folder_that_is_away_is_an_error_and_not_made_anew(
    store: LocalStore, folder: Path, left: str
) -> None:
    shutil.rmtree(folder)
    if left == "a bare mountpoint":
        folder.mkdir()
    for call in (
        lambda: store.read(Kind.PACK, NAME),
        lambda: store.read_range(Kind.PACK, NAME, 0, 1),
        lambda: store.write(Kind.PACK, NAME, [b"pack"]),
        lambda: list(store.list(Kind.LOCK)),
        lambda: store.delete(Kind.LOCK, NAME),
    ):
        with pytest.raises(NoRepository, match="is its disk mounted"):
            call()
    assert not any(folder.rglob("*"))


def test_where_there_is_no_repository_the_config_is_not_found(folder: Path) -> None:
    with pytest.raises(NotFound):
        LocalStore(folder).read(Kind.CONFIG, "")


def test_folders_that_a_copy_left_out_are_made_again(store: LocalStore, folder: Path) -> None:
    """Tools that copy to and from object stores know no empty folders."""
    for name in ("locks", "data"):
        (folder / name).rmdir()
    assert not list(store.list(Kind.LOCK))
    store.write(Kind.LOCK, NAME, [b"lock"])
    store.write(Kind.PACK, NAME, [b"pack"])
    assert _files(folder) == ["config", f"data/ab/{NAME}", f"locks/{NAME}"]


def test_a_file_where_the_folder_should_be_is_told(folder: Path) -> None:
    folder.parent.mkdir()
    folder.touch()
    store = LocalStore(folder)
    for call in (store.prepare, lambda: store.read(Kind.CONFIG, "")):
        with pytest.raises(StoreFailed, match="Not a directory"):
            call()


def test_what_is_no_file_is_not_waited_for(store: LocalStore, folder: Path) -> None:
    os.mkfifo(folder / "locks" / NAME)
    with pytest.raises(StoreFailed):
        store.read(Kind.LOCK, NAME)


def test_a_hole_of_a_terabyte_is_not_read(store: LocalStore, folder: Path) -> None:
    (folder / "data/ab").mkdir(parents=True, exist_ok=True)
    for path in (folder / "snapshots" / NAME, folder / "data/ab" / NAME):
        with path.open("wb") as file:
            file.truncate(1 << 40)
    for kind in (Kind.SNAPSHOT, Kind.PACK):
        with pytest.raises(Damaged, match="it has more than"):
            store.read(kind, NAME)
