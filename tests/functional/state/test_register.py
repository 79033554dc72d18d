"""Registers and claims between the clients of engines that several hosts mount."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from convoy_py.models.claims import Claim, Member, Mode
from convoy_py.state import claims, register
from tests import claiming, registering, shared_roots

pytestmark = pytest.mark.root


@pytest.fixture(params=sorted(shared_roots.ENGINES))
def clients(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    with shared_roots.ENGINES[request.param](tmp_path / "engine") as both:
        yield both


def test_two_hosts_swap_without_a_duplicate_or_a_gap(clients: tuple[Path, Path]) -> None:
    folders = [client / "register" for client in clients]
    assert register.make(folders[0], registering.FIRST)
    assert not register.make(folders[1], registering.FIRST)
    won = registering.raced(folders, 200)
    assert registering.faults(won, register.read(folders[0])) == []
    assert [len(os.listdir(folder)) for folder in folders] == [1, 1]


def test_what_one_has_alone_nobody_else_has_and_none_is_removed_in_use(
    clients: tuple[Path, Path],
) -> None:
    homes = [client / "db" for client in clients]
    homes[0].mkdir()
    free = Claim(0, "00c0ffee", Mode.FREE, (Member(0, 1),))
    assert register.make(homes[0] / claims.CLAIM, str(free))
    told = registering.told("tests.claiming", homes, 100)
    uses = [claiming.Use(*each) for host in told for each in host]
    assert {use.mode for use in uses} == {Mode.ONE, Mode.MANY}
    assert claiming.overlaps(uses) == []


def test_who_has_what_another_has_alone_would_be_found() -> None:
    """What the test above rests on."""
    alone, other = claiming.Use(0, "one", 1.0, 2.0), claiming.Use(1, "many", 2.0, 3.0)
    assert claiming.overlaps([other, alone]) == [(alone, other)]
    assert claiming.overlaps([other, alone._replace(mode="many")]) == []
    assert claiming.overlaps([other, alone._replace(ended=1.9)]) == []
    assert claiming.overlaps([other, alone._replace(host=1)]) == []
