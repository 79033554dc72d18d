"""A list of objects in JSON, read as it comes: however long it is, in the memory of one object."""

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any

_LONGEST = 64 << 10  # characters of an object
_BLANKS = re.compile(r"[ \t\r\n]*")
# What may come first, and after what each begins with.
_FIRST = "["
_AFTER = {"[": "{]", "{": ",]", ",": "{", "]": ""}


class JsonList:
    """What is no such list is a ValueError."""

    def __init__(self) -> None:
        self._text = codecs.getincrementaldecoder("utf-8")()
        self._decoder = json.JSONDecoder()
        self._rest = ""  # that is not whole yet
        self._expected = _FIRST

    def add(self, piece: bytes) -> Iterator[Any]:
        """The objects that are whole with this piece; to be iterated to its end."""
        text, at = self._rest + self._text.decode(piece), 0
        while (at := _after_blanks(text, at)) < len(text):
            mark = text[at]
            if mark not in self._expected:
                raise ValueError("no list of objects")
            if mark == "{":
                try:
                    item, at = self._decoder.raw_decode(text, at)
                except (ValueError, RecursionError):  # more of it is to come, or it is none
                    break
                yield item
            else:
                at += 1
            self._expected = _AFTER[mark]
        self._rest = text[at:]
        if len(self._rest) > _LONGEST:
            raise ValueError("an object without an end")

    @property
    def is_whole(self) -> bool:
        """Whether the list has come to its end."""
        return not self._expected


def _after_blanks(text: str, at: int) -> int:
    found = _BLANKS.match(text, at)
    assert found
    return found.end()
