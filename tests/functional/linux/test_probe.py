"""What filesystems do is found out as it is, also where they say otherwise."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from convoy_py.linux import probe, reflink
from convoy_py.linux.probe import Abilities
from tests import shared_roots

pytestmark = pytest.mark.root

PLAIN = Abilities(
    swaps=True,
    exchanges=True,
    reflinks=False,
    quick_copies=None,
    tells_holes=True,
    tells_blocks=True,
    locks=True,
)
SHARING = replace(PLAIN, reflinks=True, quick_copies=True)


@pytest.fixture(autouse=True)
def nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test's filesystems are new, but the numbers of their devices may not be."""
    monkeypatch.setattr(reflink, "_support", {})


@pytest.mark.parametrize(
    ("fs", "expected"), [("ext4", PLAIN), ("xfs", SHARING), ("btrfs", SHARING)]
)
def test_those_of_this_machine_do_as_they_say(
    fs: str, expected: Abilities, make_host: Callable[[str], Path]
) -> None:
    folder = make_host(fs)
    before = os.listdir(folder)
    found = probe.abilities(folder)
    if fs == "ext4":  # how fast memory is says nothing
        found = replace(found, quick_copies=None)
    assert found == expected
    assert os.listdir(folder) == before


def test_juicefs_copies_at_once_but_its_blocks_are_no_measure(tmp_path: Path) -> None:
    with shared_roots.juicefs(tmp_path / "engine") as (folder, _):
        found = probe.abilities(folder)
        assert found == replace(PLAIN, quick_copies=True, tells_holes=False, tells_blocks=False)


def test_an_exchange_that_is_a_plain_rename_is_found_out(tmp_path: Path) -> None:
    """SeaweedFS reports that it was done."""
    with shared_roots.seaweedfs(tmp_path / "engine") as (folder, _):
        found = probe.abilities(folder)
        assert not found.exchanges
        assert not found.tells_blocks
        assert found.swaps
        assert os.listdir(folder) == []
