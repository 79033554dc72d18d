"""Trees: copied with all that they bear, while they change, and no further than they reach."""

import errno
import os
import shutil
import stat
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from convoy_py.linux import files, trees
from convoy_py.linux.trees import attributes
from convoy_py.linux.trees.attributes import Attributes
from convoy_py.linux.walk import Walk
from tests import everything
from tests.facts import facts, nest

KIB = 1 << 10
MIB = 1 << 20


def ignore(_done: int) -> None:
    """A step that lets the work go on."""


class Stopped(Exception):
    """What a step raises to stop the work."""


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A tree with everything in it that users without privileges can make."""
    top = tmp_path / "source"
    everything.of_users(top)
    return top


def access_times(top: Path) -> dict[str, int]:
    """Of all that can be looked for without a change to them."""
    return {
        name: (top / name).lstat().st_atime_ns
        for name in ("file", "empty", "broken", "fifo", "folder", "folder/below/program", ".")
    }


def test_copy_is_like_the_original_in_every_way(source: Path, target: Path) -> None:
    """Names, kinds, modes, times, attributes, links, content; and the original is not touched."""
    read = access_times(source)
    trees.copy(source, target, ignore)
    assert access_times(target) == read
    del read["broken"]  # Links are read in one way only.
    assert read.items() <= access_times(source).items()
    assert facts(target) == facts(source)


def test_holes_stay_holes(source: Path, target: Path) -> None:
    """A sparse file occupies as little as it did."""
    trees.copy(source, target, ignore)
    assert (target / "sparse").stat().st_blocks * 512 < MIB


def test_what_was_copied_is_counted(source: Path, target: Path) -> None:
    """Names of files, folders below the top; the bytes of each file once, as measured before."""
    told: list[int] = []
    tree = trees.copy(source, target, told.append)
    names = list(source.rglob("*"))
    folders = sum(1 for path in names if path.is_dir() and not path.is_symlink())
    sparse = (source / "sparse").stat().st_blocks * 512
    assert sparse < MIB
    content = 7000 + 3 * MIB + sparse + 1 + 2
    assert tree == trees.Tree(len(names) - folders, folders, content, 0)
    assert sum(told) == content == trees.measure(source)[1]


def test_folder_with_attributes_of_its_own_becomes_like_the_source(
    source: Path, target: Path
) -> None:
    """What the copy's folder had and the source has not is gone."""
    os.setxattr(target, "user.other", b"gone")
    trees.copy(source, target, ignore)
    assert os.listxattr(target) == os.listxattr(source)


def test_step_can_stop_the_work_at_any_time(source: Path, target: Path) -> None:
    """What it raises comes out as it is, whether there is content to copy or not."""

    def stop(_done: int) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        trees.copy(source, target, stop)
    folders = target.with_name("folders")
    nest(target.with_name("source") / "empty folder", 3)
    shutil.rmtree(source / "folder")
    folders.mkdir()
    with pytest.raises(Stopped):
        trees.copy(source / "empty folder", folders, stop)


def test_deep_tree_is_copied_compared_and_measured(tmp_path: Path, target: Path) -> None:
    """Folders nested deeper than path names and Python's stack reach, links at the end included."""
    top = tmp_path / "deep"
    top.mkdir()
    nest(top, 3000)
    before = len(os.listdir("/proc/self/fd"))
    try:
        assert trees.copy(top, target, ignore) == trees.Tree(1, 3000, len("at the end"), 0)
        trees.verify(top, target, ignore)
        assert trees.measure(target)[1] == len("at the end")
        shallow = tmp_path / "shallow"
        shallow.mkdir()
        assert sum(1 for _ in trees.compare(shallow, target, ignore, content=True)) == 3001
    finally:
        files.remove_tree(top)
        files.remove_tree(target)
    assert len(os.listdir("/proc/self/fd")) == before


def on_first_call(action: Callable[[], object]) -> Callable[[int], None]:
    """A step that does something the first time it is called, for want of a real container."""
    pending = [action]

    def step(_done: int) -> None:
        while pending:
            pending.pop()()

    return step


def test_what_vanishes_is_left_out_and_counted(tmp_path: Path, target: Path) -> None:
    """A file and a folder that are gone when their turn comes; the rest is there."""
    top = tmp_path / "live"
    for name in "abcdef":
        (top / name / "below").mkdir(parents=True)
        (top / name / "below/file").touch()
    tree = trees.copy(top, target, on_first_call(lambda: shutil.rmtree(top / "c")))
    assert tree.vanished == 1
    assert sorted(os.listdir(target)) == ["a", "b", "d", "e", "f"]
    for number in range(50):
        (top / f"file {number}").write_bytes(b"x")
    target = tmp_path / "again"
    target.mkdir()

    def clear() -> None:
        for number in range(50):
            (top / f"file {number}").unlink()

    tree = trees.copy(top, target, on_first_call(clear))
    assert tree.vanished == 49
    assert tree.files == 5 + 1


def test_folder_moved_while_it_is_read_stops_nothing(tmp_path: Path, target: Path) -> None:
    """The copy goes on where it can: above the folder that was moved away with it."""
    top, away = tmp_path / "live", tmp_path / "away"
    (top / "moved/in/here").mkdir(parents=True)
    (top / "moved/in/here/file").write_bytes(b"x")
    away.mkdir()
    pending = ["moved"]

    def move(done: int) -> None:
        if done and pending:
            (top / pending[0]).rename(away / pending.pop())
            (top / "later").mkdir()

    for name in ("first", "last"):
        (top / name).mkdir()
        (top / name / "file").touch()
    tree = trees.copy(top, target, move)
    assert not pending
    assert (target / "moved/in/here/file").read_bytes() == b"x"
    assert {name for name in os.listdir(target) if name != "later"} == {"first", "last", "moved"}
    assert tree.vanished == 0


def test_another_folder_in_the_place_of_one_that_was_moved_is_not_taken_for_it(
    tmp_path: Path, target: Path
) -> None:
    """There is no way back to the folder; what was left in it is counted, and the rest copied."""
    top, away = tmp_path / "live", tmp_path / "away"
    for name in ("folder/one", "folder/two", "last"):
        (top / name).mkdir(parents=True)
        (top / name / "file").write_bytes(b"x")
    away.mkdir()

    def move(done: int) -> None:
        here = [name for name in ("one", "two") if (target / "folder" / name / "file").exists()]
        if done and here and not os.listdir(away):
            (top / "folder" / here[0]).rename(away / here[0])
            (top / "folder").rename(away / "folder")
            for name in ("one", "two"):
                (top / "folder" / name).mkdir(parents=True)
                (top / "folder" / name / "other").touch()

    tree = trees.copy(top, target, move)
    assert tree == trees.Tree(files=2, folders=3, bytes=2, vanished=1)
    assert list(target.rglob("other")) == []
    assert (target / "last/file").exists()


def test_folder_replaced_by_a_link_is_not_followed_for_reading(
    tmp_path: Path, target: Path
) -> None:
    """What a container puts in the place of a folder leads the copy nowhere."""
    top, outside = tmp_path / "live", tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    for name in ("a", "b"):
        (top / name / "below").mkdir(parents=True)
    (top / "file").write_bytes(b"x")

    def swap() -> None:
        for name in ("a", "b"):
            (top / name).rename(tmp_path / f"was {name}")
            (top / name).symlink_to(outside)

    tree = trees.copy(top, target, on_first_call(swap))
    assert tree.vanished == 2
    assert os.listdir(target) == ["file"]


@pytest.mark.parametrize("moment", ["made", "being filled"])
def test_folder_replaced_by_a_link_is_not_followed_for_writing(
    tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """A link in the place of a folder of the copy stops it; nothing is done where it leads."""
    top, outside = tmp_path / "source", tmp_path / "outside"
    (top / "a/b").mkdir(parents=True)
    (top / "a").chmod(0o700)
    (top / "a/file").write_bytes(b"x")
    (top / "a/b/file").write_bytes(b"x")
    outside.mkdir()
    before = facts(outside)
    make = os.mkdir

    def swap() -> None:
        if (target / "a").is_dir() and not (target / "a").is_symlink():
            (target / "a").rename(tmp_path / "was a")
            (target / "a").symlink_to(outside)

    def make_and_swap(name: str, mode: int, *, dir_fd: int) -> None:
        make(name, mode, dir_fd=dir_fd)
        swap()

    def swap_when_reading(done: int) -> None:
        if done:
            swap()

    if moment == "made":
        monkeypatch.setattr(os, "mkdir", make_and_swap)
    with pytest.raises(OSError, match=r"directory|moved"):
        trees.copy(top, target, ignore if moment == "made" else swap_when_reading)
    assert (target / "a").is_symlink()
    assert facts(outside) == before


def test_error_names_the_file(source: Path, target: Path) -> None:
    """Wherever in the tree it happens."""
    (target / "folder").mkdir()
    with pytest.raises(FileExistsError) as caught:
        trees.copy(source, target, ignore)
    assert caught.value.filename == str(source / "folder")


def test_copy_survives_a_power_cut_on_return(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The filesystem is written out once, when all is there."""
    synced: list[tuple[Path, bool]] = []
    monkeypatch.setattr(
        files, "sync_filesystem", lambda path: synced.append((path, (path / "file").exists()))
    )
    trees.copy(source, target, ignore)
    assert synced == [(target, True)]


@pytest.mark.parametrize("make", [os.symlink, os.link])
def test_what_somebody_puts_in_the_place_of_a_file_is_not_written_to(
    source: Path, target: Path, tmp_path: Path, make: Callable[[Path, Path], None]
) -> None:
    """Neither it nor, if it is a link, what it leads to."""
    (tmp_path / "outside").write_bytes(b"theirs")
    make(tmp_path / "outside", target / "large")
    with pytest.raises(FileExistsError):
        trees.copy(source, target, ignore)
    assert (tmp_path / "outside").read_bytes() == b"theirs"


def test_what_somebody_puts_in_the_place_of_a_pipe_is_left_as_it_is(
    source: Path, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the moment after it was made: the owner and mode of the pipe are not given to it."""
    make = os.mknod

    def make_and_swap(name: str, mode: int, device: int, *, dir_fd: int) -> None:
        make(name, mode, device, dir_fd=dir_fd)
        (target / name).unlink()
        (target / name).write_bytes(b"theirs")
        (target / name).chmod(0o600)

    monkeypatch.setattr(os, "mknod", make_and_swap)
    with pytest.raises(OSError, match="was replaced"):
        trees.copy(source, target, ignore)
    (theirs,) = [name for name in ("fifo", "socket") if (target / name).exists()]
    assert (target / theirs).stat().st_mode & 0o777 == 0o600


def test_file_that_takes_the_place_of_another_is_copied(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is none that is mounted there, which is only looked for where the two differ."""
    open_path, reaches = Walk.open_path, Walk.reaches
    looked: list[int] = []

    def replace_and_open(walk: Walk, name: str) -> int:
        if name == "large":
            (source / "new").write_bytes(b"new")
            (source / "new").replace(source / "large")
        return open_path(walk, name)

    def look(walk: Walk, fd: int) -> bool:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            looked.append(fd)
        return reaches(walk, fd)

    monkeypatch.setattr(Walk, "open_path", replace_and_open)
    monkeypatch.setattr(Walk, "reaches", look)
    trees.copy(source, target, ignore)
    assert (target / "large").read_bytes() == b"new"
    assert len(looked) == 1


def test_names_of_a_file_outside_of_the_tree_are_none_of_the_copys(
    source: Path, target: Path, tmp_path: Path
) -> None:
    os.link(source / "file", tmp_path / "outside")
    os.link(source / "large", tmp_path / "outside too")
    trees.copy(source, target, ignore)
    assert facts(target) == facts(source)


class Xattrs:
    """Extended attributes as the system keeps them: `of` a file by name, and errors by name."""

    def __init__(self, patch: pytest.MonkeyPatch, of: dict[str, bytes]) -> None:
        self.of = of
        self.errors: dict[str, int] = {}
        self.removed: list[str] = []
        patch.setattr(os, "listxattr", self._list)
        patch.setattr(os, "getxattr", self._get)
        patch.setattr(os, "setxattr", self._set)
        patch.setattr(os, "removexattr", self._remove)

    def _list(self, *_: object, **__: object) -> list[str]:
        self._may("")
        return list(self.of)

    def _get(self, _: object, name: str, **__: object) -> bytes:
        self._may(name)
        return self.of[name]

    def _set(self, _: object, name: str, value: bytes) -> None:
        self._may(name)
        self.of[name] = value

    def _remove(self, _: object, name: str) -> None:
        self.removed.append(name)
        del self.of[name]

    def _may(self, name: str) -> None:
        if number := self.errors.get(name):
            raise OSError(number, os.strerror(number))


def test_attributes_of_users_are_given_and_taken_and_labels_of_the_host_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the file has its owner: a change of that takes a capability away."""
    kept = {"user.a": b"1", "security.capability": b"2"}
    hosts = {"security.selinux": b"4", "btrfs.compression": b"5"}
    given = Attributes(tmp_path.stat(), kept)
    xattrs = Xattrs(monkeypatch, {"user.a": b"0", "user.b": b"3", **hosts})
    owners: list[tuple[int, int]] = []

    def chown(_: str, uid: int, gid: int) -> None:
        owners.append((uid, gid))
        xattrs.of.pop("security.capability", None)

    monkeypatch.setattr(os, "chown", chown)
    given.give(str(tmp_path))
    assert xattrs.of == {**kept, **hosts}
    assert xattrs.removed == ["user.b"]
    assert owners == [(os.getuid(), os.getgid())]


@pytest.mark.parametrize(
    ("name", "number", "told"),
    [
        ("user.a", errno.EOPNOTSUPP, "takes no attribute user.a"),
        ("security.capability", errno.EOPNOTSUPP, "takes no attribute security.capability"),
        ("security.selinux", errno.EOPNOTSUPP, ""),
        ("user.a", errno.ENOSPC, "attribute user.a cannot be kept"),
        ("security.selinux", errno.ENOSPC, "attribute security.selinux cannot be kept"),
    ],
)
def test_attribute_that_cannot_be_kept_is_an_error_unless_it_is_the_hosts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: int, told: str
) -> None:
    given = Attributes(tmp_path.stat(), {name: b"x"})
    Xattrs(monkeypatch, {}).errors[name] = number
    with pytest.raises(OSError, match=told) if told else nullcontext():
        given.give(str(tmp_path))


def test_attributes_that_are_gone_or_none_are_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a filesystem has none at all; a disk that fails is one."""
    xattrs = Xattrs(monkeypatch, {"user.a": b"1", "user.b": b"2"})
    xattrs.errors["user.a"] = errno.ENODATA
    assert attributes.xattrs(str(tmp_path)) == {"user.b": b"2"}
    for name in ("user.a", ""):
        xattrs.errors = {name: errno.EIO}
        with pytest.raises(OSError, match="Input/output error"):
            attributes.xattrs(str(tmp_path))
    xattrs.errors[""] = errno.EOPNOTSUPP
    assert attributes.xattrs(str(tmp_path)) == {}
