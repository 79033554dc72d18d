"""The directory backend: a plain folder, bind-mounted; writes reach the host's filesystem directly.

The bind mount costs nothing on the data path and carries nosuid, nodev and the user's mount
options. A size is enforced by a quota where the host's filesystem has one: a subvolume's on btrfs,
a project's on ext4 and xfs.
"""

import errno
import os
import stat
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import ClassVar

from convoy_py.backends.base import Backend, Place, foreign_mount, refuse_changes
from convoy_py.errors import Corrupt, InvalidOption, NotFound, Unsupported
from convoy_py.linux import beneath, btrfs, files, mounts, quota
from convoy_py.linux.holders import Census, Holder
from convoy_py.models.options import ALWAYS_ON
from convoy_py.models.sizes import LARGEST, format_size
from convoy_py.models.volume import Options, Spec, Usage

MINIMUM_SIZE = 2**20
# These belong to a whole filesystem, and a directory's is the host's.
_OF_FILESYSTEM = {"sync", "lazytime"}
# Project ids of ours begin here, above those that people and Docker's quotas count up from 1.
_FIRST_PROJECT = 2**30


class Directory(Backend):
    """Volumes in folders below the root, or below folders that the administrator allowed."""

    name: ClassVar[str] = "directory"

    def __init__(
        self, root: Path, allowed_paths: Sequence[Path] = (), refused: Sequence[Path] = ()
    ) -> None:
        """`refused` are folders of the daemon besides the root, of which no path may be a part."""
        self._root = root
        self._allowed = tuple(allowed_paths)
        self._refused = tuple(refused)

    def resolve(self, options: Options) -> Spec:
        self._refuse_loopback_options(options)
        wrong = _OF_FILESYSTEM.intersection(options.mount_options or ())
        if wrong:
            raise InvalidOption(
                f"mount option {', '.join(sorted(wrong))} needs a filesystem of the volume's own: "
                "use backend=loopback"
            )
        spec = Spec(
            backend=self.name,
            size=self._checked_size(options.size),
            uid=options.uid,
            gid=options.gid,
            mode=options.mode,
            path=options.path,
            mount_options=options.mount_options,
        )
        if options.path is not None:
            if options.size is not None:
                raise Unsupported("size cannot be enforced on a host folder (option path)")
            self._check_real(options.path, Path(options.path).resolve())
            return spec
        defaults = {"uid": 0, "gid": 0, "mode": 0o755}
        unset = {k: v for k, v in defaults.items() if getattr(options, k) is None}
        return spec.model_copy(update=unset)

    def promised(self, spec: Spec) -> int:
        return 0  # a quota is a limit, not a promise of space

    def create(self, place: Place) -> Spec:
        spec = place.spec
        if spec.path is not None:
            return self._create_at_path(spec.path, spec)
        data = place.home / "data"
        if btrfs.is_btrfs(place.home):
            btrfs.create_subvolume(data)
        else:
            data.mkdir(mode=0o700)
        with _opened(data) as folder:
            _own(folder, spec)
        if spec.size is not None:
            spec = spec.model_copy(update={"project": self._limit(data, place.uuid, spec.size)})
            files.fsync_dir(data)
        return spec

    def adopt(self, place: Place, options: Options) -> Spec:
        path = options.path or place.spec.path
        if path is not None:
            asked = options.model_copy(update={"path": path, "backend": self.name})
            return self._create_at_path(path, self.resolve(asked))
        data = place.home / "data"
        if data.is_symlink() or not data.is_dir():
            raise NotFound(f"volume {place.name}: {data} is not a folder")
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

    def is_mounted(self, place: Place) -> bool:
        if not mounts.is_mountpoint(place.mountpoint):
            return False
        try:
            here, data = place.mountpoint.stat(), self._source(place).stat()
        except FileNotFoundError:
            return True  # ours, but its folder was deleted meanwhile: `check` tells
        if (here.st_dev, here.st_ino) != (data.st_dev, data.st_ino) and not self._replaced(place):
            raise foreign_mount(place)
        return True

    def mount(self, place: Place) -> None:
        if self.is_mounted(place):
            return
        self.check(place)
        options = (*ALWAYS_ON, *(place.spec.mount_options or ()))
        path = place.spec.path
        with self._at_path(path) if path is not None else _opened(place.home / "data") as folder:
            mounts.bind(Path(f"/proc/self/fd/{folder}"), place.mountpoint, options)

    def unmount(self, place: Place) -> bool:
        return not self.is_mounted(place) or mounts.unmount_unless_busy(place.mountpoint)

    def holders(self, place: Place, census: Census) -> Sequence[Holder]:
        return census.of_folder(self._source(place), place.mountpoint)

    def keeps_data(self, place: Place) -> bool:
        return place.spec.path is not None

    def abandon(self, place: Place) -> None:
        if mounts.is_mountpoint(place.mountpoint):
            mounts.unmount(place.mountpoint)

    def destroy(self, place: Place) -> None:
        data = place.home / "data"
        if place.spec.size is not None and place.spec.project is not None and data.exists():
            quota.set_limit(data, place.spec.project, None)
        files.remove_tree(place.home)

    def usage(self, place: Place, now: float) -> Usage:
        source = self._source(place)
        host = os.statvfs(source)
        free = host.f_bavail * host.f_frsize
        size = place.spec.size
        if size is None:
            used, allocated = files.disk_usage(source)
            return Usage(used=used, allocated=allocated, available=free, sampled=now)
        used = self._quota_usage(source, place.spec)
        available = max(0, min(free, size - used))
        return Usage(size=size, used=used, allocated=used, available=available, sampled=now)

    def check(self, place: Place) -> None:
        source = self._source(place)
        if not source.is_dir():
            raise Corrupt(f"volume {place.name}: its folder {source} is missing")

    def facts(self) -> dict[str, str]:
        reason = self._no_quota()
        return {
            "data": str(self._root / "volumes"),
            "size": f"not enforced: {reason}" if reason else "enforced by a quota",
            "paths": ", ".join(map(str, self._allowed)) or "none allowed (setting allowed_paths)",
        }

    def _source(self, place: Place) -> Path:
        return Path(place.spec.path) if place.spec.path is not None else place.home / "data"

    def _replaced(self, place: Place) -> bool:
        """Whether another folder now has the name of the user's folder that is mounted.

        What is mounted then lies on the same filesystem still; more cannot be told.
        """
        if place.spec.path is None:
            return False
        source = Path(place.spec.path)
        hosts = {mounts.holding(at).device for at in (source, source.parent)}
        return mounts.holding(place.mountpoint).device in hosts

    def _refuse_loopback_options(self, options: Options) -> None:
        given = [key for key in ("fs", "sparse") if getattr(options, key) is not None]
        if given:
            raise Unsupported(f"option {', '.join(given)} is for backend=loopback")

    def _checked_size(self, size: int | None) -> int | None:
        if size is None:
            return None
        if reason := self._no_quota():
            raise Unsupported(
                f"a directory volume cannot enforce a size here ({reason}); use backend=loopback"
            )
        if not MINIMUM_SIZE <= size <= LARGEST:
            raise InvalidOption(
                f"size {format_size(size)} is outside of {format_size(MINIMUM_SIZE)} to "
                f"{format_size(LARGEST)}"
            )
        return size

    def _no_quota(self) -> str | None:
        """Why sizes cannot be enforced below the root; None if they can."""
        volumes = self._root / "volumes"
        return None if btrfs.is_btrfs(volumes) else quota.support(volumes)

    def _limit(self, data: Path, uuid: str, size: int) -> int | None:
        """Enforce a size on a folder; returns the project id if it took one."""
        if btrfs.is_btrfs(data):
            btrfs.enable_quota(data)
            btrfs.set_limit(data, size)
            return None
        project = _FIRST_PROJECT + zlib.crc32(uuid.encode()) % _FIRST_PROJECT
        while quota.usage(data, project):  # someone's already, or another volume's
            project += 1
        quota.assign(data, project)
        quota.set_limit(data, project, size)
        return project

    def _quota_usage(self, source: Path, spec: Spec) -> int:
        if spec.project is not None:
            return quota.usage(source, spec.project)
        return btrfs.usage(source)

    def _below_allowed(self, path: str) -> tuple[Path, PurePath]:
        """(allowed folder, the way from there to `path`), as the names say; raises Unsupported."""
        for top in self._allowed:
            # The administrator may have named the folder by a link, or the user.
            for named in (top, top.resolve()):
                way = PurePath(path)
                if way != named and way.is_relative_to(named) and ".." not in way.parts:
                    return top, way.relative_to(named)
        allowed = ", ".join(map(str, self._allowed)) or "none"
        raise Unsupported(
            f"path {path} does not lie below a folder that the administrator allowed "
            f"(setting allowed_paths: {allowed})"
        )

    def _check_real(self, path: str, real: Path) -> None:
        """Refuse a folder that a link led to, and one with data of ours in it or around it."""
        top, way = self._below_allowed(path)
        if real != top.resolve() / way:
            raise Unsupported(
                f"path {path} leads through a link to {real}: it does not lie below {top}"
            )
        for own in (self._root, *self._refused):
            ours = own.resolve()
            if real.is_relative_to(ours) or ours.is_relative_to(real):
                raise Unsupported(f"path {path} overlaps {own}, where the daemon keeps its own")

    @contextmanager
    def _at_path(self, path: str, *, make: bool = False) -> Iterator[int]:
        """An open descriptor on the user's folder: what was checked is what is changed or mounted.

        Whoever writes below the allowed folder may put links and other folders in its place at
        any moment, but can lead us nowhere else.
        """
        top, way = self._below_allowed(path)
        reach = beneath.made if make else beneath.opened
        try:
            with reach(top, way) as folder:
                self._check_real(path, Path(f"/proc/self/fd/{folder}").readlink())
                yield folder
        except OSError as error:
            if error.errno == errno.ENOTDIR:
                raise InvalidOption(f"path {path} is not a folder") from error
            if error.errno in (errno.ELOOP, errno.EXDEV):
                raise Unsupported(f"path {path} leads through a link or away from {top}") from error
            raise

    def _create_at_path(self, path: str, spec: Spec) -> Spec:
        """Make the user's folder if it is missing; owner and mode change only where asked."""
        with self._at_path(path, make=True) as folder:
            _own(folder, spec)
        return spec


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _own(folder: int, spec: Spec) -> None:
    """Give a folder the owner and mode that were asked for; chown first, for it clears setgid."""
    if spec.uid is not None or spec.gid is not None:
        os.fchown(
            folder,
            -1 if spec.uid is None else spec.uid,
            -1 if spec.gid is None else spec.gid,
        )
    if spec.mode is not None:
        os.fchmod(folder, spec.mode)
    os.fsync(folder)
