"""The power to change the limit of a directory volume."""

from convoy_py.backends.base import Place, Resizable
from convoy_py.backends.directory import limits
from convoy_py.backends.directory.folder import source
from convoy_py.errors import NoSpace, Unsupported, failed
from convoy_py.models.volume import Spec, show


class FolderResizing(Resizable):
    """A limit is a quota: it changes at once, in both directions, mounted or not."""

    def resized(self, spec: Spec, size: int) -> Spec:
        if spec.path is not None:
            raise Unsupported("a host folder (option path) has no size to change")
        if spec.size is None:
            raise Unsupported(
                "it was made without a size, as large as the host's filesystem; clone it into one "
                f"with a limit: `convoy clone VOLUME NEW --size {show('size', size)}`"
            )
        wanted = limits.bounded(size)
        if wanted == spec.size:
            return spec
        return spec.model_copy(update={"size": wanted, "grows_from": spec.grows_from or spec.size})

    def delay(self, place: Place) -> str:
        return ""

    def grow(self, place: Place) -> bool:
        folder, size = source(place), place.spec.size
        used, _ = limits.used(folder, place.spec)
        if size is not None and used > size:
            raise NoSpace(f"{place} holds {show('size', used)}, more than {show('size', size)}")
        try:
            limits.enforce(folder, place.spec)
        except OSError as error:
            raise failed(f"{place} cannot get another limit", error) from error
        return True

    def trim(self, place: Place) -> int:
        raise Unsupported(f"{place} is a folder on the host's filesystem: trim that with `fstrim`")
