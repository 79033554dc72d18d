"""One rule decides what a volume may be called."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convoy_py.errors import Invalid, InvalidName
from convoy_py.models.names import (
    check_name,
    clone_name,
    is_full_name,
    is_source,
    is_valid_name,
    joined,
    split_source,
    volume_of,
)

NAMES = st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,20}", fullmatch=True)


@pytest.mark.parametrize("name", ["a", "db", "0", "A.b-c_d", "x" * 128, "a" * 64, "new-x", "a.."])
def test_ordinary_and_anonymous_names_are_accepted(name: str) -> None:
    """Letters, digits, `_`, `.` and `-`, beginning with a letter or digit, up to 128."""
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../etc",
        "/abs",
        "a/b",
        "a b",
        "-rf",
        "--help",
        "_x",
        ".new-1",
        "a\n",
        "a\0b",
        "Ünï",
        "a:b",
        "a@b",
        "a\\b",
        "%2e%2e",
        "x" * 129,
        "a\u202eb",
        "\uff21",
    ],
)
def test_names_that_could_mean_a_path_or_an_option_are_refused(name: str) -> None:
    """The error tells the rule and shows the name without its control characters."""
    with pytest.raises(InvalidName, match="1 to 128 of") as caught:
        check_name(name)
    assert "\n" not in str(caught.value)
    assert "\0" not in str(caught.value)


@given(st.text())
def test_no_valid_name_leaves_its_folder(name: str) -> None:
    """Whatever passes is one plain path component of ASCII."""
    if is_valid_name(name):
        assert name.isascii()
        assert name.isprintable()
        assert "/" not in name
        assert not name.startswith((".", "-"))


def test_what_is_named_is_told() -> None:
    """A bad name of a snapshot is not called a volume's."""
    with pytest.raises(InvalidName, match="invalid snapshot name 'a@b'"):
        check_name("a@b", "snapshot")


@pytest.mark.parametrize("text", ["", "@", "db@", "@a", "db@a@b", "db@../x", "db#1@a", "a b@c"])
def test_a_full_name_has_two_names_in_it(text: str) -> None:
    """Anything else is refused with an example of each form."""
    assert not is_source(text)
    with pytest.raises(Invalid, match="such as db@nightly"):
        split_source(text)


@given(NAMES, NAMES, st.text())
def test_full_names_come_apart_as_they_were_joined(volume: str, snapshot: str, job: str) -> None:
    """No volume's own name looks like one, so none can be taken for another's."""
    full, clone = joined(volume, snapshot), clone_name(volume, job)
    assert split_source(full) == (volume, snapshot)
    assert split_source(volume) == (volume, "")
    assert joined(volume, "") == volume_of(full) == volume_of(clone) == volume_of(volume) == volume
    assert all(map(is_full_name, (volume, full, clone)))
    assert not is_valid_name(full)
    assert not is_valid_name(clone)
    assert not is_source(clone)
    assert "/" not in clone


def test_every_mount_id_has_a_clone_of_its_own() -> None:
    """By a name that is always the same, whatever the ID is made of."""
    names = {clone_name("ci", job) for job in ("a", "b", "a/../b", "", "x" * 1000)}
    assert len(names) == 5
    assert clone_name("ci", "a") == "ci#ca978112ca1bbdca"
