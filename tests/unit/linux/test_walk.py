"""A walk through a tree that is being changed: back the same way, or not at all."""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from convoy_py.linux.descriptors import opened
from convoy_py.linux.walk import Walk, every, named, regular


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    top = tmp_path / "tree"
    (top / "a/b/c").mkdir(parents=True)
    (top / "a/b/c/file").touch()
    return top


def test_way_back_does_not_lead_out_with_a_moved_folder(tree: Path, tmp_path: Path) -> None:
    """`up` refuses, `climb` goes to the lowest folder that is still in its place."""
    with Walk.at(tree) as walk:
        for name in ("a", "b", "c"):
            walk.down(name)
        assert (walk.depth, walk.path("file")) == (3, "a/b/c/file")
        (tree / "a/b/c").rename(tmp_path / "c")
        with pytest.raises(OSError, match="was moved") as caught:
            walk.up()
        assert caught.value.errno == errno.ESTALE
        walk.climb(2)
        assert (walk.depth, walk.path()) == (2, "a/b")
        (tree / "a").rename(tmp_path / "a")
        walk.climb(1)
        assert os.listdir(walk.fd) == ["b"]
        walk.climb(0)
        assert (walk.depth, os.listdir(walk.fd)) == (0, [])


def test_everything_is_seen_though_folders_are_moved(tree: Path, tmp_path: Path) -> None:
    """What was moved away while it was read is told, and what comes after it."""
    for name in ("before", "later"):
        (tree / name).mkdir()
        (tree / name / "beside").touch()
    seen = []
    with Walk.at(tree) as walk:
        for name, _ in every(walk):
            seen.append(name)
            if name == "file":
                (tree / "a/b").rename(tmp_path / "b")
    assert sorted(seen) == [*["."] * 6, "beside", "beside", "file"]


def test_hard_links_are_seen_once(tree: Path) -> None:
    """However far apart the names are."""
    os.link(tree / "a/b/c/file", tree / "file")
    with Walk.at(tree) as walk:
        assert [name for name, _ in every(walk) if name != "."] == ["file"]


@pytest.mark.parametrize("kind", ["fifo", "folder", "link", "socket"])
def test_what_has_become_another_kind_is_not_opened(tmp_path: Path, kind: str) -> None:
    """It counts as gone: to open a pipe may hang, a device may do harm, a link leads elsewhere."""
    (tmp_path / "real").write_text("x")
    name = str(tmp_path / "name")
    {
        "fifo": lambda: os.mkfifo(name),
        "folder": lambda: os.mkdir(name),
        "link": lambda: os.symlink("real", name),
        "socket": lambda: os.mknod(name, stat.S_IFSOCK | 0o600),
    }[kind]()
    with (
        opened(tmp_path, os.O_DIRECTORY) as folder,
        pytest.raises(FileNotFoundError, match="no regular file any more"),
        regular(folder, "name"),
    ):
        pass


def test_a_regular_file_is_opened_for_reading(tmp_path: Path) -> None:
    """From its beginning."""
    (tmp_path / "name").write_text("x")
    with opened(tmp_path, os.O_DIRECTORY) as folder, regular(folder, "name") as fd:
        assert os.read(fd, 2) == b"x"


def test_what_was_looked_at_is_what_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though another file takes its name in between."""
    (tmp_path / "name").write_text("x")
    (tmp_path / "other").write_text("y")
    look = os.fstat

    def replaced(fd: int) -> os.stat_result:
        found = look(fd)
        (tmp_path / "other").replace(tmp_path / "name")
        return found

    with opened(tmp_path, os.O_DIRECTORY) as folder:
        monkeypatch.setattr(os, "fstat", replaced)
        with regular(folder, "name") as fd:
            monkeypatch.undo()
            assert os.read(fd, 2) == b"x"


def test_file_is_no_folder(tree: Path) -> None:
    with Walk.at(tree / "a/b/c") as walk, pytest.raises(NotADirectoryError):
        walk.down("file")
    with pytest.raises(NotADirectoryError):
        Walk.at(tree / "a/b/c/file")


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ENOTDIR, errno.EXDEV])
def test_folder_into_which_there_is_no_way_is_left_out(
    tree: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """It is gone, is a folder no more, or something is mounted there."""
    (tree / "z").mkdir()
    monkeypatch.setattr(Walk, "down", fails_for("a", number))
    with Walk.at(tree) as walk:
        assert [name for name, _ in every(walk)] == [".", "."]


@pytest.mark.parametrize("step", ["down", "up"])
def test_disk_that_fails_is_an_error(
    tree: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """What is not read is not taken for what is not there."""
    monkeypatch.setattr(Walk, step, fails_for("b" if step == "down" else "", errno.EIO))
    with Walk.at(tree) as walk, pytest.raises(OSError, match="Input/output error"):
        list(every(walk))


@pytest.mark.parametrize("number", [errno.ESTALE, errno.ENOENT])
def test_lost_way_is_gone_again_from_the_beginning(
    tree: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The folder was moved, or deleted with that around it; what does not fail is gone again."""
    with Walk.at(tree) as walk:
        for name in ("a", "b", "c"):
            walk.down(name)
        monkeypatch.setattr(Walk, "up", fails_for("", number))
        walk.climb(1)
        assert (walk.depth, os.listdir(walk.fd)) == (1, ["b"])
        walk.down("b")
        monkeypatch.setattr(Walk, "down", fails_for("a", errno.EIO))
        with pytest.raises(OSError, match="Input/output error"):
            walk.climb(1)


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ENOTDIR, errno.EXDEV])
def test_lost_way_ends_where_it_is_no_way_any_more(
    tree: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    with Walk.at(tree) as walk:
        for name in ("a", "b", "c"):
            walk.down(name)
        monkeypatch.setattr(Walk, "up", fails_for("", errno.ESTALE))
        monkeypatch.setattr(Walk, "down", fails_for("b", number))
        walk.climb(2)
        assert (walk.depth, os.listdir(walk.fd)) == (1, ["b"])


def test_errors_name_the_file_that_they_are_about() -> None:
    """But for those that are none of the system's: they have words of their own."""
    with (
        pytest.raises(PermissionError, match="denied: '/there'") as caught,
        named(lambda: Path("/there")),
    ):
        raise PermissionError(errno.EACCES, "denied", "here")
    assert caught.value.errno == errno.EACCES
    with pytest.raises(OSError, match=r"^it ended badly$"), named(lambda: Path("/there")):
        raise OSError("it ended badly")


def fails_for(name: str, number: int) -> Callable[..., None]:
    """In place of `Walk.down`, or of `Walk.up`, which has no name."""
    down = Walk.down

    def step(walk: Walk, below: str = "") -> None:
        if below == name:
            raise OSError(number, os.strerror(number))
        down(walk, below)

    return step
