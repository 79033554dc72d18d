r"""Text as Go writes it: names by `strconv.Quote`, strings by `encoding/json`, times in RFC 3339.

To the byte, for trees are known by the hash of their JSON.
"""

import json
import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from convoy_py.restic.errors import Damaged
from convoy_py.restic.printing import prints

_SECOND = 1_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = -62_135_596_800, 253_402_300_799  # the years 1 to 9999

_SHORT = {
    '"': '\\"',
    "\\": "\\\\",
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
}
_LONG = {escape[1]: plain for plain, escape in _SHORT.items()}
_PLAIN = re.compile(rb"[ !#-\[\]-~]*")
_ESCAPE = re.compile(
    r'\\(?:x([0-9a-fA-F]{2})|([0-7]{3})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([abfnrtv"\\]))'
)
_NO_UTF8 = re.compile("[\udc80-\udcff]")
_FOR_HTML = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?(Z|[+-]\d\d:\d\d)", re.ASCII
)


def quoted(name: bytes) -> str:
    r"""A file name as Go quotes it, without the quotes; a byte that is no UTF-8 is `\xff`."""
    if _PLAIN.fullmatch(name):
        return name.decode()
    text = name.decode(errors="surrogateescape")
    if prints(text) and b'"' not in name and b"\\" not in name:
        return text
    return "".join(map(_character, text))


def unquoted(text: str) -> bytes:
    """The name that was `quoted` so; Damaged if Go would not read it."""
    if '"' in text or "\\" in text:
        pieces = []
        end = 0
        for escape in _ESCAPE.finditer(text):
            pieces += [_utf8(text[end : escape.start()]), _meant(escape)]
            end = escape.end()
        between = _ESCAPE.sub("", text)
        if '"' in between or "\\" in between:
            raise Damaged(f"a name has what is no escape of Go's: {text[:80]!r}")
        return b"".join([*pieces, _utf8(text[end:])])
    return _utf8(text)


def json_string(text: bytes) -> str:
    r"""As `encoding/json` writes a string; a byte that is no UTF-8 becomes the escape `\ufffd`."""
    decoded = text.decode(errors="surrogateescape")
    encoded = json.dumps(decoded, ensure_ascii=False).translate(_FOR_HTML)
    return encoded if decoded.isascii() else _NO_UTF8.sub(r"\\ufffd", encoded)


def json_value(value: Any) -> str:
    """Any JSON, without blanks, its fields in the order in which they are."""
    encoded = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return encoded.translate(_FOR_HTML)


def json_name(name: bytes) -> str:
    """A file name as a tree has it: quoted, and then a string of JSON."""
    return json_string(quoted(name).encode())


def time(nanoseconds: int) -> str:
    """Since 1970, in UTC; a year that has not four digits becomes the nearest that has."""
    seconds, fraction = divmod(nanoseconds, _SECOND)
    if not _FIRST <= seconds <= _LAST:
        seconds, fraction = (_FIRST if seconds < _FIRST else _LAST), 0
    whole = (_EPOCH + timedelta(seconds=seconds)).replace(tzinfo=None).isoformat()
    return f"{whole}.{fraction:09}".rstrip("0") + "Z" if fraction else f"{whole}Z"


@lru_cache(maxsize=4)  # the three of a file are often the same
def nanoseconds(time: str) -> int:
    """Since 1970; Damaged if it is no RFC 3339."""
    match = _TIME.fullmatch(time)
    if not match:
        raise Damaged(f"it is no time: {time[:40]!r}")
    date, clock, fraction, zone = match.groups()
    try:
        whole = datetime.fromisoformat(f"{date}T{clock}{'+00:00' if zone == 'Z' else zone}")
    except ValueError:
        raise Damaged(f"it is no time: {time[:40]!r}") from None
    since = whole - _EPOCH
    return (since.days * 86_400 + since.seconds) * _SECOND + int((fraction or "").ljust(9, "0"))


def _character(c: str) -> str:
    if c in _SHORT:
        return _SHORT[c]
    if prints(c):
        return c
    code = ord(c)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _meant(escape: re.Match[str]) -> bytes:
    byte, octal, *codes, letter = escape.groups()
    if byte or octal:
        value = int(byte, 16) if byte else int(octal, 8)
        if value > 0xFF:
            raise Damaged("a name has an octal escape that is no byte")
        return bytes([value])
    if letter:
        return _LONG[letter].encode()
    code = int(codes[0] or codes[1], 16)
    if code > 0x10FFFF:
        raise Damaged("a name has an escape that is no character")
    return _utf8(chr(code))


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise Damaged("a name has half a surrogate pair") from None
