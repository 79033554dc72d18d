"""Volumes in folders: made, adopted, bind-mounted, measured."""

import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import ClassVar

from convoy_py.backends.base import COMMON, Backend, Place
from convoy_py.backends.common import foreign_mount, own, refuse_changes
from convoy_py.backends.directory import limits
from convoy_py.backends.directory.folder import DATA, Allowed, source
from convoy_py.errors import Corrupt, InvalidOption, NotFound, Unsupported
from convoy_py.linux import btrfs, files, mounts, quota, reflink
from convoy_py.linux.descriptors import opened
from convoy_py.linux.holders import Census, Holder
from convoy_py.models.mount_options import effective, refuse_guarded
from convoy_py.models.volume import Options, Spec, Usage

# These belong to a whole filesystem, and a directory's is the host's.
_OF_FILESYSTEM = {"sync", "lazytime"}


class Folders(Backend):
    """Volumes in folders below the root, or below folders that the administrator allowed."""

    name: ClassVar[str] = "directory"
    takes = COMMON | {"size", "inodes", "path"}
    usual = DATA
    adopts = f"a folder {DATA}"

    def __init__(
        self,
        root: Path,
        allowed_paths: Sequence[Path] = (),
        refused: Sequence[Path] = (),
        allowed_mount_options: Sequence[str] = (),
    ) -> None:
        """`refused` are folders of the daemon besides the root, of which no path may be a part."""
        self._volumes = root / "volumes"
        self.allowed = Allowed(allowed_paths, (root, *refused))
        self._allowed_mount_options = allowed_mount_options

    def resolve(self, options: Options) -> Spec:
        refuse_guarded(options.mount_options, self._allowed_mount_options)
        wrong = _OF_FILESYSTEM.intersection(options.mount_options or ())
        if wrong:
            raise InvalidOption(
                f"mount option {', '.join(sorted(wrong))} needs a filesystem of the volume's own: "
                "use backend=loopback"
            )
        spec = Spec.of(
            options,
            backend=self.name,
            size=self._checked_size(options.size),
            inodes=self._checked_inodes(options.inodes),
        )
        if options.path is not None:
            if options.size is not None or options.inodes is not None:
                raise Unsupported(
                    "size and inodes cannot be enforced on a host folder (option path)"
                )
            if options.source is not None:
                raise Unsupported("option from makes a volume of its own: it goes without path")
            self.allowed.check(options.path)
            return spec
        if options.source is not None:
            return spec  # a clone keeps the owner and the mode that it finds
        defaults = {"uid": 0, "gid": 0, "mode": 0o755}
        unset = {k: v for k, v in defaults.items() if getattr(options, k) is None}
        return spec.model_copy(update=unset)

    def promised(self, spec: Spec) -> int:
        return 0  # a quota is a limit, not a promise of space

    def recognises(self, home: Path, data: str | None = None) -> bool:
        return (home / (data or DATA)).exists()

    def create(self, place: Place) -> Spec:
        spec = place.spec
        if spec.path is not None:
            return self._create_at_path(spec.path, spec)
        data = place.held_as(DATA)
        made(data)
        if limits.has(spec):
            project = limits.begin(data, place.uuid, spec)
            spec = spec.model_copy(update={"project": project})
        with opened(data) as folder:
            own(folder, spec)  # and sync it
        return spec

    def adopt(self, place: Place, options: Options) -> Spec:
        path = options.path or place.spec.path
        if path is not None:
            asked = options.model_copy(update={"path": path, "backend": self.name})
            return self._create_at_path(path, self.resolve(asked))
        data = place.held_as(DATA)
        if data.is_symlink() or not data.is_dir():
            raise NotFound(f"{place}: {data} is not a folder")
        refuse_guarded(options.mount_options, self._allowed_mount_options)
        found = data.stat()
        spec = place.spec.model_copy(
            update={
                "uid": found.st_uid,
                "gid": found.st_gid,
                "mode": stat.S_IMODE(found.st_mode),
                "mount_options": options.mount_options or place.spec.mount_options,
            }
        )
        refuse_changes(place.name, spec, options)
        return spec

    def exposed(self, place: Place) -> Path:
        return place.mountpoint

    def data(self, place: Place) -> Path | None:
        return source(place)

    def is_mounted(self, place: Place) -> bool:
        if not mounts.is_mountpoint(place.mountpoint):
            return False
        if place.spec.path is not None and _is_by_name(place.mountpoint, place.spec.path):
            return True
        try:
            ours = os.path.samestat(place.mountpoint.stat(), source(place).stat())
            if not ours and not _replaced(place):
                raise foreign_mount(place)
        except OSError:
            pass  # ours, but its folder was deleted meanwhile, or its storage is dead
        return True

    def is_dead(self, place: Place) -> bool:
        if place.spec.path is None:
            return False
        try:
            place.mountpoint.stat()
        except OSError:
            return True
        return False

    def mount(self, place: Place) -> None:
        if self.is_mounted(place):
            return
        self.check(place)
        options = effective(place.spec.mount_options, self._allowed_mount_options)
        if place.within is not None:
            options.append("ro")
        _limit_again(place)
        with self.allowed.open(place) as folder:
            mounts.bind(Path(f"/proc/self/fd/{folder}"), place.mountpoint, options)

    def unmount(self, place: Place) -> bool:
        return not self.is_mounted(place) or mounts.unmount_unless_busy(place.mountpoint)

    def holders(self, place: Place, census: Census) -> Sequence[Holder]:
        return census.of_folder(source(place), place.mountpoint)

    def keeps_data(self, place: Place) -> bool:
        return place.spec.path is not None

    def abandon(self, place: Place) -> None:
        if mounts.is_mountpoint(place.mountpoint):
            mounts.unmount(place.mountpoint)

    def destroy(self, place: Place) -> None:
        data = place.held_as(DATA)
        # By the folder's own project: a copy that was not completed bears the record of another.
        if place.spec.project is not None and data.exists() and (project := quota.project(data)):
            quota.set_limit(data, project, None)
        files.remove_tree(place.home)

    def usage(self, place: Place, now: float) -> Usage:
        folder, spec = source(place), place.spec
        host = os.statvfs(folder)
        free, free_inodes = host.f_bavail * host.f_frsize, host.f_favail if host.f_files else None
        if not limits.has(spec) or place.within is not None:
            used, allocated = files.disk_usage(folder)
            return Usage(
                used=used,
                allocated=allocated,
                available=free,
                inodes_available=free_inodes,
                sampled=now,
            )
        used, inodes = limits.used(folder, spec)
        return Usage(
            size=spec.size,
            used=used,
            allocated=used,
            available=_left(free, spec.size, used),
            inodes=spec.inodes,
            inodes_used=inodes,
            inodes_available=_left(free_inodes, spec.inodes, inodes),
            sampled=now,
        )

    def check(self, place: Place) -> None:
        folder = source(place)
        if not folder.is_dir():
            raise Corrupt(f"{place}: its folder {folder} is missing")

    def facts(self) -> dict[str, str]:
        reason = limits.unsupported(self._volumes)
        return {
            "data": str(self._volumes),
            "size": f"not enforced: {reason}" if reason else "enforced by a quota",
            "snapshots": self._snapshots(),
            "paths": str(self.allowed) or "none allowed (setting allowed_paths)",
        }

    def _snapshots(self) -> str:
        if btrfs.is_btrfs(self._volumes):
            return "at once, of the subvolume"
        reason = reflink.support(self._volumes)
        return f"a copy, file by file, for {reason}" if reason else "file by file, by reflink"

    def _checked_size(self, size: int | None) -> int | None:
        if size is None:
            return None
        if reason := limits.unsupported(self._volumes):
            raise Unsupported(
                f"a directory volume cannot enforce a size here ({reason}); use backend=loopback"
            )
        return limits.bounded(size)

    def _checked_inodes(self, inodes: int | None) -> int | None:
        if inodes is not None and (reason := limits.uncountable(self._volumes)):
            raise Unsupported(
                f"a directory volume cannot limit inodes here ({reason}); use backend=loopback"
            )
        return inodes

    def _create_at_path(self, path: str, spec: Spec) -> Spec:
        """Make the user's folder if it is missing; owner and mode change only where asked."""
        with self.allowed.at(path, make=True) as folder:
            own(folder, spec)
        return spec


def made(data: Path) -> None:
    """Make an empty folder for a volume's data, as one that can be snapshotted where that is."""
    if btrfs.is_btrfs(data.parent):
        btrfs.create_subvolume(data)
    else:
        data.mkdir(mode=0o700)


def _left(free: int | None, limit: int | None, used: int | None) -> int | None:
    """What may still be had, of what the host has free and a limit leaves; None if not known."""
    bounds = [] if free is None else [free]
    if limit is not None and used is not None:
        bounds.append(max(0, limit - used))
    return min(bounds, default=None)


def _limit_again(place: Place) -> None:
    """Set the limit anew, which a crash may have left as it was before, or lifted."""
    if place.within is not None or (place.spec.project is None and place.spec.grows_from is None):
        return
    # Where the host has switched its quotas off meanwhile, the volume is served all the same.
    with suppress(OSError):
        limits.enforce(source(place), place.spec)


def _is_by_name(mountpoint: Path, path: str) -> bool:
    """Whether the user's folder is mounted, told by the table of mounts: its storage may hang.

    Also one that was mounted before its storage was unmounted and mounted anew.
    """
    shown, on = mounts.find(mountpoint), mounts.Covers().of(path)
    if shown is None or on is None:
        return False
    root = PurePosixPath(on.root) / PurePosixPath(path).relative_to(on.mountpoint)
    return (shown.fstype, shown.source, shown.root) == (on.fstype, on.source, str(root))


def _replaced(place: Place) -> bool:
    """Whether another folder now has the name of the user's folder that is mounted.

    What is mounted then lies on the same filesystem still; more cannot be told.
    """
    if place.spec.path is None:
        return False
    folder = Path(place.spec.path)
    hosts = {mounts.holding(at).device for at in (folder, folder.parent)}
    return mounts.holding(place.mountpoint).device in hosts
