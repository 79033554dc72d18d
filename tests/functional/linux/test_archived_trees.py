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


@pytest.mark.parametrize("covered", ["file", "other", "same"])
def test_what_a_mount_hides_fails_the_backup(
    make_host: Callable[[str], Path], repository: Repository, covered: str
) -> None:
    """Of a folder or a file, also one of the same filesystem: it would be missing, untold."""
    source, other = make_host("xfs"), make_host("ext4")
    (source / "kept").mkdir()
    (source / "kept/file").write_bytes(b"kept")
    for name in ("other", "same"):
        (source / name).mkdir()
    (source / "file").touch()
    hides = {"file": source / "kept/file", "other": other, "same": source / "kept"}
    mounts.bind(hides[covered], source / covered, ())
    with pytest.raises(OSError, match="something is mounted here") as caught:
        archived(repository, source)
    assert caught.value.filename == str(source / covered)


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
