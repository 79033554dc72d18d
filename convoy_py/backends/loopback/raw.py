"""The power to hand an image out as it is, and to make a volume of one."""

import os
from dataclasses import replace
from pathlib import Path

from convoy_py.backends.base import Place
from convoy_py.backends.imageable import Imageable
from convoy_py.backends.loopback import file, found, growth, image
from convoy_py.errors import Corrupt, Unsupported
from convoy_py.linux import filesystems, fresh
from convoy_py.linux.descriptors import opened
from convoy_py.linux.fresh import Haste
from convoy_py.linux.reflink import Step
from convoy_py.models.filesystem import Filesystem
from convoy_py.models.volume import Spec, show


class RawImages(Imageable):
    """Images as files."""

    def image(self, place: Place) -> Path | None:
        return None if image.is_inside(place) else image.path(place)

    def renew(self, place: Place, target: Path, haste: Haste, step: Step) -> bool:
        if place.spec.fs is Filesystem.BTRFS:
            raise Unsupported(
                f"{place}: a btrfs image has its snapshots inside, so what it was cannot be one; "
                "use fs=ext4 or fs=xfs"
            )
        reserved = place.spec.sparse is False
        return fresh.copied(image.path(place), target, haste, step, reserved=reserved)

    def suits(self, made: Spec, spec: Spec) -> None:
        (fs, size), (wanted, wanted_size) = image.form(made), image.form(spec)
        if (spec.backend, wanted) != (made.backend, fs):
            raise Unsupported(f"an image of {fs} cannot become one of {wanted}")
        if wanted_size < size:
            raise Unsupported(
                f"an image of {show('size', size)} cannot shrink to {show('size', wanted_size)}"
            )
        if spec.inodes != made.inodes_at(wanted_size):
            raise Unsupported("how many files an image has room for was settled when it was made")

    def begin_image(self, place: Place, size: int) -> Path:
        with file.begun(image.path(place), size, reserved=place.spec.sparse is False):
            pass
        return image.path(place)

    def take_image(self, place: Place) -> Spec:
        (fs, size), path = image.form(place.spec), image.path(place)
        _check(place, fs)
        filesystems.new_identity(fs, path, place.uuid)
        if (now := path.stat().st_size) < size:
            _grow(place, now)
        growth.check_autogrow(place.spec, growth.largest(place))
        exposed = found.exposed_in(place)
        with opened(path) as fd:
            os.fsync(fd)
        return place.spec.model_copy(update={"exposed": exposed})


def _check(place: Place, fs: str) -> None:
    path = image.path(place)
    if (has := filesystems.identify(path)) != fs:
        raise Corrupt(
            f"{place}: its image has {has or 'no filesystem of ours'} in it, and not {fs}"
        )
    try:
        filesystems.check(fs, path)
    except filesystems.DamagedFilesystem as error:
        raise Corrupt(f"{place}: the {fs} in its image is damaged ({error.strerror})") from error


def _grow(place: Place, now: int) -> None:
    fs, size = image.form(place.spec)
    if not growth.can_become(place, size):
        raise Unsupported(
            f"{place}: its {fs} of {show('size', now)} cannot grow to {show('size', size)}: give "
            "it the size that it had, and then `convoy convert` it"
        )
    growth.complete(replace(place, spec=place.spec.model_copy(update={"grows_from": now})))
