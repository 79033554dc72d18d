"""Whether the folder at the root's path is the one that was locked: disks go away, or come late."""

import os
from pathlib import Path

from convoy_py.errors import Unavailable
from convoy_py.linux import mounts


class Presence:
    """The root as it was when it was locked. Methods do disk I/O and run in worker threads."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folder: int | None = None
        self.away = ""  # why nothing may be changed; until the records have been read again

    def hold(self) -> None:
        """From now on it is to be what lies at the path at this moment."""
        folder = os.open(self._root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self.let_go()
        self._folder = folder

    def let_go(self) -> None:
        if self._folder is not None:
            os.close(self._folder)
            self._folder = None

    def look(self) -> bool:
        """Whether it is there; that it was not is remembered. One system call."""
        if self._folder is None:
            return True
        try:
            is_there = os.path.samestat(self._root.stat(), os.fstat(self._folder))
        except OSError:
            is_there = False
        if not is_there:
            self.away = (
                f"{self._root} is not the folder any more that this daemon has locked: its disk "
                "was unmounted, or another was mounted over it; mount the right one there, and "
                "the daemon goes on by itself"
            )
        return is_there

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
        if self._folder is None:
            return False
        if Path(f"/proc/self/fd/{self._folder}").readlink() != self._root.resolve():
            return False  # it was renamed
        mine = mounts.mount_id(self._folder)
        return any(mount.mount_id == mine for mount in mounts.table())
