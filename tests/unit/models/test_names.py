"""One rule decides what a volume may be called."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convoy_py.errors import InvalidName
from convoy_py.models.names import check_name, is_valid_name


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
