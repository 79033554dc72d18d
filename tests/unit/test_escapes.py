r"""File names are bytes: each is told as one printable line of its own, and found by it again."""

import errno
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convoy_py.errors import failed
from convoy_py.escapes import LONGEST_CHARACTERS, encodable, escaped, meanings, one_line, printable
from convoy_py.models.options import help_line

NAMES = st.binary(min_size=1, max_size=40).map(os.fsdecode)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (b"etc/postgresql.conf", "etc/postgresql.conf"),
        ("größe 名前".encode(), "größe 名前"),
        (b"caf\xe9.txt", r"caf\xe9.txt"),
        (rb"caf\xe9.txt", r"caf\\xe9.txt"),
        (b"two\nlines\x1b[2J", r"two\x0alines\x1b[2J"),
        ("turn\u202e".encode(), r"turn\xe2\x80\xae"),
        (b"back\\", r"back\\"),
    ],
)
def test_a_name_is_told_in_one_way(name: bytes, told: str) -> None:
    """A byte that cannot be printed by its number, a backslash twice."""
    assert escaped(os.fsdecode(name)) == told
    assert os.fsencode(meanings(told)[0]) == name


@given(NAMES)
def test_what_is_told_is_found_again(name: str) -> None:
    """Whatever bytes it has; and JSON can hold it."""
    told = escaped(name)
    assert told.isprintable()
    assert told.encode()
    assert meanings(told)[0] == name


@given(NAMES)
def test_the_name_itself_is_understood_too(name: str) -> None:
    """It is the last thing that is meant, if it can be read as an escaped one."""
    assert name in meanings(name)


@pytest.mark.parametrize("name", [r"dev-disk\x2dby.swap", r"C:\temp", "a\nb", "plain", "\\"])
def test_what_nobody_would_tell_so_is_taken_as_it_is(name: str) -> None:
    """No two files can be meant by it: those of systemd have such names."""
    assert meanings(name) == (name,)


def test_the_file_that_an_error_of_the_system_is_about_is_told_so() -> None:
    """Whatever verb meets it, wherever the error is told."""
    error = OSError(errno.EIO, "Input/output error", "/srv/two\nlines/caf\udce9")
    told = r"volume v: Input/output error: /srv/two\x0alines/caf\xe9"
    assert str(failed("volume v", error)) == told


def test_other_text_is_printable_and_can_be_encoded() -> None:
    """Bytes of file names have their numbers in it, too."""
    assert printable("a\nb \udce9") == r"a\nb \xe9"
    assert encodable("a\nb \udce9") == "a\nb \\xe9"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain text", "plain text"),
        ("Ünïcode 名前", "Ünïcode 名前"),
        ("two\r\nlines\tand a tab", "two lines and a tab"),
        ("\x1b[1;31mred\x1b[0m \x1b]0;title\x07end", "red end"),
        ("\x1b", ""),
        ("bell\x07 nul\0 del\x7f c1\x9b31m", "bell nul del c1 31m"),
        ("turn\u202egnp.exe\u2028next", "turn gnp.exe next"),
        ("lone \ud800 surrogate", "lone surrogate"),
        ("a byte of a name: caf\udce9", r"a byte of a name: caf\xe9"),
    ],
)
def test_one_line_is_printable(text: str, line: str) -> None:
    """Nothing in an error can act on the terminal that shows it."""
    assert one_line(text) == line


def test_one_line_is_short_but_holds_the_help() -> None:
    """A client's own text cannot fill a terminal; the table of options fits."""
    assert len(one_line("x" * 100_000)) == LONGEST_CHARACTERS
    assert len(one_line("\n".join("x" * 100_000))) == LONGEST_CHARACTERS
    assert one_line(help_line()) == help_line()
