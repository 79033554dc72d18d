"""Directory volumes with limits on ext4 and XFS: made, cloned, rolled back, resized under quotas.

A script of its own, for the lab's machine: `python3 directory_quota.py FOLDER`, as root, with this
repository's root, and pydantic, on PYTHONPATH. It needs free space for two images in FOLDER.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from convoy_py.backends import mountpoints
from convoy_py.backends.base import Place
from convoy_py.backends.directory import Directory
from convoy_py.errors import NoSpace
from convoy_py.linux import files, quota
from convoy_py.models.volume import Options
from tests.lab.project_quota import MAKE, MIB, mounted, report, written


def main(folder: Path) -> int:
    for fs in MAKE:
        with mounted(fs, folder, "prjquota") as root:
            for test in (
                clones_have_their_own,
                rollback_keeps_it,
                it_changes,
                mount_restores_it,
                files_are_limited,
            ):
                report(fs, test, root / test.__name__)
    return 0


def clones_have_their_own(home: Path) -> None:
    """A clone has a project and a limit of its own; a snapshot counts for neither."""
    bed = Bed(home)
    place = bed.created("db", 8 * MIB)
    assert written(place.home / "data/file", 4 * MIB) == 4 * MIB
    snapshot = bed.taken(place)
    assert quota.project(snapshot.home / "data") == 0
    assert used(place) < 5 * MIB
    clone = bed.cloned(snapshot, "copy", 16 * MIB)
    assert clone.spec.project not in (None, place.spec.project)
    assert 4 * MIB <= used(clone) < 5 * MIB
    assert 10 * MIB <= written(clone.home / "data/more", 32 * MIB) <= 12 * MIB
    assert used(place) < 5 * MIB
    try:
        bed.cloned(snapshot, "small", 2 * MIB)
    except (NoSpace, OSError) as error:
        print(f"   {error}")  # noqa: T201 - a script, its output is its report
    else:
        raise AssertionError("4 MiB went into 2 MiB")
    bed.backend.destroy(clone)
    assert 7 * MIB <= written(place.home / "data/file", 16 * MIB) <= 8 * MIB


def rollback_keeps_it(home: Path) -> None:
    """After a rollback the limit holds, and the tree of before counts for it no longer."""
    bed = Bed(home)
    place = bed.created("db", 8 * MIB)
    (place.home / "data/a").mkdir()
    written(place.home / "data/a/file", 5 * MIB)
    snapshot = bed.taken(place)
    written(place.home / "data/a/more", 2 * MIB)
    for _ in range(2):
        staged = bed.staged("undo", None)
        bed.backend.rollback(place, snapshot, replace(staged, uuid=""), told)
        assert 5 * MIB <= used(place) < 6 * MIB, used(place)
        assert quota.project(staged.home / "data") == 0
        files.remove_tree(staged.home)
    assert not (place.home / "data/a/more").exists()
    got = written(place.home / "data/a/again", 8 * MIB)
    assert 2 * MIB <= got <= 3 * MIB, got


def it_changes(home: Path) -> None:
    """A limit rises and sinks, but not below what is used."""
    bed = Bed(home)
    place = bed.created("db", 8 * MIB)
    assert 7 * MIB <= written(place.home / "data/file", 16 * MIB) <= 8 * MIB
    place = replace(place, spec=bed.backend.resized(place.spec, 12 * MIB))
    assert bed.backend.grow(place) is True
    assert 3 * MIB <= written(place.home / "data/more", 16 * MIB) <= 5 * MIB
    try:
        bed.backend.grow(replace(place, spec=bed.backend.resized(place.spec, 4 * MIB)))
    except NoSpace as error:
        print(f"   {error}")  # noqa: T201 - as above
    else:
        raise AssertionError("12 MiB went into 4 MiB")


def mount_restores_it(home: Path) -> None:
    """A limit that a crash left lifted holds again once the volume is mounted."""
    bed = Bed(home)
    place = bed.created("db", 4 * MIB)
    assert place.spec.project is not None
    quota.set_limit(place.home / "data", place.spec.project, None)
    mountpoints.make(place.mountpoint)
    bed.backend.mount(place)
    got = written(place.mountpoint / "file", 8 * MIB)
    assert bed.backend.unmount(place)
    assert 3 * MIB <= got <= 4 * MIB, got


def files_are_limited(home: Path) -> None:
    """To the file, without a size; clones and rollbacks have the limit, too, and usage tells it."""
    bed = Bed(home)
    place = bed.created("db", None, inodes=5)
    assert _fits(place) == 5
    usage = bed.backend.usage(place, 0)
    assert (usage.inodes, usage.inodes_used, usage.inodes_available) == (5, 5, 0)
    snapshot = bed.taken(place)
    clone = bed.cloned(snapshot, "copy", None, inodes=8)
    assert _fits(clone) == 8
    try:
        bed.cloned(snapshot, "small", None, inodes=3)
    except (NoSpace, OSError) as error:
        print(f"   {error}")  # noqa: T201 - as above
    else:
        raise AssertionError("5 files went into 3")
    staged = bed.staged("undo", None)
    (place.home / "data/0").unlink()
    bed.backend.rollback(place, snapshot, replace(staged, uuid=""), told)
    (place.home / "data/0").unlink()
    assert _fits(place) == 5


def _fits(place: Place) -> int:
    """How many files there are once an ordinary user made as many as may be."""
    data = place.home / "data"
    for number in range(20):
        written(data / str(number), 65536)
    return sum(path.stat().st_size > 0 for path in data.iterdir())


class Bed:
    """A root below `home`, and volumes in it as the engine makes them."""

    def __init__(self, home: Path) -> None:
        home.chmod(0o755)
        self.root = home
        (home / "volumes").mkdir(mode=0o755)
        self.backend = Directory(home)

    def staged(self, name: str, size: int | None, inodes: int | None = None) -> Place:
        home = self.root / "volumes" / name
        home.mkdir(mode=0o755)
        spec = self.backend.resolve(Options(size=size, mode=0o777, source="db", inodes=inodes))
        return Place(name, str(uuid4()), home, self.root / "mounts" / name, spec)

    def created(self, name: str, size: int | None, inodes: int | None = None) -> Place:
        place = self.staged(name, size, inodes)
        return replace(place, spec=self.backend.create(place))

    def taken(self, place: Place) -> Place:
        home = place.home / "snapshots/nightly"
        home.mkdir(parents=True)
        mountpoint = self.root / "mounts/db@nightly"
        snapshot = Place("db@nightly", str(uuid4()), home, mountpoint, place.spec, within=place)
        return self._filled(place, snapshot)

    def cloned(
        self, source: Place, name: str, size: int | None, inodes: int | None = None
    ) -> Place:
        return self._filled(source, self.staged(name, size, inodes))

    def _filled(self, source: Place, target: Place) -> Place:
        self.backend.copy(source, target, told)
        return replace(target, spec=self.backend.finish(source, target, told))


def used(place: Place) -> int:
    files.sync_filesystem(place.home)
    assert place.spec.project is not None
    return quota.usage(place.home / "data", place.spec.project)[0]


def told(count: int) -> None:
    """A step that nobody follows."""


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else os.curdir)))
