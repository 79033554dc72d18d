"""The power to take snapshots of images: by reflink or copy, or inside of btrfs images."""

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from convoy_py.backends.base import Place, Snapshottable
from convoy_py.backends.common import own, put_in_place, returning
from convoy_py.backends.loopback import file, growth, image, inside
from convoy_py.backends.loopback.image import DATA, IMAGE
from convoy_py.errors import OperationFailed
from convoy_py.linux import btrfs, extents, files, filesystems, reflink
from convoy_py.linux.descriptors import opened
from convoy_py.linux.extents import Shares
from convoy_py.linux.reflink import Step
from convoy_py.models.filesystem import Filesystem
from convoy_py.models.snapshot import Plan, Way
from convoy_py.models.volume import Spec

# A precopy that takes longer leaves so much behind that another is worth it.
_LONG_SECONDS = 0.1


class ImageSnapshots(Snapshottable):
    """Snapshots of volumes in images."""

    def plan(self, place: Place, *, clone: bool = False) -> Plan:
        if _goes_inside(place) and not clone:
            inside.refuse_foreign(place)
            return Plan(way=Way.INSIDE, instant=True)
        freezes = self.freezable(place, clone=clone) is not None
        folder = image.owner(place).home
        reason, hint = reflink.support(folder), "keep the root on xfs or btrfs"
        # A clone of a reserved volume is reserved too, also if it comes from a snapshot.
        reserves = _is_reserved(place) or (clone and place.spec.sparse is False)
        if reason is None and not reserves:
            return Plan(way=Way.REFLINK, instant=True, freezes=freezes)
        if reason is None:
            reason = "the reserved blocks of a volume (sparse=false) are shared with nothing"
            hint = "make it one with sparse=true"
        elif not clone:
            hint += ", or make the volume with fs=btrfs"
        count = file.occupied(image.path(place))
        return Plan(
            way=Way.COPY,
            instant=False,
            bytes=count,
            takes=count,
            seconds=count / reflink.speed(folder),
            freezes=freezes,
            hint=f"{reason}: {hint}",
        )

    def freezable(self, place: Place, *, clone: bool = False) -> Path | None:
        if image.is_read_only(place) or (_goes_inside(place) and not clone):
            return None
        return image.live_at(place)

    def precopy(self, source: Place, target: Place, step: Step) -> bool:
        folder = self.freezable(source, clone=target.within is None)
        if folder is None or not _shares(source, target.home):
            return False
        files.sync_filesystem(folder)  # what is in memory would be written, and change, afterwards
        began = time.monotonic()
        file.precopy(image.path(source), target.held_as(IMAGE), step)
        return time.monotonic() - began > _LONG_SECONDS

    def copy(self, source: Place, target: Place, step: Step) -> None:
        step(0)
        if image.is_inside(target):
            inside.take(source, target)
            return
        _settle(source)
        _copy(source, target, step)

    def finish(self, source: Place, target: Place, step: Step) -> Spec:
        if image.is_inside(target):
            return target.spec.model_copy(update={"exposed": ".", "grows_from": None})
        copied = _as_copied(source, target)
        if target.within is None:
            _make_independent(source, copied, step)
        else:
            # A journal is replayed now: the snapshot is never mounted to be written again.
            with growth.whole(copied):
                pass
        _sync(image.path(copied))
        return copied.spec.model_copy(update={"grows_from": None})

    def clones(self, source: Place, spec: Spec) -> bool:
        whole = image.owner(source).spec
        fs, size = image.form(whole)
        if fs is Filesystem.BTRFS and not inside.is_ours(image.owner(source)):
            return False  # its files get a subvolume that snapshots can be taken of
        if (spec.backend, spec.fs) != (whole.backend, fs) or spec.size is None:
            return False
        if spec.autogrow is not None and spec.autogrow > growth.largest(source):
            return False  # in a filesystem that is made for it there may be room for that
        if spec.inodes != whole.inodes_at(spec.size):
            return False  # that is settled when a filesystem is made
        return spec.size == size or (spec.size > size and growth.can_become(source, spec.size))

    def rollback(self, place: Place, snapshot: Place, staged: Place, step: Step) -> None:
        step(0)
        if _goes_inside(place):
            # Its image stays, for the snapshots lie in it.
            with returning(f"{place} has gone back") as passed, inside.top(place) as folder:
                inside.sweep(folder)
                before = _exchanged(place, snapshot, folder, step)
                passed()  # the point of no return: the volume has the other data
                files.sync_filesystem(folder)
                btrfs.delete_subvolume(before)
            return
        built = replace(place, home=staged.home)
        _copy(snapshot, built, step)
        built = _as_copied(place, built)
        if place.spec.sparse is False:
            file.reserve(image.path(built), step, file.occupied(image.path(snapshot)))
        if built.spec.grows_from is not None:
            growth.complete(built)
        _sync(image.path(built))
        with returning(f"{place} has gone back") as passed:
            put_in_place(image.path(built), image.path(place), passed)

    def withdraw(self, snapshot: Place) -> None:
        if image.is_inside(snapshot):
            with returning(f"{snapshot} is deleted") as passed:
                inside.withdraw(image.owner(snapshot), snapshot, passed)

    @contextmanager
    def reading(self, place: Place) -> Iterator[Path]:
        with _open(place, "ro") as folder:
            yield folder

    @contextmanager
    def writing(self, place: Place) -> Iterator[Path]:
        with _open(place) as folder:
            yield folder

    def shares(self, place: Place) -> Shares | None:
        if image.is_inside(place):
            # To mount it for this would be in the way of who mounts the volume.
            if image.live_at(image.owner(place)) is None:
                return None
            with self.reading(place) as folder:
                return extents.tree_shares(folder)
        with opened(image.path(place)) as fd:
            return extents.shares(fd)


def _goes_inside(place: Place) -> bool:
    """Whether its snapshots lie in its own image."""
    return place.within is None and place.spec.fs is Filesystem.BTRFS


def _settle(source: Place) -> None:
    """See to it that an image that is not mounted holds still and can be copied as it is."""
    if image.is_read_only(source) or image.live_at(source):
        return
    if image.is_let_go(source):
        if source.spec.fs is Filesystem.BTRFS:
            # Its log must be replayed before a copy gets an identity of its own.
            with image.privately(source):
                pass
        return
    live = ", ".join(str(attached.device.path) for attached in image.devices(source))
    raise OperationFailed(
        f"{source}: its image is live on {live}, but mounted nowhere that this daemon sees; "
        "end what holds it, or mount the volume"
    )


def _copy(source: Place, target: Place, step: Step) -> None:
    found, path = image.path(source), target.held_as(IMAGE)
    if path.exists():  # by a precopy
        file.complete(found, path, step)
        return
    counted = 0 if _shares(source, target.home) else file.occupied(found)
    file.copy(found, path, step, counted, share=not _is_reserved(source))


def _shares(source: Place, home: Path) -> bool:
    """Whether a copy in a folder is a reflink."""
    return not _is_reserved(source) and reflink.support(home) is None


def _is_reserved(source: Place) -> bool:
    """Whether a copy may share no blocks: the first write to each would need another of the host.

    A snapshot's own blocks are written by nobody.
    """
    return source.within is None and source.spec.sparse is False


def _as_copied(source: Place, target: Place) -> Place:
    """A copy of the source's image as it stands there, to be completed: it is nobody's yet.

    A snapshot keeps the length that the image has, a volume gets that of its spec.
    """
    spec, copied = target.spec, replace(target, within=None)
    found = image.path(copied).stat().st_size
    size = found if target.within is not None else spec.size
    # An image that was to grow may have begun to.
    whole = found == size and image.owner(source).spec.grows_from is None
    update = {
        "size": size,
        "grows_from": None if whole else found,
        "exposed": image.DATA if image.is_inside(source) else source.spec.exposed,
    }
    return replace(copied, spec=spec.model_copy(update=update))


def _make_independent(source: Place, clone: Place, step: Step) -> None:
    """Give a copy of an image an identity, blocks, a size and an owner of its own."""
    fs, _ = image.form(clone.spec)
    filesystems.new_identity(fs, image.path(clone), clone.uuid)
    if clone.spec.sparse is False:
        file.reserve(image.path(clone), step, file.occupied(image.path(source)))
    with growth.whole(clone) as mountpoint:
        if fs is Filesystem.BTRFS:
            inside.sweep(mountpoint)
            if image.is_inside(source):
                btrfs.delete_subvolume(inside.put_back(mountpoint, source))
            inside.part_from(mountpoint)
        with opened(mountpoint / clone.spec.exposed) as folder:
            own(folder, clone.spec, source.spec)
        files.sync_filesystem(mountpoint)


def _exchanged(place: Place, snapshot: Place, folder: Path, step: Step) -> Path:
    """Give the data of a btrfs image another content; where that lies now which it was."""
    if image.is_inside(snapshot):
        return inside.put_back(folder, snapshot)
    try:
        with _open(snapshot, "ro") as source:
            staged = inside.copied(folder, source, step)
    except BaseException as error:
        inside.sweep(folder)
        if not isinstance(error, OSError) or error.errno != errno.ENOSPC:
            raise
        raise OperationFailed(
            f"{place}: its image has no room for both what it has, which stays as a snapshot, and "
            "what it is to get: `convoy resize` it, or restore it as another volume"
        ) from error
    files.exchange(staged, folder / DATA)
    return staged


@contextmanager
def _open(place: Place, *options: str) -> Iterator[Path]:
    if image.is_mounted(place):
        yield place.mountpoint / place.spec.exposed
    else:
        with growth.whole(place, *options) as mountpoint:
            yield mountpoint / place.spec.exposed


def _sync(path: Path) -> None:
    with opened(path) as fd:
        os.fsync(fd)
