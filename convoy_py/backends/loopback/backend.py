"""Volumes in images: made, adopted, mounted, measured."""

import os
import stat
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from convoy_py.backends.base import COMMON, Backend, Place
from convoy_py.backends.common import own, refuse_changes
from convoy_py.backends.loopback import file, found, growth, image, inside
from convoy_py.backends.loopback.image import DATA, IMAGE
from convoy_py.errors import Corrupt, InvalidOption, NotFound, Unsupported
from convoy_py.linux import btrfs, files, filesystems, growing, loop, mounts, reflink, space
from convoy_py.linux.descriptors import opened
from convoy_py.linux.holders import Census, Holder
from convoy_py.models.filesystem import IMAGE_SIZES, Filesystem
from convoy_py.models.mount_options import effective, refuse_guarded
from convoy_py.models.sizes import format_size
from convoy_py.models.volume import Options, Spec, Usage, show


class Images(Backend):
    """Volumes in filesystem images below the root."""

    name: ClassVar[str] = "loopback"
    takes = COMMON | {"size", "fs", "sparse", "autogrow", "inodes", "schedule_raw"}
    usual = IMAGE
    adopts = f"a filesystem image {IMAGE}"

    def __init__(
        self,
        root: Path,
        default_size: int,
        default_fs: Filesystem,
        allowed_mount_options: Sequence[str] = (),
    ) -> None:
        self._root = root
        self._default_size = default_size
        self._default_fs = default_fs
        self._allowed_mount_options = allowed_mount_options

    def resolve(self, options: Options) -> Spec:
        refuse_guarded(options.mount_options, self._allowed_mount_options)
        fs = options.fs or self._default_fs
        size = self._default_size if options.size is None else options.size
        size = growth.bounded(fs, size)
        # A clone keeps the owner and the mode that it finds, where no others are asked for.
        defaults = {"uid": 0, "gid": 0, "mode": 0o755} if options.source is None else {}
        spec = Spec.of(
            options,
            backend=self.name,
            size=size,
            fs=fs,
            sparse=options.sparse is not False,
            autogrow=_checked_autogrow(options.autogrow, fs, size),
            inodes=growth.checked_inodes(fs, size, options.inodes),
            **{key: value for key, value in defaults.items() if getattr(options, key) is None},
        )
        growth.check_autogrow(spec, growing.reach(fs, size))
        return spec

    def inherited(self, spec: Spec, asked: Options) -> Options:
        known = image.form(spec)
        fs, size = asked.fs or known[0], known[1] if asked.size is None else asked.size
        update: dict[str, int | None] = {}
        if fs is not spec.fs:
            update["inodes"] = None  # each filesystem has limits of another kind
        elif asked.size is not None:
            update["inodes"] = spec.inodes_at(size)
        if spec.autogrow is not None and not _may_grow(fs, size, spec.autogrow):
            update["autogrow"] = None
        return spec.options().model_copy(update=update)

    def promised(self, spec: Spec) -> int:
        return spec.size or 0

    def reserves(self, spec: Spec) -> bool:
        return spec.sparse is False

    def has_own_filesystem(self, spec: Spec) -> bool:
        return True

    def recognises(self, home: Path, data: str | None = None) -> bool:
        return (home / (data or IMAGE)).exists()

    def create(self, place: Place) -> Spec:
        spec, path = place.spec, image.path(place)
        fs, size = image.form(spec)
        with file.begun(path, size, reserved=not spec.sparse) as fd:
            filesystems.make(fs, path, size, uuid=place.uuid, inodes=spec.inodes)
            growth.check_autogrow(spec, growth.largest(place))
            _furnish(place, spec)
            os.fsync(fd)
        return spec

    def adopt(self, place: Place, options: Options) -> Spec:
        refuse_guarded(options.mount_options, self._allowed_mount_options)
        path = image.path(place)
        try:
            there = path.lstat()
        except FileNotFoundError:
            raise NotFound(f"{place}: no image at {path}") from None
        fs = filesystems.identify(path) if stat.S_ISREG(there.st_mode) else None
        if fs is None:
            raise Corrupt(f"{place}: {path} is not an image of {', '.join(Filesystem)}")
        _check_whole(place, fs)
        kept = place.spec.sparse
        spec = place.spec.model_copy(
            update={
                "size": there.st_size,
                "grows_from": None,
                "fs": Filesystem(fs),
                "sparse": file.occupied(path) < there.st_size if kept is None else kept,
                "mount_options": options.mount_options or place.spec.mount_options,
            }
        )
        refuse_changes(place.name, spec, options)
        exposed = found.exposed_in(replace(place, spec=spec))
        return spec.model_copy(update={"exposed": exposed})

    def exposed(self, place: Place) -> Path:
        return place.mountpoint / place.spec.exposed

    def is_mounted(self, place: Place) -> bool:
        return image.is_mounted(place)

    def mount(self, place: Place) -> None:
        if image.is_mounted(place):
            return
        if place.spec.grows_from is not None:
            growth.complete(place)
        options = effective(place.spec.mount_options, self._allowed_mount_options)
        image.mount(place, place.mountpoint, options)
        if not found.is_folder(self.exposed(place)):
            self.unmount(place)
            raise Corrupt(f"{place}: the folder {place.spec.exposed} is missing in its filesystem")
        if inside.is_ours(place) and "ro" not in (place.spec.mount_options or ()):
            inside.sweep(place.mountpoint)

    def unmount(self, place: Place) -> bool:
        devices = image.devices(place) if place.spec.sparse is False else []
        if image.is_mounted(place) and not mounts.unmount_unless_busy(place.mountpoint):
            return False
        if not image.is_let_go(place):
            return False
        for attached in devices:
            loop.retire(attached.device)
        return True

    def holders(self, place: Place, census: Census) -> Sequence[Holder]:
        return image.holders(place, census)

    def abandon(self, place: Place) -> None:
        if mounts.is_mountpoint(place.mountpoint):
            mounts.unmount(place.mountpoint)
        if image.is_inside(place):
            return  # the device is the volume's, and goes with its last mount
        for attached in image.devices(place):
            loop.detach(attached.device)

    def destroy(self, place: Place) -> None:
        files.remove_tree(place.home)

    def parting_usage(self, place: Place, now: float) -> Usage | None:
        return self.usage(place, now)

    def usage(self, place: Place, now: float) -> Usage:
        # What lies inside a volume's image has no blocks of the host for itself.
        allocated = None if image.is_inside(place) else file.occupied(image.path(place))
        if not mounts.is_mountpoint(place.mountpoint):
            return Usage(size=place.spec.size, allocated=allocated, sampled=now)
        space = filesystems.space(place.mountpoint)
        return Usage(
            size=space.size,
            used=space.used,
            available=space.available,
            allocated=allocated,
            inodes=space.inodes or None,
            inodes_used=space.inodes - space.inodes_free if space.inodes else None,
            inodes_available=space.inodes_free if space.inodes else None,
            sampled=now,
        )

    def ahead(self, place: Place) -> int | None:
        if place.spec.sparse is False or not mounts.is_mountpoint(place.mountpoint):
            return None
        there = filesystems.space(place.mountpoint)
        is_btrfs = place.spec.fs is Filesystem.BTRFS  # the others tell at once what is written
        free = space.free(place.mountpoint) if is_btrfs else there.available
        return there.size - free - file.occupied(image.path(place))

    def check(self, place: Place) -> None:
        image.check(place)

    def facts(self) -> dict[str, str]:
        return {
            "default_size": format_size(self._default_size),
            "default_fs": self._default_fs,
            "snapshots": self._snapshots(),
            **{
                f"{fs}": " to ".join(format_size(bound) for bound in IMAGE_SIZES[fs])
                for fs in Filesystem
            },
        }

    def _snapshots(self) -> str:
        if (reason := reflink.support(self._root)) is None:
            return "at once, by reflink; with fs=btrfs inside the image"
        return f"at once with fs=btrfs, inside the image; else a copy, for {reason}"


def _checked_autogrow(most: int | None, fs: Filesystem, size: int) -> int | None:
    if most is None:
        return None
    if reason := growing.can_grow_online(fs):
        raise Unsupported(
            f"autogrow is not possible with fs={fs} here ({reason}); use fs=xfs or fs=btrfs"
        )
    if most < size:
        raise InvalidOption(
            f"autogrow {show('autogrow', most)} is less than the size, {show('size', size)}"
        )
    growth.bounded(fs, most)
    return most


def _may_grow(fs: Filesystem, size: int, most: int) -> bool:
    """Whether an image that begins so large can grow up to a limit while it is mounted."""
    return growing.can_grow_online(fs) is None and size <= most <= growing.reach(fs, size)


def _furnish(place: Place, spec: Spec) -> None:
    """Make the exposed folder in a new filesystem, with the owner and mode asked for."""
    with image.privately(place) as mountpoint:
        data = mountpoint / DATA
        # A subvolume can be snapshotted, and its siblings stay out of containers' sight.
        if spec.fs is Filesystem.BTRFS:
            btrfs.create_subvolume(data)
        else:
            data.mkdir()
        with opened(data) as folder:
            own(folder, spec)
        files.sync_filesystem(data)


def _check_whole(place: Place, fs: str) -> None:
    path = image.path(place)
    try:
        filesystems.check(fs, path)
    except filesystems.DamagedFilesystem as error:
        raise Corrupt(
            f"{place}: its image {path} is damaged ({error.strerror}); repair it, "
            f"then look again: {filesystems.check_command(fs, path)}"
        ) from error
