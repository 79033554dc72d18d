"""Trees compared: each kind of change is found, and nothing else; a copy is true or refused."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from convoy_py.linux import trees
from convoy_py.linux.trees import Change, comparing
from convoy_py.linux.walk import Walk

MIB = 1 << 20


def ignore(_done: int) -> None:
    """A step that lets the work go on."""


def keep_times(path: Path, change: Callable[[], object]) -> None:
    """Change a file so that its time of change does not tell."""
    found = path.stat()
    change()
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def flip(path: Path, at: int) -> None:
    """Turn one bit of a file over; its length and time stay."""

    def write() -> None:
        with path.open("r+b") as file:
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 1]))

    keep_times(path, write)


@pytest.fixture
def one(tmp_path: Path) -> Path:
    """A tree of some files."""
    top = tmp_path / "one"
    (top / "a/b").mkdir(parents=True)
    (top / "a-b").write_bytes(b"after a, as a path")
    (top / "a/file").write_bytes(b"old")
    (top / "a/b/deep").write_bytes(b"deep")
    (top / "a/b/same").write_bytes(b"same")
    os.link(top / "a/b/same", top / "hard")
    (top / "large").write_bytes(bytes(3 * MIB + 5))
    with (top / "sparse").open("wb") as file:
        file.truncate(64 * MIB)
        file.seek(40 * MIB)
        file.write(b"data")
    (top / "link").symlink_to("a/file")
    (top / "twin").write_bytes(b"x")
    (top / b"\xff".decode(errors="surrogateescape")).touch()
    return top


@pytest.fixture
def other(one: Path) -> Path:
    """A true copy of it, to be changed."""
    copied = one.with_name("other")
    copied.mkdir()
    trees.copy(one, copied, ignore)
    return copied


def changes(one: Path, other: Path, *, content: bool = True) -> list[Change]:
    return list(trees.compare(one, other, ignore, content=content))


@pytest.mark.parametrize("content", [True, False])
def test_every_change_is_told_in_order_and_nothing_else(
    one: Path, other: Path, *, content: bool
) -> None:
    """Each with its kind, its size and in which ways; folders with all that is in them."""
    assert changes(one, other, content=content) == []
    shutil.rmtree(other / "a/b")
    (other / "a/b").write_bytes(b"now a file")
    (other / "a/file").write_bytes(b"newer")
    (other / "a/file").chmod(0o600)
    (other / "a").chmod(0o700)
    (other / "hard").unlink()
    (other / "link").unlink()
    (other / "link").symlink_to("elsewhere")
    (other / "new/er").mkdir(parents=True)
    (other / "new/er/file").write_bytes(b"12")
    os.setxattr(other / "twin", "user.note", b"x")
    (other / "twin").chmod(0o4755)
    assert changes(one, other, content=content) == [
        Change("changed", "a", 0, ("mode", "times")),
        Change("changed", "a/b", 10, ("type",)),
        Change("removed", "a/b/deep", 4),
        Change("removed", "a/b/same", 4),
        Change("changed", "a/file", 5, ("content", "mode", "times")),
        Change("removed", "hard", 4),
        Change("changed", "link", 0, ("target", "times")),
        Change("added", "new", 0),
        Change("added", "new/er", 0),
        Change("added", "new/er/file", 2),
        Change("changed", "twin", 1, ("mode", "xattrs")),
    ]
    assert [c.kind for c in changes(other, one) if c.path.startswith("new")] == ["removed"] * 3


def test_whole_tree_may_change(one: Path, other: Path) -> None:
    """The top is "."; names of any bytes come as the system has them."""
    other.chmod(0o711)
    name = b"\xff".decode(errors="surrogateescape")
    (other / name).write_bytes(b"x")
    assert changes(one, other) == [
        Change("changed", ".", 0, ("mode",)),
        Change("changed", name, 1, ("content", "times")),
    ]


@pytest.mark.parametrize("at", [0, MIB - 1, MIB, 3 * MIB + 4])
def test_every_byte_is_compared_only_if_told_so(one: Path, other: Path, at: int) -> None:
    """With its size and time as before, a flipped bit is seen by reading alone."""
    flip(other / "large", at)
    assert changes(one, other, content=False) == []
    assert changes(one, other) == [Change("changed", "large", 3 * MIB + 5, ("content",))]


@pytest.mark.parametrize("at", [0, 39 * MIB, 40 * MIB + 1, 64 * MIB - 1])
def test_holes_are_passed_over_and_hide_nothing(one: Path, other: Path, at: int) -> None:
    """On whichever side the data is; what is written zeros equals a hole."""
    told: list[int] = []
    list(trees.compare(one, other, told.append, content=True))
    assert sum(told) == trees.measure(one)[1]
    flip(other / "sparse", at)
    assert changes(one, other) == changes(other, one)
    assert [(c.path, c.what) for c in changes(one, other)] == [("sparse", ("content",))]
    flip(other / "sparse", at)
    assert changes(one, other) == []


def test_holes_are_not_read_nor_files_entered(
    one: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are, and however large."""
    read, entered = os.pread, Walk.down
    calls: list[int | str] = []

    def watched_read(fd: int, count: int, at: int) -> bytes:
        if count and os.fstat(fd).st_size == 64 * MIB:
            calls.append(at)
        return read(fd, count, at)

    def watched_down(walk: Walk, name: str) -> None:
        calls.append(name)
        entered(walk, name)

    monkeypatch.setattr(os, "pread", watched_read)
    monkeypatch.setattr(Walk, "down", watched_down)
    assert changes(one, other) == []
    assert calls == ["a", "a", "b", "b", 40 * MIB, 40 * MIB]


def test_every_content_is_read_though_it_is_the_same_file(one: Path) -> None:
    """If that was asked for: of snapshots that share it, too, which may have rotted."""
    for content, count in ((True, trees.measure(one)[1]), (False, 0)):
        told: list[int] = []
        assert list(trees.compare(one, one, told.append, content=content)) == []
        assert sum(told) == count


def test_only_of_files_with_several_names_something_is_kept(one: Path, other: Path) -> None:
    """There may be millions of the others."""
    with Walk.at(one) as before, Walk.at(other) as after:
        comparison = comparing._Comparison(before, after, ignore, content=True)
        assert list(comparison.differences()) == []
    kept = comparison._there, comparison._back, comparison._read
    assert [len(each) for each in kept] == [1, 1, 1]


def test_failing_disk_is_no_hole(one: Path, other: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "lseek", fail)
    with pytest.raises(OSError, match="Input/output error"):
        changes(one, other)


@pytest.mark.parametrize("content", [True, False])
def test_touched_file_has_not_changed(one: Path, other: Path, *, content: bool) -> None:
    """Another time alone is no change; it has the content looked at."""
    os.utime(other / "a/file", ns=(1, 1))
    assert changes(one, other, content=content) == []
    (other / "a/file").write_bytes(b"new")
    assert [c.path for c in changes(one, other, content=content)] == ["a/file"]


def test_each_name_of_a_changed_file_is_told(one: Path, other: Path) -> None:
    """A file with several names has changed under each of them."""
    flip(other / "hard", 0)
    assert [c.path for c in changes(one, other)] == ["a/b/same", "hard"]


def test_step_stops_a_comparison(one: Path, other: Path) -> None:
    """Also of trees without content to read."""

    class Stopped(Exception):
        pass

    def stop(_done: int) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        next(trees.compare(one, other, stop, content=False))


@pytest.mark.parametrize(
    ("action", "gone"),
    [
        ("remove", [("removed", "a/b/same"), ("removed", "a/file")]),
        ("move", []),
        ("move apart", []),
        ("replace by a link", []),
    ],
)
def test_tree_that_changes_meanwhile_is_compared_all_the_same(
    one: Path, other: Path, action: str, gone: list[tuple[str, str]]
) -> None:
    """What was looked at before stays told, what cannot be reached is not, the rest goes on."""
    (other / "a/b/deep").write_bytes(b"changed")
    found = []
    for change in trees.compare(one, other, ignore, content=True):
        found.append((change.kind, change.path))
        if found == [("changed", "a/b/deep")]:
            if action == "move apart":
                (other / "a/b").rename(other.with_name("apart"))
            if action == "remove":
                shutil.rmtree(other / "a")
            else:
                (other / "a").rename(other.with_name("away"))
            if action == "replace by a link":
                (other / "a").symlink_to(other.with_name("away"))
            (other / "twin").unlink()
    assert found == [("changed", "a/b/deep"), *gone, ("removed", "twin")]


def test_file_that_vanishes_while_it_is_looked_at_is_removed(
    one: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two looks at the same file, too."""
    look = os.listxattr

    def remove_and_look(path: str, *, follow_symlinks: bool) -> list[str]:
        if path.endswith("/twin"):
            (other / "twin").unlink(missing_ok=True)
        return look(path, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(os, "listxattr", remove_and_look)
    assert changes(one, other) == [Change("removed", "twin", 1)]


def replaced(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


FLAWS: dict[str, Callable[[Path], object]] = {
    "content": lambda top: flip(top / "large", 2 * MIB),
    "mode": lambda top: (top / "twin").chmod(0o640),
    "xattrs": lambda top: os.setxattr(top / "a", "user.x", b"1"),
    "times": lambda top: os.utime(top / "a", ns=(1, 1)),
    "target": lambda top: replaced(top / "link", lambda path: path.symlink_to("a/filf")),
    "type": lambda top: replaced(top / "twin", os.mkfifo),
    "lacks": lambda top: (top / "a/b/deep").unlink(),
    "has not": lambda top: (top / "a/b/more").touch(),
}


@pytest.mark.parametrize("flaw", FLAWS)
def test_flawed_copy_is_refused(one: Path, other: Path, flaw: str) -> None:
    """Any one difference is found, and the file named."""
    trees.verify(one, other, ignore)
    keep_times(other, lambda: keep_times(other / "a/b", lambda: FLAWS[flaw](other)))
    with pytest.raises(OSError, match=flaw) as caught:
        trees.verify(one, other, ignore)
    assert caught.value.errno == errno.EIO
    assert str(caught.value.filename).startswith(str(other))


@pytest.mark.parametrize("side", ["original", "copy"])
def test_copy_with_other_hard_links_is_refused(one: Path, other: Path, side: str) -> None:
    """Two names of one file must be that in the copy, and two files two files."""
    trees.verify(one, other, ignore)
    top = one if side == "original" else other
    (top / "hard").unlink()
    shutil.copy2(top / "a/b/same", top / "hard")
    for folder in (one, other):
        os.utime(folder, ns=(1, 1))
    with pytest.raises(OSError, match="links"):
        trees.verify(one, other, ignore)


def test_link_to_a_file_elsewhere_does_not_matter(one: Path, other: Path, tmp_path: Path) -> None:
    """Names outside of the tree are none of the copy's."""
    os.link(one / "twin", tmp_path / "outside")
    trees.verify(one, other, ignore)
