"""The power to take snapshots of folders: of a subvolume at once, of any other file by file.

The host's filesystem is never frozen. On btrfs a snapshot is atomic; elsewhere each file is read at
a moment of its own, by reflink where the host has them.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from convoy_py.backends import mountpoints
from convoy_py.backends.base import Place, Snapshottable
from convoy_py.backends.common import own, put_in_place, refuse_nested, returning
from convoy_py.backends.directory import limits
from convoy_py.backends.directory.backend import Folders, made
from convoy_py.backends.directory.folder import DATA, source
from convoy_py.errors import Unsupported
from convoy_py.linux import btrfs, extents, files, mounts, quota, reflink, trees
from convoy_py.linux.descriptors import opened
from convoy_py.linux.extents import Shares
from convoy_py.linux.reflink import Step
from convoy_py.models.mount_options import ALWAYS_ON
from convoy_py.models.snapshot import Plan, Way
from convoy_py.models.volume import Spec

# Roughly what a file takes to be made anew, whatever is in it.
_SECONDS_A_FILE = 0.0002


class FolderSnapshots(Folders, Snapshottable):
    """Snapshots of volumes in folders."""

    def plan(self, place: Place, *, clone: bool = False) -> Plan:
        if not clone:
            _refuse_path(place)
        if _is_subvolume(place):
            return Plan(way=Way.SUBVOLUME, instant=True)
        with self.reading(place) as folder:
            number, count = trees.measure(folder)
            apart = mounts.holding(folder).device != mounts.holding(place.home).device
            reason = "it lies on another filesystem" if apart else reflink.support(place.home)
            takes = files.disk_usage(folder)[1] if reason else 0
        one_by_one = number * _SECONDS_A_FILE
        if reason is None:
            hint = "keep the root on btrfs: a snapshot there is one of all files, and instant"
            return Plan(way=Way.FILES, instant=False, bytes=count, seconds=one_by_one, hint=hint)
        return Plan(
            way=Way.COPY,
            instant=False,
            bytes=count,
            takes=takes,
            seconds=count / reflink.speed(place.home) + one_by_one,
            hint=f"{reason}: keep the root on btrfs or xfs, or use backend=loopback",
        )

    def freezable(self, place: Place, *, clone: bool = False) -> Path | None:
        return None

    def copy(self, source: Place, target: Place, step: Step) -> None:
        step(0)
        data = target.held_as(DATA)
        if target.within is not None:
            _refuse_path(source)
        if _is_subvolume(source):
            limit = target.spec.size
            if target.within is None and limit is not None and limit != source.spec.size:
                count = trees.measure(source.held_as(DATA))[1]
                limits.refuse_more(source, count, None, target.spec)
            _snapshot(source, data, read_only=target.within is not None)
            return
        made(data)
        if target.within is None and limits.has(target.spec):
            limits.begin(data, target.uuid, target.spec)
        with self.reading(source) as folder:
            trees.copy(folder, data, step, durable=False)  # `finish` sees to that

    def finish(self, source: Place, target: Place, step: Step) -> Spec:
        data = target.held_as(DATA)
        on_btrfs = btrfs.is_btrfs(data)
        if not _is_subvolume(source):
            # Of a group that was copied, the first one finds most to write, and the rest little.
            files.sync_filesystem(data)
        update: dict[str, object] = {"project": None, "grows_from": None}
        if target.within is not None:
            if on_btrfs:
                btrfs.set_read_only(data, on=True)
            return target.spec.model_copy(update=update)
        with opened(data) as folder:
            own(folder, target.spec, source.spec)
        if limits.has(target.spec):
            if on_btrfs:
                limits.begin(data, target.uuid, target.spec)
            else:
                update["project"] = quota.project(data)
                copied = target.spec.model_copy(update=update)
                # Ext4 does not stop a process with CAP_SYS_RESOURCE, as a daemon has.
                limits.refuse_more(source, *limits.used(data, copied), copied)
        return target.spec.model_copy(update=update)

    def clones(self, source: Place, spec: Spec) -> bool:
        return spec.backend == self.name and spec.path is None

    def rollback(self, place: Place, snapshot: Place, staged: Place, step: Step) -> None:
        step(0)
        new, old, spec = staged.held_as(DATA), place.held_as(DATA), place.spec
        if _is_subvolume(snapshot):
            _snapshot(snapshot, new, read_only=False)
        else:
            made(new)
            trees.copy(snapshot.held_as(DATA), new, step)
        with returning(f"{place} has gone back") as passed:
            if spec.project is not None:
                with _without_limit(old, spec):
                    quota.assign_tree(new, spec.project)
                    put_in_place(new, old, passed)
                    with suppress(OSError):  # it is about to be deleted, and counts no more then
                        quota.assign_tree(new, 0)
                return
            if spec.size is not None:
                limits.begin(new, place.uuid, spec)
            put_in_place(new, old, passed)

    def withdraw(self, snapshot: Place) -> None:
        """All of it lies in its home."""

    @contextmanager
    def reading(self, place: Place) -> Iterator[Path]:
        with self._open(place, "ro") as folder:
            yield folder

    @contextmanager
    def writing(self, place: Place) -> Iterator[Path]:
        with self._open(place) as folder:
            yield folder

    def shares(self, place: Place) -> Shares | None:
        with self.reading(place) as folder:
            return extents.tree_shares(folder)

    @contextmanager
    def _open(self, place: Place, *options: str) -> Iterator[Path]:
        """The folder; a user's is mounted, for its name may lead elsewhere at any moment."""
        if place.spec.path is None:
            yield place.held_as(DATA)
            return
        with mountpoints.private(place.mountpoint) as mountpoint:
            with self.allowed.open(place) as folder:
                mounts.bind(Path(f"/proc/self/fd/{folder}"), mountpoint, (*ALWAYS_ON, *options))
            yield mountpoint


def _is_subvolume(place: Place) -> bool:
    """Whether a snapshot of the folder is one call; not of a user's, which can lie anywhere."""
    data = source(place)
    return place.spec.path is None and btrfs.is_btrfs(data) and btrfs.is_subvolume(data)


def _refuse_path(place: Place) -> None:
    if place.spec.path is not None:
        raise Unsupported(
            f"{place}: its data is the host's (option path): snapshot it there, or `convoy clone` "
            "it into a volume of its own"
        )


def _snapshot(source: Place, data: Path, *, read_only: bool) -> None:
    refuse_nested(source, source.held_as(DATA))
    btrfs.snapshot(source.held_as(DATA), data, read_only=read_only)


@contextmanager
def _without_limit(data: Path, spec: Spec) -> Iterator[None]:
    """Lift a project's limit while two trees are in it; `mount` sets it again if we are cut off."""
    assert spec.project is not None
    quota.set_limit(data, spec.project, None)
    try:
        yield
    finally:
        with suppress(OSError):
            limits.enforce(data, spec)
