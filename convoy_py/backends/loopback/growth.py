"""The power of images to grow, and to give space back."""

from pathlib import Path

from convoy_py.backends.base import Place, Resizable
from convoy_py.backends.loopback import file, image
from convoy_py.errors import InvalidOption, Unsupported
from convoy_py.linux import filesystems, growing, loop
from convoy_py.models.volume import IMAGE_SIZES, Filesystem, Spec, show


def bounded(fs: Filesystem, size: int) -> int:
    """The size that an image really gets; raises InvalidOption, with the bounds."""
    smallest, largest = IMAGE_SIZES[fs]
    if not smallest <= size <= largest:
        raise InvalidOption(
            f"size {show('size', size)} is outside of {show('size', smallest)} to "
            f"{show('size', largest)}, the sizes of {fs}"
        )
    return size - size % filesystems.BLOCK


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
        return spec.model_copy(update={"size": wanted, "grows_from": spec.grows_from or now})

    def delay(self, place: Place) -> str:
        if not image.is_mounted(place):
            return ""
        if "ro" in (place.spec.mount_options or ()):
            return "it is mounted read-only"
        return growing.can_grow_online(image.form(place.spec)[0]) or ""

    def grow(self, place: Place) -> bool:
        if not image.is_mounted(place):
            return grown_at_rest(place)
        _extend(place)
        if self.delay(place):
            return False
        _grow_mounted(place, place.mountpoint)
        return True

    def trim(self, place: Place) -> int:
        if place.spec.sparse is False:
            raise Unsupported(f"{place} keeps the blocks that it reserved (option sparse=false)")
        if image.is_mounted(place):
            return growing.trim(place.mountpoint)
        with image.privately(place) as mountpoint:
            return growing.trim(mountpoint)


def grown_at_rest(place: Place) -> bool:
    """Make an image that is not mounted as large as its spec says; False if others have it live."""
    fs, _ = image.form(place.spec)
    _extend(place)
    if growing.can_grow_online(fs) is None:
        with image.privately(place) as mountpoint:
            _grow_mounted(place, mountpoint)
        return True
    if not image.is_let_go(place):
        return False
    growing.grow_offline(fs, image.path(place))
    return True


def _extend(place: Place) -> None:
    _, size = image.form(place.spec)
    file.extend(image.path(place), size, reserved=place.spec.sparse is False)


def _grow_mounted(place: Place, mountpoint: Path) -> None:
    for attached in image.devices(place):
        loop.set_capacity(attached.device)
    growing.grow_online(image.form(place.spec)[0], mountpoint)
