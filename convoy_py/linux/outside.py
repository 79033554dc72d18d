"""Where the host has folders that a managed plugin sees under other names."""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from convoy_py.linux import mounts
from convoy_py.linux.mounts import Mount

# How a managed plugin sees its own root filesystem, which dies with it.
_PLUGIN_ROOT = re.compile(r"/plugins/[0-9a-f]{64}/rootfs$")


def is_of_plugin(mount: Mount) -> bool:
    """Whether it is the root filesystem of a managed plugin, in which this process is."""
    return mount.mountpoint == "/" and bool(_PLUGIN_ROOT.search(mount.root))


@dataclass(frozen=True)
class Outside:
    """Pairs of a folder as this process sees it and as the host does; none where they agree."""

    pairs: tuple[tuple[PurePosixPath, PurePosixPath], ...] = ()

    def path(self, path: str) -> str:
        """A path of ours as the host has it; no I/O."""
        for here, there in self.pairs:
            if PurePosixPath(path).is_relative_to(here):
                return str(there / PurePosixPath(path).relative_to(here))
        return path


def look(folders: Iterable[Path]) -> Outside:
    """Find it out from the two tables of mounts; what they do not tell is taken for the same.

    Process 1 stands for the host: a managed plugin is given the host's processes.
    """
    pairs = set()
    for folder in folders:
        with suppress(OSError):
            pairs |= set(_pair(folder, mounts.table(1)))
    different = [(here, there) for here, there in pairs if here != there]
    # The innermost first.
    return Outside(tuple(sorted(different, key=lambda pair: len(pair[0].parts), reverse=True)))


def _pair(folder: Path, hosts: Sequence[Mount]) -> Iterator[tuple[PurePosixPath, PurePosixPath]]:
    """The folder here and there; where they end alike, all of the mount that it lies on."""
    real = PurePosixPath(folder.resolve())
    own = mounts.holding(Path(real))
    way = real.relative_to(own.mountpoint)
    wanted = own.device, PurePosixPath(own.root) / way
    for seen in _candidates(real, wanted, hosts):
        if _shown_at(seen, hosts) == wanted:
            parts, length = seen.parts, len(seen.parts) - len(way.parts)
            if parts[length:] == way.parts:
                yield PurePosixPath(own.mountpoint), PurePosixPath(*parts[:length])
            else:
                yield real, seen
            return


def _candidates(
    folder: PurePosixPath, wanted: tuple[str, PurePosixPath], hosts: Sequence[Mount]
) -> Iterator[PurePosixPath]:
    """Where the host may have it: under the same name, or on another mount of its filesystem."""
    yield folder
    device, inside = wanted
    for mount in hosts:
        if mount.device == device and inside.is_relative_to(mount.root):
            yield PurePosixPath(mount.mountpoint) / inside.relative_to(mount.root)


def _shown_at(path: PurePosixPath, hosts: Sequence[Mount]) -> tuple[str, PurePosixPath] | None:
    """(device, folder of its filesystem) at a path of the host's; of several mounts the topmost."""
    covering = [mount for mount in hosts if path.is_relative_to(mount.mountpoint)]
    if not covering:
        return None
    # The table has them in the order in which they were made; max() would take the first of equals.
    top = max(reversed(covering), key=lambda mount: len(mount.mountpoint))
    return top.device, PurePosixPath(top.root) / path.relative_to(top.mountpoint)
