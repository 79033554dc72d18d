"""One file or folder put back from another tree: all or nothing, and nowhere else."""

import errno
import os
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path, PurePath

import pytest

from convoy_py.linux import files, libc, trees
from tests.facts import Facts, facts
from tests.unsynced import Unsynced


def ignore(_done: int) -> None:
    """A step that lets the work go on."""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    top = tmp_path / "source"
    (top / "etc/app/parts").mkdir(parents=True)
    (top / "etc/app/parts/part").write_bytes(b"part")
    os.link(top / "etc/app/parts/part", top / "etc/app/same")
    (top / "etc/app/config").write_bytes(b"as it was")
    (top / "etc/app/config").chmod(0o4750)
    (top / "etc/link").symlink_to("/etc/passwd")
    os.mkfifo(top / "etc/fifo")
    os.setxattr(top / "etc/app", "user.note", b"x")
    (top / "etc/app").chmod(0o2751)
    (top / "etc").chmod(0o711)
    (top / "file").write_bytes(b"x")
    os.utime(top / "etc/app/config", ns=(5, 7))
    os.utime(top / "etc/app", ns=(11, 13))
    return top


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """The same tree after some changes."""
    top = tmp_path / "target"
    (top / "etc/app").mkdir(parents=True)
    (top / "etc/app/config").write_bytes(b"as it is")
    (top / "etc/app/new").write_bytes(b"since then")
    (top / "untouched").write_bytes(b"y")
    return top


def below(found: dict[str, Facts], path: str) -> dict[str, Facts]:
    return {
        name: fact._replace(first_name="")
        for name, fact in found.items()
        if name == path or name.startswith(f"{path}/")
    }


@pytest.mark.parametrize("path", ["etc/app/config", "etc/app", "etc/link", "etc/fifo", "file"])
def test_restored_is_as_it_was_and_nothing_else_changed(
    source: Path, target: Path, path: str
) -> None:
    """Whatever lies there, and whether something does already."""
    before = facts(target)
    trees.copy_one(source, PurePath(path), target, ignore)
    after = facts(target)
    assert below(after, path) == below(facts(source), path)
    changed = {name for name in before if after.get(name) != before[name]}
    assert changed - set(below(before, path)) <= {str(PurePath(path).parent)}
    assert set(after) - set(before) <= set(below(after, path))


def test_folder_keeps_its_hard_links(source: Path, target: Path) -> None:
    """Those between two files that are restored together."""
    trees.copy_one(source, PurePath("etc/app"), target, ignore)
    assert (target / "etc/app/same").samefile(target / "etc/app/parts/part")


@pytest.mark.parametrize("path", ["etc/app/config", "etc/app"])
def test_target_is_as_before_until_all_is_there(source: Path, target: Path, path: str) -> None:
    """At no moment is there neither the old nor the new."""
    old = (target / path).stat().st_ino
    seen = []

    def look(_done: int) -> None:
        seen.append((target / path).stat().st_ino == old)

    trees.copy_one(source, PurePath(path), target, look)
    assert seen
    assert all(seen)
    assert (target / path).stat().st_ino != old


def test_old_folder_is_deleted_when_the_new_one_is_there(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not before: the two trade places in one step."""
    delete, seen = files.remove_tree_at, []

    def look_and_delete(folder: int, name: str) -> None:
        seen.append((target / "etc/app/config").read_bytes())
        delete(folder, name)

    monkeypatch.setattr(files, "remove_tree_at", look_and_delete)
    trees.copy_one(source, PurePath("etc/app"), target, ignore)
    assert seen == [b"as it was"]


def test_missing_parents_are_made_like_those_of_the_source(source: Path, tmp_path: Path) -> None:
    """With mode and attributes, but without what else is in them."""
    target = tmp_path / "empty"
    target.mkdir()
    trees.copy_one(source, PurePath("etc/app/parts/part"), target, ignore)
    then, now = facts(source), facts(target)
    assert set(now) == {".", "etc", "etc/app", "etc/app/parts", "etc/app/parts/part"}
    for name in ("etc", "etc/app", "etc/app/parts"):
        assert (now[name].mode, now[name].xattrs) == (then[name].mode, then[name].xattrs)


@pytest.mark.parametrize(("path", "put"), [("etc/app", "file"), ("file", "folder")])
def test_another_kind_gives_way(source: Path, target: Path, path: str, put: str) -> None:
    """A file in the place of a folder, and a folder in that of a file, are replaced as well."""
    files.remove_tree(target / "etc/app")
    if put == "file":
        (target / path).write_bytes(b"a file")
    else:
        (target / path / "full").mkdir(parents=True)
    trees.copy_one(source, PurePath(path), target, ignore)
    assert below(facts(target), path) == below(facts(source), path)
    assert not [name for name in os.listdir((target / path).parent) if name.startswith(".")]


@pytest.mark.parametrize("path", ["none", "etc/none", "none/at/all", "file/below"])
def test_unknown_path_is_said_so(source: Path, target: Path, path: str) -> None:
    """In one clear line; the target stays as it is."""
    before = facts(target)
    with pytest.raises(FileNotFoundError, match="no such file or folder") as caught:
        trees.copy_one(source, PurePath(path), target, ignore)
    assert str(source) in str(caught.value)
    assert path in str(caught.value)
    assert facts(target) == before


@pytest.mark.parametrize("path", ["/etc/app", "../source/etc", ".", "etc/../file"])
def test_path_that_is_none_within_the_tree_is_refused(
    source: Path, target: Path, path: str
) -> None:
    """Neither the top itself, nor a way up and out."""
    with pytest.raises(OSError, match="not a path below") as caught:
        trees.copy_one(source, PurePath(path), target, ignore)
    assert caught.value.errno == errno.EINVAL


@pytest.mark.parametrize("side", ["source", "target"])
def test_link_on_the_way_is_not_followed(
    source: Path, target: Path, tmp_path: Path, side: str
) -> None:
    """Neither for reading nor for writing, wherever it leads."""
    outside, top = tmp_path / "outside", source if side == "source" else target
    (top / "etc").rename(outside)
    (top / "etc").symlink_to(outside)
    before = facts(outside)
    with pytest.raises(OSError, match=r"etc") as caught:
        trees.copy_one(source, PurePath("etc/app/config"), target, ignore)
    assert caught.value.errno in (errno.ELOOP, errno.ENOTDIR)
    assert facts(outside) == before


@pytest.mark.parametrize("path", ["etc/app/config", "etc/app", "etc/app/parts/part"])
@pytest.mark.parametrize("fails", ["step", "sync", "rename"])
def test_failure_leaves_everything_as_it_was(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch, path: str, fails: str
) -> None:
    """No half a file, no temporary one, no folder made on the way."""

    class Stopped(Exception):
        pass

    def stop(*_: object, **__: object) -> None:
        raise Stopped

    before = {name: fact._replace(mtime_ns=0) for name, fact in facts(target).items()}
    with monkeypatch.context() as patch:
        if fails == "sync":
            patch.setattr(libc, "call", stop)
        elif fails == "rename":
            patch.setattr(os, "rename", stop)
        with pytest.raises(Stopped):
            trees.copy_one(source, PurePath(path), target, stop if fails == "step" else ignore)
    assert {n: fact._replace(mtime_ns=0) for n, fact in facts(target).items()} == before


@pytest.mark.parametrize("path", ["etc/app/config", "etc/app"])
def test_what_was_there_stays_until_the_new_is_on_the_disk(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """A sync that fails says that it is restored; a folder that it replaced is whole beside it."""
    relative, left = PurePath(path), PurePath(path).with_name(".left")

    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    before = below(facts(target), path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(files.Unsettled, match="Input/output error"):
            trees.copy_one(source, relative, target, ignore, left.name)
        with pytest.raises(OSError, match="Input/output error"):
            trees.remove_one(target, left)
    assert (target / "etc/app/config").read_bytes() == b"as it was"
    beside = [fact.content for fact in below(facts(target), str(left)).values()]
    assert beside == ([fact.content for fact in before.values()] if path == "etc/app" else [])
    trees.remove_one(target, left)
    assert not (target / left).exists()


def test_folder_that_is_swapped_while_it_is_built_leads_nowhere(
    source: Path, target: Path, tmp_path: Path
) -> None:
    """What a container puts in the place of the folder above is not written to."""
    outside = tmp_path / "outside"
    outside.mkdir()
    moved = tmp_path / "moved"

    def swap(_done: int) -> None:
        if not moved.exists():
            (target / "etc").rename(moved)
            (target / "etc").symlink_to(outside)

    trees.copy_one(source, PurePath("etc/app/config"), target, swap)
    assert os.listdir(outside) == []
    assert (moved / "app/config").read_bytes() == b"as it was"


@pytest.mark.parametrize("path", ["etc/app/config", "etc/app", "untouched"])
def test_what_was_cut_off_is_removed(target: Path, path: str) -> None:
    """A file or a folder with all in it; a second time there is nothing to do."""
    before = facts(target)
    for _ in range(2):
        trees.remove_one(target, PurePath(path))
    assert facts(target).keys() == before.keys() - below(before, path).keys()


@pytest.mark.parametrize("path", ["missing/x", "untouched/x", "away/config"])
def test_nothing_is_removed_behind_a_link(target: Path, tmp_path: Path, path: str) -> None:
    """Users may have changed what is on the way to what was cut off."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/config").write_bytes(b"theirs")
    (target / "away").symlink_to(tmp_path / "elsewhere")
    before = facts(tmp_path)
    trees.remove_one(target, PurePath(path))
    assert facts(tmp_path).keys() == before.keys()


@pytest.mark.parametrize("path", ["etc/app/config", "etc/app", "file", "etc/app/parts/part"])
def test_restored_survives_a_power_cut(
    source: Path, target: Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The content is on the disk before it has its name, be that new or that of what was there."""
    with monkeypatch.context() as patch:
        unsynced = Unsynced(patch)
        trees.copy_one(source, PurePath(path), target, ignore)
        assert unsynced.left() == set()
        assert [path for path in unsynced.early if ".restore-" not in path] == []


def fails(number: int) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize(
    "number", [errno.ENOTEMPTY, errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.EIO]
)
def test_what_cannot_be_replaced_trades_places(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Filesystems say so in different words; what says otherwise changes nothing."""
    monkeypatch.setattr(os, "rename", fails(number))
    failure = pytest.raises(OSError, match="Input/output error")
    with failure if number == errno.EIO else nullcontext():
        trees.copy_one(source, PurePath("etc/app/config"), target, ignore)
    found = (target / "etc/app/config").read_bytes()
    assert found == (b"as it is" if number == errno.EIO else b"as it was")
    assert sorted(os.listdir(target / "etc/app")) == ["config", "new"]


@pytest.mark.parametrize(
    "number", [errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV, errno.EIO]
)
def test_what_users_put_in_the_way_of_a_removal_is_no_failure(
    target: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """A disk that fails is one."""
    monkeypatch.setattr(files, "remove_tree_at", fails(number))
    failure = pytest.raises(OSError, match="Input/output error")
    with failure if number == errno.EIO else nullcontext():
        trees.remove_one(target, PurePath("etc/app"))


def test_folder_on_the_way_that_is_swapped_for_a_link_is_not_changed(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the moment when it is made and that when it gets its attributes."""
    target, outside = tmp_path / "empty", tmp_path / "outside"
    for folder in (target, outside):
        folder.mkdir(mode=0o700)
    before, make = facts(outside), os.mkdir

    def make_and_swap(name: str, mode: int, *, dir_fd: int) -> None:
        make(name, mode, dir_fd=dir_fd)
        (target / "etc").rename(tmp_path / "was etc")
        (target / "etc").symlink_to(outside)

    with monkeypatch.context() as patch:
        patch.setattr(os, "mkdir", make_and_swap)
        with pytest.raises(NotADirectoryError):
            trees.copy_one(source, PurePath("etc/link"), target, ignore)
    assert facts(outside) == before
