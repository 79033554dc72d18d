"""The config: of format 2, with a polynomial that restic takes."""

import json
from typing import Any

import pytest

from convoy_py.restic import polynomial
from convoy_py.restic.config import Config
from convoy_py.restic.errors import Damaged, RepositoryError
from convoy_py.restic.seal import MasterKey

KEY = MasterKey.new()
GOOD = {"version": 2, "id": "ab" * 32, "chunker_polynomial": "3da3358b4dc173"}


def decoded(**fields: Any) -> Config:
    return Config.decode(KEY, KEY.seal(json.dumps(GOOD | fields).encode()))


def test_reads_what_it_wrote() -> None:
    config = Config.new()

    stored = config.encode(KEY)

    assert Config.decode(KEY, stored) == config
    assert json.loads(KEY.open(stored))["version"] == 2  # plain JSON, without a byte before it


def test_unknown_fields_are_for_others() -> None:
    assert decoded(append_only=True).chunker_polynomial == 0x3DA3358B4DC173


def test_an_older_format_is_told_with_the_way_out() -> None:
    with pytest.raises(RepositoryError, match=r"format 1.*restic migrate upgrade_repo_v2"):
        decoded(version=1)


@pytest.mark.parametrize(
    "fields",
    [{"version": "2"}, {"id": None}, {"id": "ab"}, {"chunker_polynomial": "x"}],
    ids=str,
)
def test_another_form_is_damage(fields: dict[str, Any]) -> None:
    with pytest.raises(Damaged):
        decoded(**fields)


def test_polynomials_are_irreducible_and_of_the_degree() -> None:
    for drawn in {polynomial.new() for _ in range(5)}:
        assert polynomial.irreducible(drawn)
        assert drawn.bit_length() == 54


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0x3DA3358B4DC173, True),  # of restic's documentation
        (0x3DA3358B4DC173 ^ 1, False),
        (0x3DA3358B4DC173 ^ 2, False),
        (0x3DA3358B4DC173 << 1, False),
        (0x38000000000009, False),  # x² + x + 1 times another
        (0b111, False),  # has no divisors, and another degree
    ],
)
def test_irreducible(number: int, expected: bool) -> None:
    assert polynomial.irreducible(number) is expected
