"""A walk through a tree that is being changed: back the same way, or not at all."""

import errno
import os
from pathlib import Path

import pytest

from convoy_py.linux.walk import Walk, every


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
