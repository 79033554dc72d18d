"""Keeps which volumes are to be made of backups: a note each, until the volume is there.

Docker was told that they exist. So whatever happens they are listed, and made at last, or removed.
"""

from convoy_py.linux import files
from convoy_py.models.names import is_valid_name
from convoy_py.state.ballast import relieved
from convoy_py.state.formats import Unreadable
from convoy_py.state.records import PENDING, Pending
from convoy_py.state.store import Store

_NOTE = ".json"


class RestoreStore:
    """The notes of one root. Methods do disk I/O and run in worker threads."""

    def __init__(self, store: Store) -> None:
        self.folder = store.notes / "restores"
        self.ballast = store.ballast
        self._changing = store.changing

    def load(self) -> dict[str, Pending | Unreadable]:
        """All that are noted, by the volume's name."""
        found: dict[str, Pending | Unreadable] = {}
        for path in sorted(self.folder.glob(f"*{_NOTE}")):
            if not is_valid_name(path.stem):
                continue
            try:
                found[path.stem] = PENDING.decode(path.read_bytes())
            except Unreadable as problem:
                found[path.stem] = problem.at(path)
            except OSError as error:
                found[path.stem] = Unreadable(f"{path}: {error.strerror}")
        return found

    def note(self, name: str, pending: Pending) -> None:
        """To be durable before anybody is told that the volume exists."""
        with self._changing():
            self.folder.mkdir(mode=0o700, exist_ok=True)
            files.durable_replace(self.folder / f"{name}{_NOTE}", PENDING.encode(pending))

    @relieved
    def forget(self, name: str) -> None:
        """The volume is there, or is not to be made."""
        with self._changing():
            (self.folder / f"{name}{_NOTE}").unlink(missing_ok=True)
            files.fsync_dir(self.folder)
