"""Folders stored in a repository and restored, on real filesystems: all that root can give them."""

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from convoy_py.linux import mounts, trees
from convoy_py.restic.repository import Repository
from tests import everything
from tests.archiving import archived, ignore, restored
from tests.facts import facts
from tests.fakes_restic import NOW, QUICK, MemoryStore
from tests.functional.linux.conftest import FILESYSTEMS

pytestmark = pytest.mark.root

MIB = 1 << 20


@pytest.fixture
def repository() -> Repository:
    return Repository.create(MemoryStore(), "secret", NOW, QUICK)


@pytest.mark.parametrize("fs", FILESYSTEMS)
def test_nothing_that_root_gave_is_lost(
    fs: str, make_host: Callable[[str], Path], repository: Repository
) -> None:
    """Owners, setuid, ACLs, capabilities, devices, holes."""
    host = make_host(fs)
    source, target = host / "source", host / "target"
    for folder in (source, target):
        folder.mkdir()
    everything.of_root(source)
    restored(repository, archived(repository, source).tree, target)
    trees.verify(source, target, ignore)
    assert facts(target) == facts(source)
    assert (target / "sparse").stat().st_blocks * 512 < MIB


def test_other_mounts_are_told_and_left_out(
    scratch: Path, make_host: Callable[[str], Path], repository: Repository
) -> None:
    """Folders and files, also such of the same filesystem."""
    source, target, other = make_host("xfs"), scratch / "target", make_host("ext4")
    target.mkdir()
    (source / "kept").mkdir()
    (source / "kept/file").write_bytes(b"kept")
    for name in ("other", "same"):
        (source / name).mkdir()
    (source / "file").touch()
    mounts.bind(other, source / "other", ())
    mounts.bind(source / "kept", source / "same", ())
    mounts.bind(source / "kept/file", source / "file", ())
    found = archived(repository, source)
    assert found.left_out == (b"file", b"other", b"same")
    restored(repository, found.tree, target)
    assert set(facts(target)) == {".", "kept", "kept/file"}


def test_filesystem_that_keeps_less_fails_the_restore(
    scratch: Path, make_host: Callable[[str], Path], repository: Repository
) -> None:
    """It names the file and what cannot be kept."""
    source, target = make_host("ext4") / "source", scratch / "ram"
    for folder in (source, target):
        folder.mkdir()
    everything.of_root(source)
    mounts.mount("ramfs", target, "ramfs", ())
    with pytest.raises(OSError, match="cannot be kept") as caught:
        restored(repository, archived(repository, source).tree, target)
    assert caught.value.errno == errno.EOPNOTSUPP
    assert str(caught.value.filename).startswith(str(target))
