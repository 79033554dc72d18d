"""The power of images to grow, and to give space back."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from convoy_py.backends.base import Place, Resizable
from convoy_py.backends.loopback import file, image
from convoy_py.errors import InvalidOption, NoSpace, OperationFailed, Unsupported, failed
from convoy_py.linux import files, filesystems, growing, loop
from convoy_py.models.filesystem import IMAGE_SIZES, Filesystem
from convoy_py.models.volume import Spec, show


def bounded(fs: Filesystem, size: int) -> int:
    """The size that an image really gets; raises InvalidOption, with the bounds."""
    smallest, largest = IMAGE_SIZES[fs]
    if not smallest <= size <= largest:
        raise InvalidOption(
            f"size {show('size', size)} is outside of {show('size', smallest)} to "
            f"{show('size', largest)}, the sizes of {fs}"
        )
    return size - size % filesystems.BLOCK


def check_autogrow(spec: Spec, largest: int) -> None:
    """Refuse a limit of growth beyond the `largest` size that a volume's filesystem can reach."""
    fs, size = image.form(spec)
    if spec.autogrow is None or spec.autogrow <= largest:
        return
    begin = growing.beginning(fs, spec.autogrow)
    raise InvalidOption(
        f"autogrow {show('autogrow', spec.autogrow)}: {fs} that begins with {show('size', size)} "
        f"can grow to {show('size', largest)} at most; "
        f"begin with size={show('size', begin)} or more, or ask for "
        f"autogrow={show('size', largest)}"
    )


def checked_inodes(fs: Filesystem, size: int, inodes: int | None) -> int | None:
    """The limit; raises InvalidOption, with the bounds, or Unsupported if an image has none."""
    if inodes is None:
        return None
    bounds = filesystems.inode_bounds(fs, size)
    if bounds is None:
        raise Unsupported(
            f"option inodes: {fs} cannot limit the number of files; use fs=ext4, or fs=xfs, or a "
            "directory on a host with prjquota"
        )
    fewest, most = bounds
    if not fewest <= inodes <= most:
        how = (
            "by whole percents of its space; use fs=ext4"
            if fs is Filesystem.XFS
            else "by blocks of 16 for each 128MiB; make it smaller"
        )
        raise InvalidOption(
            f"inodes {inodes} is outside of {fewest} to {most}, what {fs} of "
            f"{show('size', size)} can be limited to" + ("" if inodes > most else f" ({how})")
        )
    return inodes


class ImageGrowth(Resizable):
    """Growing images, while they are mounted if filesystem and kernel allow."""

    def resized(self, spec: Spec, size: int) -> Spec:
        fs, now = image.form(spec)
        wanted = bounded(fs, size)
        if wanted < now:
            raise Unsupported(
                f"a volume of {show('size', now)} cannot shrink; clone it into a smaller one: "
                f"`convoy clone VOLUME NEW --size {show('size', size)}`"
            )
        if wanted == now:
            return spec
        return spec.model_copy(
            update={
                "size": wanted,
                "grows_from": spec.grows_from or now,
                "inodes": spec.inodes_at(wanted),
            }
        )

    def delay(self, place: Place) -> str:
        if not image.is_mounted(place):
            return ""
        if "ro" in (place.spec.mount_options or ()):
            return "it is mounted read-only"
        return growing.can_grow_online(image.form(place.spec)[0]) or ""

    def grow(self, place: Place) -> bool:
        _check_bounds(place)
        _extend(place)  # the point of no return: a longer image is not made shorter again
        with _tried_again(place):
            if not image.is_mounted(place):
                return _grown_at_rest(place)
            if self.delay(place):
                return False
            _grow_mounted(place, place.mountpoint)
        return True

    def trim(self, place: Place) -> int:
        if place.spec.sparse is False:
            raise Unsupported(f"{place} keeps the blocks that it reserved (option sparse=false)")
        # The filesystem counts all that is free inside, also what the host never gave.
        before = file.occupied(image.path(place))
        if image.is_mounted(place):
            growing.trim(place.mountpoint)
        else:
            with whole(place) as mountpoint:
                growing.trim(mountpoint)
        return max(0, before - file.occupied(image.path(place)))


def largest(place: Place) -> int:
    """The size to which a filesystem that is there can grow."""
    return growing.bounds(image.form(image.owner(place).spec)[0], image.path(place))[1]


def can_become(place: Place, size: int) -> bool:
    """Whether a filesystem that is there can become so large; another size than it has."""
    smallest, largest = growing.bounds(image.form(image.owner(place).spec)[0], image.path(place))
    return smallest <= size <= largest


def complete(place: Place) -> None:
    """Do what is left of growing a volume that is not mounted; raises if that cannot be."""
    _extend(place)
    if not _grown_at_rest(place):
        raise OperationFailed(
            f"{place}: it cannot grow to {show('size', place.spec.size)} as it was to: its image "
            "is live on a device that something out of sight holds"
        )


@contextmanager
def whole(place: Place, *options: str) -> Iterator[Path]:
    """Where it is mounted, at its full size and for nobody else to see, while the block runs."""
    if place.spec.grows_from is not None:
        complete(place)
    with image.privately(place, *options) as mountpoint:
        yield mountpoint


def _check_bounds(place: Place) -> None:
    fs, size = image.form(place.spec)
    if not can_become(place, size):
        smallest, largest = growing.bounds(fs, image.path(place))
        raise Unsupported(
            f"{place}: its {fs} can grow to {show('size', smallest)} to {show('size', largest)}, "
            f"not to {show('size', size)}; clone its files into a larger one: "
            f"`convoy convert {place.name} --backend loopback --size {show('size', size)}`"
        )


def _extend(place: Place) -> None:
    """Make the image as long as the spec says; the filesystem in it comes after."""
    _, size = image.form(place.spec)
    try:
        file.extend(image.path(place), size, reserved=place.spec.sparse is False)
    except files.Unsettled as error:
        with _tried_again(place):
            raise OSError(error.errno, error.strerror) from error
    except OSError as error:
        raise failed(f"{place} cannot grow to {show('size', size)}", error) from error


def _grown_at_rest(place: Place) -> bool:
    """Let a filesystem that is not mounted fill its image; False if others have it live."""
    fs, _ = image.form(place.spec)
    if growing.can_grow_online(fs) is None:
        with image.privately(place) as mountpoint:
            _grow_mounted(place, mountpoint)
        return True
    if not image.is_let_go(place):
        return False
    with _tried_again(place):
        growing.grow_offline(fs, image.path(place))
    return True


def _grow_mounted(place: Place, mountpoint: Path) -> None:
    with _tried_again(place):
        for attached in image.devices(place):
            loop.set_capacity(attached.device)
        growing.grow_online(image.form(place.spec)[0], mountpoint)


@contextmanager
def _tried_again(place: Place) -> Iterator[None]:
    """Say of what failed that it is not over; never NoSpace, for the image is longer by now."""
    try:
        yield
    except (OSError, NoSpace, Unsupported) as error:
        reason = (error.strerror or error) if isinstance(error, OSError) else error
        raise OperationFailed(
            f"{place}: its {place.spec.fs} could not grow ({reason}); it is tried again at the "
            "next mount"
        ) from error
