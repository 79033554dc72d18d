"""Keeps notes of what is half done: a file each, from before it begins until it is settled."""

import logging
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import BaseModel

from convoy_py.linux import files
from convoy_py.logs import event
from convoy_py.state.formats import Format, Newer, Unreadable

log = logging.getLogger("convoy.state")
T = TypeVar("T", bound=BaseModel)


class Notes(Generic[T]):
    """Those of one format in some folders: in use by who began it, or left to who looks for it.

    Methods do disk I/O and run in worker threads.
    """

    def __init__(self, form: Format[T], unsettled: str, *folders: Path) -> None:
        """`unsettled` is what the log says of one that cannot be settled just now."""
        self._form = form
        self._unsettled = unsettled
        self._folders = folders
        self._in_use: set[Path] = set()
        self._told: dict[Path, str] = {}  # what was last logged of a note

    def begin(self, content: T, folder: Path | None = None, *, durable: bool = True) -> Path:
        """Make one, in use, in the first folder if none is named; durable on return, or not."""
        folder = folder or self._folders[0]
        files.durable_folder(folder)
        note = folder / f"{secrets.token_hex(8)}.json"
        self._in_use.add(note)
        try:
            self.write(note, content, durable=durable)
        except BaseException:
            self.leave(note)
            raise
        return note

    def write(self, note: Path, content: T, *, durable: bool = True) -> None:
        """Have it say something else."""
        files.durable_replace(note, self._form.encode(content), durable=durable)

    def end(self, note: Path) -> None:
        """It is settled; as long as the note is there it stays in use."""
        note.unlink(missing_ok=True)
        self._told.pop(note, None)
        self.leave(note)

    def leave(self, note: Path) -> None:
        """From here on it is for who looks for what is left."""
        self._in_use.discard(note)

    def left(self) -> Iterator[tuple[Path, T]]:
        """Those that nobody has in use: of an earlier daemon, or left.

        What cannot be read just now stays, and is told; what is no note of ours is deleted.
        """
        found = {note for folder in self._folders for note in folder.glob("*.json")}
        for note in found - self._in_use:
            try:
                content = self._form.decode(note.read_bytes())
            except FileNotFoundError:
                continue  # by now it is settled
            except (Newer, OSError) as problem:
                self.tell(note, problem)
            except Unreadable:
                log.warning("%s is not a note of ours; it is deleted", note)
                self.end(note)
            else:
                yield note, content

    def tell(self, note: Path, failure: Exception, unsettled: str = "") -> None:
        """Log why it is not settled, once; `unsettled` is said in place of what is said of all."""
        if self._told.get(note) != str(failure):
            what = unsettled or self._unsettled
            event(log, logging.WARNING, what, note=note, failure=failure)
        self._told[note] = str(failure)
