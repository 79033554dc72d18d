"""Folders with all that only root can give: there and back, and as a real restic sees them."""

import os
import stat
from pathlib import Path

import pytest

from convoy_py.restic.repository import Repository
from convoy_py.restic.restorer import find, restore
from convoy_py.restic.stores.local import LocalStore
from tests import everything
from tests.archiving import archived, ignore
from tests.facts import Facts, facts
from tests.fakes_restic import NOW, QUICK
from tests.restic import Restic

pytestmark = pytest.mark.root

MIB = 1 << 20


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A tree with everything in it, and a file that is data, and a hole, and data."""
    top = tmp_path / "source"
    top.mkdir()
    everything.of_root(top)
    everything.of_users(top / "users")
    with (top / "large").open("wb") as file:
        file.write(os.urandom(3 * MIB))
        file.seek(60 * MIB)
        file.write(b"end")
    return top


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


@pytest.fixture
def repository(store: LocalStore) -> Repository:
    return Repository.create(store, "right", NOW, QUICK)


def without_sockets(wanted: dict[str, Facts]) -> dict[str, Facts]:
    return {name: fact for name, fact in wanted.items() if not stat.S_ISSOCK(fact.mode)}


def as_restored(by: Restic, wanted: dict[str, Facts]) -> dict[str, Facts]:
    """What restic makes of a tree: no sockets, and of a link with two names two links."""
    found = without_sockets(wanted)
    for name, fact in found.items():
        if stat.S_ISLNK(fact.mode):
            xattrs = fact.xattrs if by.is_newest else {}
            found[name] = fact._replace(first_name=name, xattrs=xattrs)
    return found


def test_restic_restores_what_was_archived(
    restic: Restic, repository: Repository, source: Path, target: Path
) -> None:
    """Every byte, owner, mode, time, attribute and link; the newest leaves the holes, too."""
    first = archived(repository, source, is_backup=True)
    (source / "large").write_bytes(os.urandom(MIB))
    second = archived(repository, source, previous=first.tree, is_backup=True)
    [snapshot] = [found for found in repository.snapshots() if found.tree == second.tree]
    restic.check()
    restic.finds_nothing_to_mend()
    sparse = ["--sparse"] if restic.is_newest else []
    restic.run("restore", snapshot.id, "--target", target, *sparse)
    assert facts(target / "data") == as_restored(restic, facts(source))
    if restic.is_newest:
        assert (target / "data/sparse").stat().st_blocks * 512 < MIB


def test_what_restic_backed_up_is_restored(restic: Restic, source: Path, target: Path) -> None:
    """The folder stands in its trees at its whole path."""
    restic.init()
    restic.run("backup", source)
    repository = Repository.open(LocalStore(restic.repository), restic.password)
    [snapshot] = repository.snapshots()
    folder = find(repository, snapshot.tree, os.fsencode(source).split(b"/")[1:])
    restore(repository, folder, target, ignore, devices=True)
    wanted = without_sockets(facts(source))  # restic stores none
    if not restic.is_newest:
        del wanted["link"].xattrs["trusted.overlay.test"]
    assert facts(target) == wanted
    assert (target / "sparse").stat().st_blocks * 512 < MIB
