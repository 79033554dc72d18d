"""Trees on real filesystems: what only root may give to files, and what filesystems refuse."""

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path, PurePath

import pytest

from convoy_py.linux import btrfs, extents, mounts, trees
from tests import everything
from tests.facts import SOME_ACL, facts
from tests.functional.linux.conftest import FILESYSTEMS

pytestmark = pytest.mark.root

KIB = 1 << 10
MIB = 1 << 20


def ignore(_done: int) -> None:
    """A step that lets the work go on."""


@pytest.fixture
def mounted(
    scratch: Path, make_image: Callable[..., Path], attach_and_mount: Callable[..., object]
) -> Iterator[Callable[[str], Path]]:
    """Gives a new filesystem of a kind, mounted; what is guarded in it is free in the end."""
    made: list[Path] = []

    def mount(fs: str) -> Path:
        target = scratch / f"{fs}-{len(made)}"
        made.append(target)
        if fs == "ramfs":
            target.mkdir()
            mounts.mount("ramfs", target, "ramfs", ())
        else:
            attach_and_mount(fs, make_image(fs), target)
        return target

    yield mount
    for target in made:
        subprocess.run(["chattr", "-R", "-f", "-ia", target], check=False, capture_output=True)


@pytest.mark.parametrize(("there", "here"), [*product(FILESYSTEMS, FILESYSTEMS)])
def test_nothing_is_lost_between_filesystems(
    mounted: Callable[[str], Path], there: str, here: str
) -> None:
    """Owners, setuid, ACLs, capabilities, devices and all that users can make themselves."""
    source = mounted(there) / "source"
    target = (source.parent if here == there else mounted(here)) / "target"
    source.mkdir()
    target.mkdir()
    everything.of_root(source)
    trees.copy(source, target, ignore)
    trees.verify(source, target, ignore)
    assert list(trees.compare(source, target, ignore, content=True)) == []
    assert facts(target) == facts(source)
    assert (target / "sparse").stat().st_blocks * 512 < MIB
    shared = extents.tree_shares(target).shared
    assert bool(shared) == (here == there and here != "ext4")


@pytest.mark.parametrize("fs", FILESYSTEMS)
def test_folder_is_restored_with_all_that_root_gave_it(
    mounted: Callable[[str], Path], fs: str
) -> None:
    """Also in a folder that gives an ACL and a group of its own to what is made in it."""
    source, target = mounted(fs) / "source", mounted(fs) / "target"
    for top in (source, target):
        (top / "in").mkdir(parents=True)
    (source / "in/it").mkdir()
    everything.of_root(source / "in/it")
    os.chown(target / "in", 0, 4321)
    (target / "in").chmod(0o2777)
    os.setxattr(target / "in", "system.posix_acl_default", SOME_ACL)
    (target / "in/it").mkdir()
    (target / "in/it/old").touch()
    trees.copy_one(source, PurePath("in/it/empty"), target, ignore)
    assert facts(target / "in/it")["empty"] == facts(source / "in/it")["empty"]
    trees.copy_one(source, PurePath("in/it"), target, ignore)
    assert facts(target / "in/it") == facts(source / "in/it")
    assert os.listdir(target / "in") == ["it"]


@pytest.fixture
def guarded(mounted: Callable[[str], Path]) -> Path:
    """An ext4 with a tree in which chattr's flags are everywhere, and an empty folder."""
    host = mounted("ext4")
    top = host / "source"
    (top / "folder/below").mkdir(parents=True)
    for name in ("file", "appended", "folder/below/file"):
        (top / name).write_bytes(b"x")
    os.link(top / "file", top / "folder/same")
    os.link(top / "file", top / "folder/below/same")
    (host / "target").mkdir()
    subprocess.run(
        ["chattr", "+i", top / "file", top / "folder/below/file", top / "folder/below", top],
        check=True,
    )
    subprocess.run(["chattr", "+a", top / "appended", top / "folder"], check=True)
    return host


def test_guards_are_set_again(guarded: Path) -> None:
    """What is immutable or append-only is so in the copy, linked files and the top included."""
    source, target = guarded / "source", guarded / "target"
    trees.copy(source, target, ignore)
    assert facts(target) == facts(source)
    assert lsattr(target) == lsattr(source)
    assert sum("i" in flags for flags in lsattr(target).values()) == 6
    with pytest.raises(PermissionError):
        (target / "new").touch()


@pytest.mark.parametrize("path", ["file", "folder", "folder/below/file", "appended"])
def test_guarded_is_restored(guarded: Path, path: str) -> None:
    """A guard does not keep what it guards from being put in its place."""
    target = guarded / "target"
    trees.copy_one(guarded / "source", PurePath(path), target, ignore)
    assert lsattr(target)[path] == lsattr(guarded / "source")[path] != ""
    assert os.listdir(target) == [PurePath(path).parts[0]]


def lsattr(top: Path) -> dict[str, str]:
    """Which of chattr's i, a and C each file and folder bears."""
    found = {}
    for path in (top, *top.rglob("*")):
        if path.is_file() or path.is_dir():
            listed = subprocess.run(
                ["lsattr", "-d", path], check=True, capture_output=True, text=True
            )
            flags = listed.stdout.split()[0]
            found[str(path.relative_to(top))] = "".join(flag for flag in "iaC" if flag in flags)
    return found


def test_files_overwritten_in_place_stay_so(mounted: Callable[[str], Path]) -> None:
    """On btrfs, where they are as they were and share their blocks all the same."""
    host = mounted("btrfs")
    (host / "source/folder").mkdir(parents=True)
    (host / "target").mkdir()
    subprocess.run(["chattr", "+C", host / "source/folder"], check=True)
    (host / "source/folder/database").write_bytes(b"x" * MIB)
    (host / "source/file").write_bytes(b"x" * MIB)
    trees.copy(host / "source", host / "target", ignore)
    flags = {".": "", "folder": "C", "folder/database": "C", "file": ""}
    assert lsattr(host / "target") == flags
    assert extents.tree_shares(host / "target").shared == 2 * MIB


def test_nested_subvolume_is_copied_as_a_folder(mounted: Callable[[str], Path]) -> None:
    """Nothing of what users see in the tree is missing in its copy."""
    host = mounted("btrfs")
    for name in ("source", "target", "source/nested", "source/nested/deeper"):
        btrfs.create_subvolume(host / name)
    (host / "source/nested/deeper/file").write_bytes(b"x")
    tree = trees.copy(host / "source", host / "target", ignore)
    assert (tree.folders, tree.files) == (2, 1)
    assert (host / "target/nested/deeper/file").read_bytes() == b"x"
    trees.verify(host / "source", host / "target", ignore)


def test_snapshots_are_compared_without_reading_what_is_the_same(
    mounted: Callable[[str], Path],
) -> None:
    """Also where an attribute alone has changed, which leaves size and time of change as is."""
    host = mounted("btrfs")
    btrfs.create_subvolume(host / "source")
    for number in range(5):
        (host / f"source/{number}").write_bytes(b"x" * KIB)
    command = ["btrfs", "subvolume", "snapshot", "-r"]
    subprocess.run([*command, host / "source", host / "snapshot"], check=True, capture_output=True)
    os.setxattr(host / "source/2", "user.note", b"new")
    (host / "source/3").write_bytes(b"y" * KIB)
    told: list[int] = []
    found = trees.compare(host / "snapshot", host / "source", told.append, content=False)
    assert [(change.path, change.what) for change in found] == [
        ("2", ("xattrs",)),
        ("3", ("content", "times")),
    ]
    assert sum(told) == KIB


def compared(source: Path, target: Path) -> None:
    list(trees.compare(source, target, ignore, content=False))


def copied(source: Path, target: Path) -> None:
    trees.copy(source, target, ignore)


@pytest.mark.parametrize(
    ("kind", "work"),
    [
        ("folder", copied),
        ("folder of the same filesystem", copied),
        ("file", copied),
        ("folder", compared),
        ("folder of the same filesystem", compared),
    ],
)
def test_mount_in_a_tree_is_refused_by_name(
    scratch: Path, kind: str, work: Callable[[Path, Path], None]
) -> None:
    """Neither what is mounted nor what lies beneath is taken for a part of the tree."""
    source, outside, target = scratch / "source", scratch / "outside", scratch / "target"
    for folder in (source / "a/mounted", outside, target):
        folder.mkdir(parents=True)
    place = source / "a/mounted"
    if kind == "folder":
        mounts.mount("tmpfs", place, "tmpfs", ())
    elif kind == "file":
        place = source / "a/file"
        place.touch()
        (outside / "file").touch()
        mounts.bind(outside / "file", place, ())
    else:
        mounts.bind(outside, place, ())
    with pytest.raises(OSError, match="mounted here") as caught:
        work(source, target)
    assert caught.value.errno == errno.EXDEV
    assert caught.value.filename == str(place)


def test_tree_may_be_a_mount_itself(mounted: Callable[[str], Path], scratch: Path) -> None:
    """What is mounted at the top is the tree."""
    source, target = mounted("xfs"), scratch / "target"
    (source / "file").write_bytes(b"x")
    target.mkdir()
    assert trees.copy(source, target, ignore).files == 1


def test_nothing_is_restored_over_a_mount(scratch: Path) -> None:
    """Refused before anything is done, naming the mountpoint."""
    source, target = scratch / "source", scratch / "target"
    for top in (source, target):
        (top / "a/b").mkdir(parents=True)
    mounts.mount("tmpfs", target / "a/b", "tmpfs", ())
    with pytest.raises(OSError, match=str(target / "a/b")) as caught:
        trees.copy_one(source, PurePath("a"), target, ignore)
    assert caught.value.errno == errno.EBUSY
    assert os.listdir(target) == ["a"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("user.note", b"x"),
        ("trusted.overlay.opaque", b"y"),
        ("system.posix_acl_access", SOME_ACL),
        ("security.capability", everything.CAPABILITY),
    ],
)
def test_attribute_that_cannot_be_kept_is_refused(
    mounted: Callable[[str], Path], scratch: Path, name: str, value: bytes
) -> None:
    """What users rely on is not lost in silence: the error names the file and the attribute."""
    source, target = scratch / "source", mounted("ramfs")
    source.mkdir()
    (source / "file").touch()
    os.setxattr(source / "file", name, value)
    with pytest.raises(OSError, match=name) as caught:
        trees.copy(source, target, ignore)
    assert caught.value.errno == errno.EOPNOTSUPP
    assert caught.value.filename == str(source / "file")


def test_labels_of_the_host_are_left_where_none_are_taken(
    mounted: Callable[[str], Path], scratch: Path
) -> None:
    """Those of security modules: kept if possible, and no reason to refuse a copy."""
    source, plain, like = scratch / "source", mounted("ramfs"), scratch / "like"
    source.mkdir()
    like.mkdir()
    (source / "file").touch()
    os.setxattr(source / "file", "security.test", b"label")
    for target in (plain, like):
        trees.copy(source, target, ignore)
        trees.verify(source, target, ignore)
    assert os.getxattr(like / "file", "security.test") == b"label"


def restored(source: Path, target: Path) -> None:
    trees.copy_one(source, PurePath("large"), target, ignore)


@pytest.mark.parametrize(("work", "left"), [(copied, None), (restored, [])])
def test_full_target_is_said_so(
    mounted: Callable[[str], Path],
    scratch: Path,
    work: Callable[[Path, Path], None],
    left: list[str] | None,
) -> None:
    """ENOSPC, naming the file; a restore leaves nothing behind."""
    source, target = scratch / "source", mounted("ext4") / "target"
    source.mkdir()
    target.mkdir()
    room = os.statvfs(target)
    with (source / "large").open("wb") as file:
        for _ in range(room.f_bfree * room.f_frsize // MIB + 1):
            file.write(os.urandom(MIB))
    with pytest.raises(OSError, match="No space") as caught:
        work(source, target)
    assert caught.value.filename == str(source / "large")
    assert left is None or os.listdir(target) == left
