"""Project quotas where there are none; tests/lab/project_quota.py shows them where there are."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from convoy_py.linux import files, loop, mounts, quota

pytestmark = pytest.mark.root


def test_reason_names_the_mount_option_or_the_filesystem(
    scratch: Path,
    make_image: Callable[..., Path],
    attach_and_mount: Callable[..., loop.LoopDevice],
) -> None:
    """An ext4 without prjquota could have it; a filesystem of another kind could not."""
    attach_and_mount("ext4", make_image("ext4"), scratch / "mnt")
    assert quota.support(scratch / "mnt") == "the ext4 it lies on is not mounted with prjquota"
    (scratch / "ram").mkdir()
    mounts.mount("tmpfs", scratch / "ram", "tmpfs", ())
    assert quota.support(scratch / "ram") == "tmpfs has no project quotas"


def test_folders_are_assigned_to_projects(
    scratch: Path,
    make_image: Callable[..., Path],
    attach_and_mount: Callable[..., loop.LoopDevice],
) -> None:
    """A folder's project is kept, and what is created in it inherits it, if so wanted."""
    attach_and_mount("xfs", make_image("xfs"), scratch / "mnt")
    for name, inherit in (("inherits", True), ("alone", False)):
        folder = scratch / "mnt" / name
        (folder / "before").mkdir(parents=True)
        quota.assign(folder, 1 << 30, inherit=inherit)
        (folder / "after").mkdir()
        assert project(folder) == 1 << 30
        assert project(folder / "before") == 0
        assert project(folder / "after") == (1 << 30 if inherit else 0)


def test_tree_becomes_part_of_a_project(make_host: Callable[[str], Path]) -> None:
    """Folders and files that exist get it, though they are immutable or nested deeper than
    descriptors; what links lead to and what is mounted within does not."""
    host = make_host("xfs")
    outside, tree = host / "outside", host / "tree"
    deep = tree.joinpath(*["d"] * 300)
    for folder in (outside, deep, tree / "mounted"):
        folder.mkdir(parents=True)
    for file in (outside / "file", deep / "file", tree / "guarded"):
        file.write_bytes(b"x")
    (tree / "link").symlink_to(outside)
    (tree / "file-link").symlink_to(outside / "file")
    os.mkfifo(tree / "pipe")
    mounts.bind(outside, tree / "mounted", ())
    files.set_immutable(tree / "guarded", True)
    quota.assign_tree(tree, 77)
    inside = (tree, tree / "guarded", tree / "d", deep, deep / "file")
    assert [project(path) for path in inside] == [77] * 5
    assert [project(path) for path in (outside, outside / "file")] == [0, 0]
    (deep / "after").touch()
    assert project(deep / "after") == 77
    quota.assign_tree(tree, 78)
    assert [project(path) for path in inside] == [78] * 5


def project(folder: Path) -> int:
    """As lsattr tells it."""
    argv = ["lsattr", "-dp", str(folder)]
    return int(subprocess.run(argv, check=True, capture_output=True, text=True).stdout.split()[0])
