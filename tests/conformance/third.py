"""A third backend, as plain as one can be: a folder of another name, a bind mount, copies by file.

It stands in no table but those of the tests, so it shows what a backend costs: this one module.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from convoy_py.backends.base import COMMON, Backend, Place, Snapshottable
from convoy_py.backends.common import (
    foreign_mount,
    own,
    put_in_place,
    refuse_changes,
    refuse_nested,
    returning,
)
from convoy_py.errors import Corrupt, NotFound
from convoy_py.linux import btrfs, extents, files, mounts, reflink, trees
from convoy_py.linux.descriptors import opened
from convoy_py.linux.extents import Shares
from convoy_py.linux.holders import Census, Holder
from convoy_py.linux.reflink import Step
from convoy_py.models.mount_options import effective, refuse_guarded
from convoy_py.models.snapshot import Plan, Way
from convoy_py.models.volume import Options, Spec, Usage
from convoy_py.settings import Settings

TREE = "tree"


def tree(place: Place) -> Path:
    return place.held_as(TREE)


class Third(Backend, Snapshottable):
    """Volumes in folders, with snapshots and clones, and without any limit."""

    name: ClassVar[str] = "third"
    takes = COMMON
    usual = TREE
    adopts = f"a folder {TREE}"

    def __init__(self, settings: Settings) -> None:
        self._allowed = settings.allowed_mount_options

    def resolve(self, options: Options) -> Spec:
        refuse_guarded(options.mount_options, self._allowed)
        defaults = {"uid": 0, "gid": 0, "mode": 0o755} if options.source is None else {}
        missing = {key: value for key, value in defaults.items() if getattr(options, key) is None}
        return Spec.of(options, backend=self.name, **missing)

    def promised(self, spec: Spec) -> int:
        return 0

    def recognises(self, home: Path, data: str | None = None) -> bool:
        return (home / (data or TREE)).exists()

    def create(self, place: Place) -> Spec:
        tree(place).mkdir(mode=0o700)
        with opened(tree(place)) as folder:
            own(folder, place.spec)
        return place.spec

    def adopt(self, place: Place, options: Options) -> Spec:
        if tree(place).is_symlink() or not tree(place).is_dir():
            raise NotFound(f"{place}: {tree(place)} is not a folder")
        refuse_guarded(options.mount_options, self._allowed)
        found = tree(place).stat()
        update = {"uid": found.st_uid, "gid": found.st_gid, "mode": stat.S_IMODE(found.st_mode)}
        chosen = {"mount_options": options.mount_options or place.spec.mount_options}
        spec = place.spec.model_copy(update=update | chosen)
        refuse_changes(place.name, spec, options)
        return spec

    def exposed(self, place: Place) -> Path:
        return place.mountpoint

    def data(self, place: Place) -> Path | None:
        return tree(place)

    def is_mounted(self, place: Place) -> bool:
        if not mounts.is_mountpoint(place.mountpoint):
            return False
        try:
            if not os.path.samestat(place.mountpoint.stat(), tree(place).stat()):
                raise foreign_mount(place)
        except FileNotFoundError:
            pass  # ours, but its folder was deleted meanwhile
        return True

    def mount(self, place: Place) -> None:
        if self.is_mounted(place):
            return
        self.check(place)
        options = effective(place.spec.mount_options, self._allowed)
        if place.within is not None:
            options.append("ro")
        mounts.bind(tree(place), place.mountpoint, options)

    def unmount(self, place: Place) -> bool:
        return not self.is_mounted(place) or mounts.unmount_unless_busy(place.mountpoint)

    def holders(self, place: Place, census: Census) -> Sequence[Holder]:
        return census.of_folder(tree(place), place.mountpoint)

    def abandon(self, place: Place) -> None:
        if mounts.is_mountpoint(place.mountpoint):
            mounts.unmount(place.mountpoint)

    def destroy(self, place: Place) -> None:
        files.remove_tree(place.home)

    def usage(self, place: Place, now: float) -> Usage:
        used, allocated = files.disk_usage(tree(place))
        host = os.statvfs(tree(place))
        free = host.f_bavail * host.f_frsize
        return Usage(used=used, allocated=allocated, available=free, sampled=now)

    def check(self, place: Place) -> None:
        if not tree(place).is_dir():
            raise Corrupt(f"{place}: its folder {tree(place)} is missing")

    def facts(self) -> dict[str, str]:
        return {"snapshots": "file by file"}

    # Snapshots

    def plan(self, place: Place, *, clone: bool = False) -> Plan:
        count, reason = trees.measure(tree(place))[1], reflink.support(place.home)
        return Plan(
            way=Way.COPY if reason else Way.FILES,
            instant=False,
            bytes=count,
            takes=files.disk_usage(tree(place))[1] if reason else 0,
            seconds=count / reflink.speed(place.home) if reason else 0.0,
            hint="use another backend",
        )

    def freezable(self, place: Place, *, clone: bool = False) -> Path | None:
        return None

    def copy(self, source: Place, target: Place, step: Step) -> None:
        step(0)
        if btrfs.is_btrfs(tree(source)):
            refuse_nested(source, tree(source))
        tree(target).mkdir(mode=0o700)
        trees.copy(tree(source), tree(target), step)

    def finish(self, source: Place, target: Place, step: Step) -> Spec:
        if target.within is None:
            with opened(tree(target)) as folder:
                own(folder, target.spec, source.spec)
        return target.spec

    def clones(self, source: Place, spec: Spec) -> bool:
        return spec.backend == self.name

    def rollback(self, place: Place, snapshot: Place, staged: Place, step: Step) -> None:
        step(0)
        tree(staged).mkdir(mode=0o700)
        trees.copy(tree(snapshot), tree(staged), step)
        with returning(f"{place} has gone back") as passed:
            put_in_place(tree(staged), tree(place), passed)

    def withdraw(self, snapshot: Place) -> None:
        """All of it lies in its home."""

    @contextmanager
    def reading(self, place: Place) -> Iterator[Path]:
        yield tree(place)

    @contextmanager
    def writing(self, place: Place) -> Iterator[Path]:
        yield tree(place)

    def shares(self, place: Place) -> Shares | None:
        return extents.tree_shares(tree(place))
