"""A register between the clients of engines that several hosts mount."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from convoy_py.state import register
from tests import registering, shared_roots

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
