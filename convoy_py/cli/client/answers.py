"""Answers as they were told, for short commands: the models of the wire take longer to load."""

import json
from typing import Any, TypeVar

from convoy_py.errors import ConvoyError

T = TypeVar("T")


class Told(dict[str, Any]):
    """One JSON object, read by the keys of the wire.

    Where a key is missing, or its value is of another type, `strange` is raised.
    """

    def __init__(self, pairs: dict[str, Any], strange: ConvoyError) -> None:
        super().__init__(pairs)
        self._strange = strange

    def read(self, key: str, kind: type[T]) -> T:
        value = self.get(key)
        if not isinstance(value, kind):
            raise self._strange
        return value

    def having(self, key: str) -> "Told":
        """Itself, if it has this text by which such an object is known."""
        self.read(key, str)
        return self

    def each(self, key: str) -> list["Told"]:
        """A list of objects."""
        return self._objects(self.read(key, list))

    def named(self, key: str) -> dict[str, "Told"]:
        """Objects by name."""
        found = self.read(key, Told)
        return dict(zip(found, self._objects([*found.values()]), strict=True))

    def _objects(self, values: list[Any]) -> list["Told"]:
        if not all(isinstance(value, Told) for value in values):
            raise self._strange
        return values


def read_answer(body: bytes, strange: ConvoyError) -> Told:
    """What stands in a body; raises `strange` for what is no JSON object."""
    try:
        found = json.loads(body, object_hook=lambda pairs: Told(pairs, strange))
    except ValueError:
        raise strange from None
    if not isinstance(found, Told):
        raise strange
    return found
