"""Where the data of a directory volume lies: in its home, or in a host folder of the user's.

A user's folder must lie below one that the administrator allowed. Whoever writes there may put
links and other folders in its place at any moment, so what was checked is what is used: an open
descriptor, never the name again.
"""

import errno
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path, PurePath

from convoy_py.backends.base import Place
from convoy_py.errors import InvalidOption, Unsupported
from convoy_py.linux import beneath
from convoy_py.linux.descriptors import opened

DATA = "data"


def source(place: Place) -> Path:
    """The folder, by its name."""
    return Path(place.spec.path) if place.spec.path is not None else place.home / DATA


class Allowed:
    """The folders below which users may have theirs, and those that they must stay away from."""

    def __init__(self, tops: Sequence[Path], refused: Sequence[Path]) -> None:
        self._tops = tuple(tops)
        self._refused = tuple(refused)

    def __str__(self) -> str:
        return ", ".join(map(str, self._tops))

    def open(self, place: Place) -> AbstractContextManager[int]:
        """An open descriptor on a volume's folder, wherever that is."""
        path = place.spec.path
        return opened(place.home / DATA) if path is None else self.at(path)

    @contextmanager
    def at(self, path: str, *, make: bool = False) -> Iterator[int]:
        """An open descriptor on the user's folder: what was checked is what is changed or mounted.

        Whoever writes below the allowed folder may put links and other folders in its place at
        any moment, but can lead us nowhere else.
        """
        top, way = self._below(path)
        reach = beneath.made if make else beneath.opened
        try:
            with reach(top, way) as folder:
                self.check(path, Path(f"/proc/self/fd/{folder}").readlink())
                yield folder
        except OSError as error:
            if error.errno == errno.ENOTDIR:
                raise InvalidOption(f"path {path} is not a folder") from error
            if error.errno in (errno.ELOOP, errno.EXDEV):
                raise Unsupported(f"path {path} leads through a link or away from {top}") from error
            raise

    def check(self, path: str, real: Path) -> None:
        """Refuse a folder that a link led to, and one with data of ours in it or around it."""
        top, way = self._below(path)
        if real != top.resolve() / way:
            raise Unsupported(
                f"path {path} leads through a link to {real}: it does not lie below {top}"
            )
        for own in self._refused:
            ours = own.resolve()
            if real.is_relative_to(ours) or ours.is_relative_to(real):
                raise Unsupported(f"path {path} overlaps {own}, where the daemon keeps its own")

    def _below(self, path: str) -> tuple[Path, PurePath]:
        """(allowed folder, the way from there to `path`), as the names say; raises Unsupported."""
        for top in self._tops:
            # The administrator may have named the folder by a link, or the user.
            for named in (top, top.resolve()):
                way = PurePath(path)
                if way != named and way.is_relative_to(named) and ".." not in way.parts:
                    return top, way.relative_to(named)
        allowed = str(self) or "none"
        raise Unsupported(
            f"path {path} does not lie below a folder that the administrator allowed "
            f"(setting allowed_paths: {allowed})"
        )
