"""Keeps the references: one small file per held volume, below the run folder.

They survive the daemon and die with the boot, as mounts do; so they are replaced atomically but
not fsynced, and a file of another boot is as good as none.
"""

import logging
from pathlib import Path

from convoy_py.linux import files
from convoy_py.models.names import is_full_name
from convoy_py.state.formats import Newer, Unreadable
from convoy_py.state.records import REFERENCES, References

log = logging.getLogger("convoy.state")


class ReferenceStore:
    """The reference files of one run folder. Methods do disk I/O and run in worker threads."""

    def __init__(self, run_dir: Path, boot: str) -> None:
        self.folder = run_dir / "references"
        self.boot = boot
        self._none = References(boot=boot)
        self.unsaved: set[str] = set()  # volumes of which the last `save` failed

    def open(self) -> None:
        """Make the folder, and delete what an interrupted `save` left in it."""
        self._make_folder()
        for unfinished in self.folder.glob(".*.json.*"):
            unfinished.unlink()

    def none(self) -> References:
        """The same one for all."""
        return self._none

    def load(self) -> dict[str, References]:
        """All references of this boot by volume; unreadable and older ones count as none.

        That is safe: a reference only delays an unmount, and who really holds a volume is looked up
        in the mount namespaces before its data is touched.
        """
        found = {}
        for path in self.folder.glob("*.json"):
            if not is_full_name(path.stem):
                continue
            try:
                references = REFERENCES.decode(path.read_bytes())
            except Newer as problem:
                log.warning("%s: it counts as none", problem.at(path))
                continue
            except (OSError, Unreadable):
                continue
            if references.boot == self.boot:
                found[path.stem] = references
        return found

    def save(self, name: str, references: References) -> None:
        """Replace those of a volume; also where somebody has emptied the run folder."""
        path = self.folder / f"{name}.json"
        self.unsaved.add(name)
        if references.holds:
            self._make_folder()
            files.durable_replace(path, REFERENCES.encode(references), durable=False)
        else:
            path.unlink(missing_ok=True)
        self.unsaved.discard(name)

    def _make_folder(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
