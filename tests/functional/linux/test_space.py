"""Free space and who has what of it: on filesystems that share blocks, and that delete late."""

import os
from collections.abc import Callable
from itertools import repeat
from pathlib import Path

import pytest

from convoy_py.linux import btrfs, extents, files, mounts, reflink, space
from convoy_py.linux.extents import Footprint

pytestmark = pytest.mark.root

MIB = 1 << 20

MakeHost = Callable[[str], Path]


def _written(path: Path, mib: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(mib * MIB))
    return path


def _synced(path: Path) -> Path:
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return path


def _cloned(source: Path, target: Path) -> None:
    with source.open("rb") as original, target.open("wb") as copy:
        reflink.clone(original.fileno(), copy.fileno())


@pytest.mark.parametrize("fs", ["ext4", "xfs", "btrfs"])
def test_what_is_deleted_is_free_at_once(fs: str, make_host: MakeHost) -> None:
    """Once it was waited for; on btrfs a subvolume too."""
    host = make_host(fs)
    before = space.free(host)
    if fs == "btrfs":
        btrfs.create_subvolume(host / "tree")
    _synced(_written(host / "tree/file", 40))
    assert space.free(host) <= before - 40 * MIB
    files.remove_tree(host / "tree")
    assert space.given_back(host, 20.0)
    assert space.free(host) >= before - 2 * MIB


@pytest.mark.parametrize("fs", ["ext4", "xfs", "btrfs"])
def test_what_waits_to_be_written_is_not_free(fs: str, make_host: MakeHost) -> None:
    """Neither what is in memory nor what is not committed."""
    host = make_host(fs)
    before = space.free(host)
    path = _written(host / "file", 40)
    assert space.free(host) <= before - 39 * MIB
    _synced(path)
    assert space.free(host) <= before - 39 * MIB


def test_a_btrfs_that_is_slow_to_clean_is_not_waited_for_without_end(
    make_host: MakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told."""
    monkeypatch.setattr(btrfs, "is_cleaning", lambda _: True)
    assert not space.given_back(make_host("btrfs"), 0.2)


@pytest.mark.parametrize("fs", ["xfs", "btrfs"])
def test_a_footprint_tells_own_from_shared(fs: str, make_host: MakeHost) -> None:
    """Where the shared blocks lie is the same for all that have them."""
    host = make_host(fs)
    _written(host / "tree/own", 3)
    source = _synced(_written(host / "tree/deep/source", 5))
    (host / "other").mkdir()
    _cloned(source, host / "other/clone")
    found = extents.footprint(host / "tree", bool)
    assert found.own == 3 * MIB
    assert sum(end - begin for begin, end in found.shared) == 5 * MIB
    assert sorted(extents.shared_ranges(host / "other", bool)) == sorted(found.shared)


def test_a_filesystem_that_shares_nothing_is_not_asked_for_each_file(make_host: MakeHost) -> None:
    """Its blocks are counted."""
    host = make_host("ext4")
    _synced(_written(host / "tree/file", 3))
    found = extents.footprint(host / "tree", bool)
    assert 3 * MIB <= found.own <= 3 * MIB + 64 * 1024
    assert found.shared == []


@pytest.mark.parametrize("fs", ["ext4", "xfs"])
def test_when_it_gets_late_the_rest_is_not_looked_at(fs: str, make_host: MakeHost) -> None:
    """What was not seen is not counted on; of the living an error tells it."""
    host = make_host(fs)
    for name in "abc":
        _synced(_written(host / "tree" / name, 1))
    late = iter([False, *repeat(True, 9)])
    assert 0 < extents.footprint(host / "tree", lambda: next(late)).own < 3 * MIB
    with pytest.raises(TimeoutError):
        list(extents.shared_ranges(host / "tree", lambda: True))


def test_an_empty_tree_has_nothing(make_host: MakeHost) -> None:
    assert extents.footprint(make_host("xfs"), bool) == Footprint()


def test_what_lies_beside_is_told_by_the_mount_table(make_host: MakeHost, scratch: Path) -> None:
    """A folder on the same filesystem, also where that is shown a second time; no other."""
    host = make_host("ext4")
    (host / "root").mkdir()
    (host / "data").mkdir()
    second, other = scratch / "second", scratch / "other"
    second.mkdir()
    other.mkdir()
    mounts.bind(host / "data", second, ())
    mounts.mount("tmpfs", other, "tmpfs", ())
    paths = [host / "data", second / "below", other, scratch]
    assert mounts.beside(host / "root", paths) == paths[:2]
