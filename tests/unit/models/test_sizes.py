"""Sizes are read as people write them, and nothing else is taken for one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convoy_py.models.sizes import LARGEST, exact_size, format_size, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("4096", 4096),
        ("512B", 512),
        ("10G", 10 * 2**30),
        ("10g", 10 * 2**30),
        ("10GiB", 10 * 2**30),
        ("1.5GiB", 3 * 2**29),
        ("1.5g", 3 * 2**29),
        ("10GB", 10 * 10**9),
        ("10gb", 10 * 10**9),
        ("100 M", 100 * 2**20),
        ("2T", 2 * 2**40),
        ("1k", 1024),
        ("1kB", 1000),
    ],
)
def test_a_size_is_1024_based_unless_it_ends_in_b_alone(text: str, size: int) -> None:
    """`G` and `GiB` are 1024-based, `GB` is 1000-based, a bare number is bytes."""
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "",
        "G",
        "-1",
        "+1",
        "1.5",
        "1e3",
        "1E",
        "NaN",
        "inf",
        "0x10",
        "1,5G",
        "10GG",
        "1..5G",
        "1iB",
        "\u0661G",
        "10 G B",
        "1\n",
        "9" * 50,
        "8192P",
        "99999999999999999999",
    ],
)
def test_anything_else_is_refused_with_the_accepted_forms(text: str) -> None:
    """The error shows what a size looks like."""
    with pytest.raises(ValueError, match=r"size"):
        parse_size(text)


@given(st.integers(0, LARGEST))
def test_every_number_of_bytes_is_exact(size: int) -> None:
    """A plain number is not rounded."""
    assert parse_size(str(size)) == size


@given(st.integers(1, 2**52), st.sampled_from("kmgKMG"))
def test_units_multiply_exactly(number: int, unit: str) -> None:
    """Whole numbers of a unit are not rounded either, or are refused as too large."""
    factor = 1024 ** ("kmg".index(unit.lower()) + 1)
    if number * factor > LARGEST:
        with pytest.raises(ValueError, match="largest"):
            parse_size(f"{number}{unit}")
    else:
        assert parse_size(f"{number}{unit}") == number * factor


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0B"),
        (512, "512B"),
        (1024, "1KiB"),
        (1536, "1.5KiB"),
        (10 * 2**30, "10GiB"),
        (1023 * 2**20, "1023MiB"),
        (2**62, "4096PiB"),
    ],
)
def test_sizes_are_shown_in_1024_based_units(size: int, shown: str) -> None:
    """What is shown can be given again."""
    assert format_size(size) == shown


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0"),
        (1000, "1000"),
        (3 * 2**29, "1536MiB"),
        (15 * 2**40, "15TiB"),
        (10**10, "10000000000"),
        (2**44 - 4096, "17592186040320"),
    ],
)
def test_an_exact_size_is_not_rounded(size: int, shown: str) -> None:
    """A bound that is shown is itself accepted, and what differs looks different."""
    assert exact_size(size) == shown


@given(st.integers(0, LARGEST))
def test_every_exact_size_can_be_given_again(size: int) -> None:
    """It is the same size."""
    assert parse_size(exact_size(size)) == size
