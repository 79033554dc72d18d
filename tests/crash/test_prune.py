"""A session that prunes is killed at any moment: nothing that is needed is lost."""

import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from random import Random
from shutil import copytree, rmtree

import pytest

from convoy_py.models.session import Access, Prune
from convoy_py.restic.repository import Repository
from convoy_py.restic.stores.base import Kind
from convoy_py.restic.stores.local import LocalStore
from tests.crash.rounds import TIMEOUT, chance, rounds
from tests.fakes_restic import new_repository
from tests.pruning import assert_whole, indexed, with_garbage
from tests.restic import BINARIES, Restic
from tests.sessions import session

_ROUNDS = 4
_LONGEST = 0.3  # seconds from the begin of the exclusive lock to the end of the session
_ALONE = (
    3  # the locks are noted as the shared one comes, as it goes, and as the exclusive one comes
)


def prune(place: Path, left: Sequence[str], killed_after: float | None) -> tuple[str, list[str]]:
    """What the session said last, and the locks that it left."""
    timers: list[threading.Timer] = []

    def noted(process: subprocess.Popen[str], times: int) -> None:
        if times == _ALONE and killed_after is not None:
            timers.append(threading.Timer(killed_after, process.kill))
            timers[0].start()

    access = Access(
        location=str(place),
        password="right",
        host="here",
        patience=60.0,
        leftover_locks=tuple(left),
    )
    last, locks = session(access, Prune(), noted)
    for timer in timers:
        timer.cancel()
    return last["event"], locks


@pytest.mark.timeout(TIMEOUT)
def test_a_prune_that_is_killed_leaves_all_that_is_needed(tmp_path: Path) -> None:
    """And the next one ends it, and takes away what it left: packs, and its lock."""
    whole = tmp_path / "whole"
    kept = with_garbage(new_repository(LocalStore(whole)), Random(11), rounds=16)
    for number in rounds(_ROUNDS):
        place = tmp_path / str(number)
        copytree(whole, place)
        store = LocalStore(place)
        _, locks = prune(place, (), chance(number).random() * _LONGEST)
        assert_whole(store, kept)
        told = Restic(BINARIES[number % 2], place).run("check", "--read-data", "--no-lock")
        assert "no errors were found" in told, told
        assert prune(place, locks, None)[0] == "done"
        assert_whole(store, kept)
        assert list(store.list(Kind.LOCK)) == []
        assert indexed(Repository.open(store, "right")) == {
            name for name, _ in store.list(Kind.PACK)
        }
        rmtree(place)
