"""Where the data of a directory volume lies: in its home, or in a host folder of the user's.

A user's folder must lie below one that the administrator allowed. Whoever writes there may put
links and other folders in its place at any moment, so what was checked is what is used: an open
descriptor, never the name again.
"""

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import chain
from pathlib import Path, PurePath, PurePosixPath

from convoy_py.backends.base import Place
from convoy_py.errors import InvalidOption, Unsupported
from convoy_py.linux import beneath, loop, mounts
from convoy_py.linux.asking import Questions
from convoy_py.linux.descriptors import opened
from convoy_py.linux.mounts import Mount

DATA = "data"
# Seconds that the storage of another allowed folder has to answer.
PATIENCE_SECONDS = 2.0


def source(place: Place) -> Path:
    """The folder, by its name."""
    return Path(place.spec.path) if place.spec.path is not None else place.held_as(DATA)


class Allowed:
    """The folders below which users may have theirs, and those that they must stay away from."""

    def __init__(self, tops: Sequence[Path], refused: Sequence[Path]) -> None:
        self._tops = tuple(tops)
        self._refused = tuple(refused)
        self._resolved = Questions[Path, Path](Path.resolve, PATIENCE_SECONDS)

    def __str__(self) -> str:
        return ", ".join(map(str, self._tops))

    def open(self, place: Place) -> AbstractContextManager[int]:
        """An open descriptor on a volume's folder, wherever that is."""
        path = place.spec.path
        return opened(place.held_as(DATA)) if path is None else self.at(path)

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
                self._check_way(path, Path(f"/proc/self/fd/{folder}").readlink())
                self._check_shown(path, folder, PurePath())
                yield folder
        except OSError as error:
            if error.errno == errno.ENOTDIR:
                raise InvalidOption(f"path {path} is not a folder") from error
            if error.errno in (errno.ELOOP, errno.EXDEV):
                raise Unsupported(f"path {path} leads through a link or away from {top}") from error
            raise

    def check(self, path: str) -> None:
        """Refuse a folder that a link led to, and one with data of ours in it or around it."""
        real = Path(path).resolve()
        self._check_way(path, real)
        there = next(each for each in (real, *real.parents) if each.is_dir())
        with opened(there, os.O_PATH) as folder:
            self._check_shown(path, folder, real.relative_to(there))

    def _check_way(self, path: str, real: Path) -> None:
        top, way = self._below(path)
        if real != top.resolve() / way:
            raise Unsupported(
                f"path {path} leads through a link to {real}: it does not lie below {top}"
            )
        for own in self._refused:
            ours = own.resolve()
            if _overlap(real, ours):
                raise _refusal(path, own)

    def _check_shown(self, path: str, folder: int, rest: PurePath) -> None:
        """Refuse what shows folders of ours under other names: by bind mounts, there or below.

        `rest` leads from the open `folder` to what is still to be made.
        """
        mount, at = mounts.position(folder)
        below = mounts.below(Path(f"/proc/self/fd/{folder}").readlink() / rest)
        shown = [(mount, at / rest), *((each, PurePosixPath(each.root)) for each in below)]
        for own in filter(Path.exists, self._refused):
            ours = own.resolve()
            if _is_shown(ours, shown) or (not rest.parts and _is_one_of(folder, ours.parents)):
                raise _refusal(path, own)

    def _below(self, path: str) -> tuple[Path, PurePath]:
        """(allowed folder, the way from there to `path`), as the names say; raises Unsupported."""
        way = PurePath(path)
        # The administrator may have named the folder by a link, or the user.
        for top, named in chain(zip(self._tops, self._tops, strict=True), self._real_tops()):
            if way != named and way.is_relative_to(named) and ".." not in way.parts:
                return top, way.relative_to(named)
        allowed = str(self) or "none"
        raise Unsupported(
            f"path {path} does not lie below a folder that the administrator allowed "
            f"(setting allowed_paths: {allowed})"
        )

    def _real_tops(self) -> Iterator[tuple[Path, Path]]:
        """Each allowed folder and where it really is; without those whose storage hangs."""
        for top in self._tops:  # one by one, for often the first will do
            for _, real in self._resolved.answers([top]):
                if isinstance(real, Path):
                    yield top, real


def _overlap(one: PurePath, other: PurePath) -> bool:
    return one.is_relative_to(other) or other.is_relative_to(one)


def _is_shown(own: Path, shown: Sequence[tuple[Mount, PurePosixPath]]) -> bool:
    """Whether what is in `own`, or in an image there, is in one of these folders of filesystems."""
    with opened(own, os.O_PATH) as folder:
        mount, place = mounts.position(folder)
    images = (loop.backing_file(each.source) for each, _ in shown)
    return any(
        each.device == mount.device and _overlap(there, place) for each, there in shown
    ) or any(image and PurePath(image).is_relative_to(own) for image in images)


def _is_one_of(folder: int, others: Sequence[Path]) -> bool:
    found = os.fstat(folder)
    return any(os.path.samestat(found, other.stat()) for other in others)


def _refusal(path: str, own: Path) -> Unsupported:
    return Unsupported(f"path {path} overlaps {own}, where the daemon keeps its own")
