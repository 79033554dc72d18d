"""Who holds a filesystem: mounts of it in any mount namespace, and open files on it.

Nobody is named in a mount namespace without a process in it, so an empty list is no proof.
"""

import contextlib
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Self

from convoy_py.linux import mounts, namespaces, peers
from convoy_py.linux.mounts import Mount
from convoy_py.linux.namespaces import Shown

# Docker: /docker/<id> or docker-<id>.scope. Podman: libpod-<id>, beside its monitor's
# libpod-conmon-<id>, which is no container. The innermost comes last.
_CONTAINER = re.compile(r"(?<![0-9a-f])(?<!conmon-)([0-9a-f]{64})(?![0-9a-f])")
_SHORT = 12
# What stat(2) counts of /proc/<pid>/task for a process of one thread.
_LINKS_OF_ONE_THREAD = 3


@dataclass(frozen=True)
class Holder:
    """A process that holds a filesystem, or that stands for a mount namespace that does.

    `container` is its 64-digit id if the process is in one of Docker or Podman.
    """

    pid: int
    command: str
    container: str | None
    mountpoint: str

    def __str__(self) -> str:
        if self.container:
            return f"container {self.container[:_SHORT]} (pid {self.pid}, {self.command})"
        return f"process {self.pid} ({self.command}) at {self.mountpoint}"


@dataclass(frozen=True, slots=True)
class _Seen:
    """A mount, the mount on which it lies, and a process that sees both."""

    pid: int
    mount: Mount
    under: Mount | None

    @property
    def place(self) -> tuple[str, str, str] | None:
        """What covers which folder, as (root, device, path in that filesystem).

        Alike in all namespaces.
        """
        if self.under is None:
            return None
        try:
            below = PurePosixPath(self.mount.mountpoint).relative_to(self.under.mountpoint)
        except ValueError:
            return None
        return self.mount.root, self.under.device, str(PurePosixPath(self.under.root) / below)

    @property
    def groups(self) -> tuple[int, int]:
        """The peer group and the master of the mount on which it lies, 0 for none."""
        return (self.under.peer_group, self.under.master) if self.under else (0, 0)


class _Views:
    """The raw mountinfo of one process per view of the mounts, and ours."""

    def __init__(self, texts: Mapping[int, bytes], own: bytes) -> None:
        self._texts = {pid: b"\n" + text for pid, text in texts.items()}
        self.own = own

    @classmethod
    def read(cls) -> Self:
        """Of every pair of mount namespace and root folder that a thread has.

        With another root folder it sees other mounts of the same namespace.
        """
        own = mounts.read()
        texts: dict[int, bytes] = {}
        known: set[tuple[str, str]] = set()
        for task in _tasks():
            with contextlib.suppress(OSError):  # it ended meanwhile, or has no namespace any more
                view = _link(task, "ns/mnt"), _link(task, "root")
                if view not in known:
                    _link(task, "exe")  # a kernel thread has none, and would explain nothing
                    texts[task] = mounts.read(task)
                    known.add(view)
        return cls(texts, own)

    def matching(
        self, needles: Sequence[bytes], wanted: Callable[[Mount | Shown], bool]
    ) -> Iterator[_Seen]:
        """Every such mount, once each: the ids of mounts are unique in the system."""
        known: set[int] = set()
        for pid, text in self._texts.items():
            for mount in (m for needle in needles for m in mounts.lines_with(text, needle)):
                if wanted(mount) and mount.mount_id not in known:
                    known.add(mount.mount_id)
                    under = mounts.lines_with(text, b"\n%d " % mount.parent_id)
                    yield _Seen(pid, mount, under[0] if under else None)


class Census:
    """The mounts of every mount namespace at one moment; taken once, asked for many volumes.

    That moment is the first question. Where the kernel tells what is mounted in all namespaces,
    most volumes are answered for by that: nobody shows them. Only to name who does, or where the
    kernel does not tell, are the processes looked through.

    Not a holder is our own mount at `mountpoint`, nor are its copies in other namespaces that the
    kernel takes away together with it. Those are the copies that cover the same folder of the
    same filesystem, in a mount to which the one under our mountpoint still propagates, by
    whatever path that namespace reaches it: so the copy of a managed plugin's mount that the host
    has below .../propagated-mount is recognised too. A copy in a namespace that was made private
    after it got it, and a bind mount anywhere else, is a holder.
    """

    def __init__(self, texts: Mapping[int, bytes] | None = None, own: bytes = b"") -> None:
        """`texts` is the raw mountinfo of one process per view of the mounts; `own` is ours."""
        self._views = None if texts is None else _Views(texts, own)
        self._shown: Collection[Shown] | None = None

    @classmethod
    def take(cls) -> Self:
        """Nothing is read before the first question, so what nobody asks costs nothing."""
        return cls()

    def of_device(
        self,
        path: Path,
        mountpoint: Path,
        shows: Callable[[PurePosixPath], bool] = lambda root: True,
    ) -> list[Holder]:
        """Mounts of the block device at `path`, and of folders in it; none if there is no device.

        `shows` tells by the folder that is mounted, as a path from the top of the device's
        filesystem, which mounts count. btrfs mounts under a device number of its own; it is known
        by the name of its source.
        """
        try:
            number = path.stat().st_rdev
        except FileNotFoundError:
            return []
        device, source = f"{os.major(number)}:{os.minor(number)}", str(path)
        return self._holders(
            (f" {device} ".encode(), f" {source} ".encode()),
            lambda m: (
                (m.device == device or (m.source in (source, None) and m.device.startswith("0:")))
                and shows(PurePosixPath(m.root))
            ),
            mountpoint,
        )

    def of_folder(self, path: Path, mountpoint: Path) -> list[Holder]:
        """Mounts of the folder at `path`, and of folders in it; none if there is no such folder."""
        real = path.resolve()
        try:
            host = mounts.holding(real)
        except FileNotFoundError:
            return []
        root = PurePosixPath(host.root) / real.relative_to(host.mountpoint)
        return self._holders(
            (mounts.needle(host.device, str(root)),),
            lambda m: m.device == host.device and PurePosixPath(m.root).is_relative_to(root),
            mountpoint,
        )

    def _holders(
        self,
        needles: Sequence[bytes],
        wanted: Callable[[Mount | Shown], bool],
        mountpoint: Path,
    ) -> list[Holder]:
        if self._views is None:
            if self._is_shown_by_nobody(wanted):
                return []
            self._views = _Views.read()
        here = {
            m.mount_id
            for needle in needles
            for m in mounts.lines_with(self._views.own, needle)
            if m.mountpoint == str(mountpoint)
        }
        seen = list(self._views.matching(needles, wanted))
        ours = [s for s in seen if s.mount.mount_id in here]
        masters = dict(s.groups for s in seen)
        held = (
            _holder(s.pid, s.mount.mountpoint)
            for s in seen
            if s.mount.mount_id not in here and not any(_goes_with(s, own, masters) for own in ours)
        )
        # Below a folder that is a peer of the mount it lies on, the kernel makes every mount twice.
        return list(dict.fromkeys(held))

    def _is_shown_by_nobody(self, wanted: Callable[[Mount | Shown], bool]) -> bool:
        """Whether it is for certain that no namespace has such a mount, hidden ones included."""
        try:
            if self._shown is None:
                self._shown = namespaces.shown_anywhere()
            return not any(map(wanted, self._shown))
        except OSError:
            return False


def of_open_files(mountpoint: Path) -> list[Holder]:
    """Processes of our mount namespace that work on the mount at `mountpoint`, so keep it busy.

    By an open file, a working folder, a root folder or their program.
    """
    own, top = peers.mount_namespace(), str(mountpoint)
    return [
        _holder(pid, top)
        for pid in _pids()
        if peers.mount_namespace(pid) == own
        and any(path == top or path.startswith(f"{top}/") for path in _open_paths(pid))
    ]


def container_of(pid: int) -> str | None:
    """The id of the container that a process is in, from its cgroup; None if in none."""
    try:
        cgroups = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return container_in(cgroups)


def container_in(cgroups: str) -> str | None:
    """The same from the text of /proc/<pid>/cgroup; the innermost of nested containers."""
    found = _CONTAINER.findall(cgroups)
    return found[-1] if found else None


def _tasks() -> Iterator[int]:
    """Every thread of every process, oldest processes first: one can have a namespace of its own.

    Docker's `cp` works in such a thread. Each is found below /proc by its own id, too.
    """
    for pid in _pids():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if os.stat(f"/proc/{pid}/task").st_nlink == _LINKS_OF_ONE_THREAD:  # noqa: PTH116 - as below
                yield pid
            else:
                yield from sorted(int(name) for name in os.listdir(f"/proc/{pid}/task"))  # noqa: PTH208


def _link(pid: int, name: str) -> str:
    return os.readlink(f"/proc/{pid}/{name}")  # noqa: PTH115 - of every process: a Path costs 4 x


def _pids() -> list[int]:
    with os.scandir("/proc") as entries:
        return sorted(int(entry.name) for entry in entries if entry.name.isdigit())


def _goes_with(copy: _Seen, own: _Seen, masters: dict[int, int]) -> bool:
    """Whether unmounting `own` unmounts `copy`; `masters` leads from peer group to its master."""
    if copy.place is None or copy.place != own.place:
        return False
    group, master = copy.groups
    group = group or master
    while group not in (0, own.groups[0]):
        group = masters.get(group, 0)
    return group != 0


def _holder(pid: int, mountpoint: str) -> Holder:
    try:
        command = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except (FileNotFoundError, ProcessLookupError):
        command = "ended"
    return Holder(pid, command, container_of(pid), mountpoint)


def _open_paths(pid: int) -> Iterator[str]:
    """Read as links, which unlike stat(2) never waits for a filesystem that does not answer."""
    process = Path(f"/proc/{pid}")
    with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
        own = (process / name for name in ("cwd", "root", "exe"))
        for link in (*own, *(process / "fd").iterdir()):
            # Gone, or longer than a path can be told (ENAMETOOLONG): none of it is ours to mend.
            with contextlib.suppress(OSError):
                yield str(link.readlink())
