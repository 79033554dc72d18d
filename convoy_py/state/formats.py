"""How what lies on disk is written and read: formats with numbers, and the steps between them.

Every file of ours, record or small note, has a Format. What cannot be read raises Unreadable with
the reason, and is never guessed at.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

T = TypeVar("T", bound=BaseModel)
# Turns the content of one format into that of the next.
Step = Callable[[Any], Any]


class Unreadable(Exception):
    """A file does not hold what it should; the text says what is wrong with it."""

    def at(self, path: Path) -> "Unreadable":
        """The same, naming the file."""
        return type(self)(f"{path}: {self}")


class Newer(Unreadable):
    """A newer daemon wrote it, and will know what it says: it is not to be deleted, or replaced."""


class Format(Generic[T]):
    """How one kind of file lies on disk: `{"format": 1, …}`, the number beside the content."""

    def __init__(self, kind: str, model: type[T], *steps: Step, numbered_from: int = 1) -> None:
        """The first of `steps` leads from format 1 to 2, and so on; the last to what `model` is.

        Files of formats before `numbered_from` bear no number, which is read as 1.
        """
        self.kind = kind
        self.model = model
        self.version = len(steps) + 1
        self._steps = steps
        self._numbered = self.version >= numbered_from

    def encode(self, value: T) -> bytes:
        return self._written(value.model_dump(mode="json"))

    def decode(self, data: bytes) -> T:
        """What a file of this format, or of an older one, says; raises Unreadable, Newer."""
        try:
            document = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise self._none(error) from None
        version = self._version(document)
        content = self._content(document)
        try:
            for step in self._steps[version - 1 :]:
                content = step(content)
            return self.model.model_validate(content)
        except (ValueError, TypeError, LookupError) as error:
            raise Unreadable(f"its content is not a {self.kind}: {_first(error)}") from None

    def _version(self, document: Any) -> int:
        version = document.get("format", 1) if isinstance(document, dict) else 1
        if type(version) is not int or version < 1:
            raise Unreadable(f"its format {version!r} is none")
        if version > self.version:
            raise Newer(f"its format {version} is newer than {self.version}, the newest known")
        return version

    def _written(self, content: Any) -> bytes:
        document = {"format": self.version, **content} if self._numbered else content
        return json.dumps(document).encode() + b"\n"

    def _content(self, document: Any) -> Any:
        if not isinstance(document, dict):
            return document
        return {key: value for key, value in document.items() if key != "format"}

    def _none(self, error: Exception) -> Unreadable:
        return Unreadable(f"not a {self.kind} record ({error!r})")


class Sealed(Format[T]):
    """One for people to read, with a checksum: `{"format": 3, "checksum": …, "volume": {…}}`."""

    def _written(self, content: Any) -> bytes:
        document = {"format": self.version, "checksum": _checksum(content), self.kind: content}
        return json.dumps(document, indent=2).encode() + b"\n"

    def _content(self, document: Any) -> Any:
        try:
            content, checksum = document[self.kind], document["checksum"]
            document["format"]
        except (TypeError, LookupError) as error:
            raise self._none(error) from None
        if checksum != _checksum(content):
            raise Unreadable("its checksum does not match its content")
        return content


def _checksum(content: Any) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
    return "sha256:" + hashlib.sha256(canonical).hexdigest()


def _first(error: Exception) -> str:
    return error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
