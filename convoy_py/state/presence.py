"""Whether the folders of the root are those that were locked: disks go away, or come late."""

import os
from pathlib import Path

from convoy_py.errors import Unavailable
from convoy_py.linux import mounts


class Presence:
    """The root as it was when it was locked. Methods do disk I/O and run in worker threads."""

    def __init__(self, root: Path, *within: Path) -> None:
        """`within` are folders in it that must be there, too: something may be mounted on them."""
        self._root = root
        self._paths = (root, *within)
        self._folders: list[tuple[Path, int]] = []
        self.away = ""  # why nothing may be changed; until the records have been read again

    def pin(self) -> None:
        """From now on they are to be what lies at the paths at this moment."""
        self.unpin()
        for path in self._paths:
            folder = os.open(path, os.O_PATH | os.O_CLOEXEC)
            self._folders.append((path, folder))

    def unpin(self) -> None:
        for _, folder in self._folders:
            os.close(folder)
        self._folders.clear()

    def look(self) -> bool:
        """Whether all is there; that it was not is remembered. Two system calls per folder."""
        for path, folder in self._folders:
            try:
                is_there = os.path.samestat(path.stat(), os.fstat(folder))
            except OSError:
                is_there = False
            if not is_there:
                self.away = (
                    f"{path} is not the folder any more that this daemon has locked: its disk "
                    "was unmounted, or another was mounted over it; mount the right one there, "
                    "and the daemon goes on by itself"
                )
                return False
        return True

    def back(self) -> None:
        """Its records have been read again."""
        self.away = ""

    def refuse(self) -> None:
        """Raise Unavailable unless it is there, and has been all the time."""
        self.look()
        if self.away:
            raise Unavailable(self.away)

    def is_covered(self) -> bool:
        """Whether it is where it was, below something that was mounted over it since."""
        if not self._folders:
            return False
        folder = self._folders[0][1]
        if Path(f"/proc/self/fd/{folder}").readlink() != self._root.resolve():
            return False  # it was renamed
        if os.path.samestat(self._root.stat(), os.fstat(folder)):
            return False  # it is seen; only what is within it may not be
        mine = mounts.mount_id(folder)
        return any(mount.mount_id == mine for mount in mounts.table())
