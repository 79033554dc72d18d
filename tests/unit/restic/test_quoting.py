"""Text is written as Go writes it, and read back."""

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convoy_py.restic import quoting
from convoy_py.restic.errors import Damaged
from convoy_py.restic.printing import prints


@given(st.binary(max_size=40) | st.text(max_size=20).map(str.encode))
def test_every_name_is_read_back(name: bytes) -> None:
    told = json.loads(quoting.json_name(name))

    assert quoting.unquoted(told) == name


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (b"plain-1.txt", r"plain-1.txt"),
        ("grün ☺".encode(), "grün ☺"),
        (b'a"b\\c', r"a\\\"b\\\\c"),
        (b"\a\b\f\n\r\t\v", r"\\a\\b\\f\\n\\r\\t\\v"),
        (b"\x01\x1f\x7f", r"\\x01\\x1f\\x7f"),
        (b"caf\xe9 \xe2\x82", r"caf\\xe9 \\xe2\\x82"),
        (b"\xed\xa0\x80", r"\\xed\\xa0\\x80"),  # half a surrogate pair
        ("\x80\u00a0\u00ad\u2028\u202e".encode(), r"\\u0080\\u00a0\\u00ad\\u2028\\u202e"),
        ("\ufffd\U0001f600\U000e0001".encode(), "\ufffd\U0001f600" + r"\\U000e0001"),
        (b"<&>'", r"\u003c\u0026\u003e'"),
    ],
)
def test_names_are_quoted_and_then_made_json(name: bytes, told: str) -> None:
    assert quoting.json_name(name) == f'"{told}"'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"a/b <c>", r"a/b \u003cc\u003e"),
        (b"\x00\x08\x0c\x7f", "\\u0000\\b\\f\x7f"),
        ("\u2028\u2029\u202e".encode(), "\\u2028\\u2029\u202e"),
        (b"l\xff\xfe", r"l\ufffd\ufffd"),
        ("\ufffd".encode(), "\ufffd"),
    ],
)
def test_strings_are_json_alone(text: bytes, told: str) -> None:
    assert quoting.json_string(text) == f'"{told}"'


def test_the_characters_that_print_are_those_of_go() -> None:
    """All of Unicode, as restic 0.19.1 (Go 1.26) had them in names: the same on every Python."""
    unicode = (chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000)
    as_is = "".join(filter(prints, unicode))

    assert len(as_is) == 148_998
    digest = hashlib.sha256(as_is.encode()).hexdigest()
    assert digest == "092ac4a79b54597be48c18b81470e18e593c41fcb38b08c529c8f829ca01cc9a"


@pytest.mark.parametrize(
    ("text", "name"), [(r"\101\U0001f600", "A\U0001f600"), (r"\u0041\x42", "AB"), ("'", "'")]
)
def test_whatever_go_could_write_is_read(text: str, name: str) -> None:
    assert quoting.unquoted(text) == name.encode()


@pytest.mark.parametrize(
    "text", [r"\q", "\\", r"\x4", '"', r"a\'", r"\777", r"\U00110000", r"\ud800", "\ud800", r"\\\ "]
)
def test_what_go_would_not_read_is_damage(text: str) -> None:
    with pytest.raises(Damaged):
        quoting.unquoted(text)


@given(st.integers(-62_135_596_800 * 10**9, 253_402_300_800 * 10**9 - 1))
def test_every_time_is_read_back(nanoseconds: int) -> None:
    assert quoting.nanoseconds(quoting.time(nanoseconds)) == nanoseconds


@pytest.mark.parametrize(
    ("nanoseconds", "told"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1_500_000_000, "1970-01-01T00:00:01.5Z"),
        (-1, "1969-12-31T23:59:59.999999999Z"),
        (1_782_909_015_000_000_120, "2026-07-01T12:30:15.00000012Z"),
        (10**30, "9999-12-31T23:59:59Z"),
        (-(10**30), "0001-01-01T00:00:00Z"),
    ],
)
def test_times_are_in_utc_without_zeros_at_the_end(nanoseconds: int, told: str) -> None:
    assert quoting.time(nanoseconds) == told


@pytest.mark.parametrize(
    ("told", "nanoseconds"),
    [
        ("1970-01-01T02:00:00.25+02:00", 250_000_000),
        ("1969-12-31T23:00:01-01:00", 1_000_000_000),
    ],
)
def test_times_of_any_zone_are_read(told: str, nanoseconds: int) -> None:
    assert quoting.nanoseconds(told) == nanoseconds


@pytest.mark.parametrize(
    "told",
    [
        "",
        "now",
        "1970-01-01",
        "1970-13-01T00:00:00Z",
        "1970-01-01T00:00:00",
        "1970-01-01T00:00:00Zx",
    ],
)
def test_what_is_no_time_is_damage(told: str) -> None:
    with pytest.raises(Damaged):
        quoting.nanoseconds(told)
