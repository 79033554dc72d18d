r"""File names are bytes: each is told as one printable line of its own, and found by it again."""

import errno
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convoy_py.errors import failed
from convoy_py.escapes import encodable, escaped, meanings, printable

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
