"""Mounting, binding and unmounting, as the kernel's table shows it."""

import errno
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from convoy_py.linux import libc, mounts
from tests.fuse import Fuse

pytestmark = pytest.mark.root
_MOUNT_SETATTR = 442


@pytest.mark.parametrize("name", ["vol1", "a blank", "tab\tnewline\n", "back\\slash", "hash#"])
def test_mount_is_found_under_any_name_and_only_there(scratch: Path, name: str) -> None:
    """Names that begin alike, and folders within, are not confused with it."""
    target, similar = scratch / name, scratch / f"{name}0"
    target.mkdir()
    similar.mkdir()
    mounts.mount("tmpfs", target, "tmpfs", ())
    found = mounts.find(target)
    assert found is not None
    assert found.mountpoint == str(target)
    assert found in mounts.table()
    assert mounts.find(similar) is None
    (target / "within").mkdir()
    assert mounts.find(target / "within") is None
    mounts.unmount(target)
    assert mounts.find(target) is None


def test_options_become_flags_and_data(scratch: Path) -> None:
    """What the kernel has a flag for is one, the rest reaches the filesystem."""
    options = ("ro", "nosuid", "nodev", "noexec", "noatime", "rw", "size=1m", "mode=0710")
    mounts.mount("tmpfs", scratch, "tmpfs", options)
    found = mounts.find(scratch)
    assert found is not None
    assert {"ro", "nosuid", "nodev", "noexec", "noatime"} <= set(found.options)
    assert {"size=1024k", "mode=710"} <= set(found.super_options)


def test_topmost_of_stacked_mounts_is_found(scratch: Path) -> None:
    """Of two mounts on one folder the visible one counts; once it is gone, the other."""
    mounts.mount("lower", scratch, "tmpfs", ())
    mounts.mount("upper", scratch, "tmpfs", ())
    for source in ("upper", "lower"):
        found = mounts.find(scratch)
        assert found is not None
        assert found.source == source
        mounts.unmount(scratch)
    assert mounts.find(scratch) is None


def test_an_id_that_lasts_is_given_once(scratch: Path) -> None:
    """Unlike that of the table, which the next mount at the same place gets again."""
    target = scratch / "volume"
    target.mkdir()
    found = []
    for _ in range(5):
        mounts.mount("tmpfs", target, "tmpfs", ())
        (target / "within").mkdir()
        assert mounts.lasting_id(target) == mounts.lasting_id(target)
        assert mounts.lasting_id(target / "within") is None
        found.append(mounts.lasting_id(target))
        mounts.unmount(target)
    assert None not in found
    assert len(set(found)) == len(found)
    assert mounts.lasting_id(target) is mounts.lasting_id(target / "missing") is None


def test_bind_has_flags_of_its_own(scratch: Path) -> None:
    """The bound folder is read-only and nosuid there, and not where it comes from."""
    source, target = scratch / "source", scratch / "target"
    source.mkdir()
    target.mkdir()
    mounts.bind(source, target, ("ro", "nosuid"))
    found = mounts.find(target)
    assert found is not None
    assert {"ro", "nosuid"} <= set(found.options)
    assert found.root.endswith(str(source)[-20:])
    (source / "file").touch()
    with pytest.raises(OSError, match="Read-only"):
        (target / "other").touch()


def test_bind_has_its_flags_wherever_it_propagates(scratch: Path) -> None:
    """As from a managed plugin to its engine: there, too, nobody writes to what is read-only."""
    source, shared, peer = (scratch / name for name in ("source", "shared", "peer"))
    for folder in (source, shared, peer):
        folder.mkdir()
    for how, *places in (("bind", shared, shared), ("make-shared", shared), ("bind", shared, peer)):
        subprocess.run(["mount", f"--{how}", *map(str, places)], check=True)
    (shared / "target").mkdir()
    mounts.bind(source, shared / "target", ("ro", "nosuid"))
    found = mounts.find(peer / "target")
    assert found is not None
    assert {"ro", "nosuid"} <= set(found.options)
    with pytest.raises(OSError, match="Read-only"):
        (peer / "target/file").touch()


def test_bind_that_cannot_get_its_flags_is_not_there(
    scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder is never left bound without its nosuid."""
    source, target = scratch / "source", scratch / "target"
    source.mkdir()
    target.mkdir()
    call = libc.call

    def refuse(function: str, *arguments: Any, about: str | None = None) -> int:
        if function == "syscall" and arguments[0].value == _MOUNT_SETATTR:
            raise PermissionError(errno.EPERM, "refused")
        return call(function, *arguments, about=about)

    with monkeypatch.context() as patch:
        patch.setattr(libc, "call", refuse)
        with pytest.raises(PermissionError, match="refused"):
            mounts.bind(source, target, ("nosuid",))
    assert mounts.find(target) is None


def test_bind_refuses_options_that_it_cannot_honour(scratch: Path) -> None:
    """An option of a filesystem is not ignored silently."""
    with pytest.raises(OSError, match="size=1m"):
        mounts.bind(scratch, scratch, ("size=1m",))
    assert mounts.find(scratch) is None


def test_unmount_refuses_what_is_in_use_and_follows_no_link(scratch: Path) -> None:
    """Busy is an error, never a lazy detach; a link is not a mountpoint."""
    target, link = scratch / "target", scratch / "link"
    target.mkdir()
    link.symlink_to(target)
    mounts.mount("tmpfs", target, "tmpfs", ())
    with (target / "file").open("w"), pytest.raises(OSError, match="busy"):
        mounts.unmount(target)
    with pytest.raises(OSError, match="Invalid"):
        mounts.unmount(link)
    assert mounts.find(target) is not None
    mounts.unmount(target)


def test_sharing_is_that_of_the_mount_around(scratch: Path) -> None:
    """A folder in a shared mount is shared, in a private one it is not."""
    (scratch / "within").mkdir()
    mounts.bind(scratch, scratch, ())
    for how, shared in (("--make-shared", True), ("--make-private", False)):
        subprocess.run(["mount", how, scratch], check=True)
        assert mounts.holding(scratch / "within").shared is shared


def test_copies_that_nobody_else_has_are_dropped(scratch: Path) -> None:
    """As a managed plugin finds them at its start; what propagates, or lies elsewhere, stays."""
    host, own, view, elsewhere = (scratch / name for name in ("host", "own", "view", "elsewhere"))
    for folder in (host, own, view, elsewhere):
        folder.mkdir()
    mounts.mount("tmpfs", host, "tmpfs", ())
    subprocess.run(["mount", "--make-shared", host], check=True)
    (host / "plugin/volumes/vol").mkdir(parents=True)
    mounts.bind(host / "plugin", own, ())
    mounts.mount("tmpfs", own / "volumes/vol", "tmpfs", ())
    subprocess.run(["mount", "--rbind", host, view], check=True)
    subprocess.run(["mount", "--make-rprivate", view], check=True)
    mounts.bind(host / "plugin", view / "plugin", ())  # which covers the copy of the volume
    subprocess.run(["mount", "--bind", own / "volumes/vol", elsewhere], check=True)
    dropped = [str(view / "plugin"), str(view / "plugin/volumes/vol")]
    assert mounts.drop_copies(own / "volumes") == dropped
    assert [mount.mountpoint for mount in mounts.below(view)] == [str(view)]
    for kept in (own / "volumes/vol", host / "plugin/volumes/vol", elsewhere):
        assert mounts.is_mountpoint(kept)
    assert mounts.drop_copies(own / "volumes") == []
    assert mounts.drop_copies(host / "plugin") == []


def test_mount_is_told_though_its_filesystem_does_not_answer(scratch: Path) -> None:
    """What the kernel knows by itself is not asked of others."""
    storage = Fuse(scratch)
    shown = scratch / "shown"
    shown.mkdir()
    mounts.bind(storage.at, shown, ())
    try:
        with ThreadPoolExecutor(1) as pool, storage.silent():
            assert pool.submit(mounts.is_mountpoint, storage.at).result(5)
            found = pool.submit(mounts.find, shown).result(5)
            assert found is not None
            assert pool.submit(mounts.holding, shown).result(5) == found
            covers = pool.submit(mounts.Covers).result(5)
            assert covers.of(f"{shown}/a/b") == found
    finally:
        mounts.unmount(shown)
        storage.close()
