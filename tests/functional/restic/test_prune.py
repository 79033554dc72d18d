"""After a prune of ours, whole or cut off anywhere, the real restic finds all that it has to."""

import random
from contextlib import suppress
from itertools import count
from pathlib import Path
from shutil import copytree

from convoy_py.restic.errors import StoreFailed
from convoy_py.restic.repository import Repository
from convoy_py.restic.stores.base import Kind
from convoy_py.restic.stores.local import LocalStore
from tests.fakes_restic import new_repository
from tests.pruning import files_of, pruned, with_garbage
from tests.restic import Restic


def test_restic_finds_all_of_its_own_and_of_ours(
    restic: Restic, store: LocalStore, tmp_path: Path
) -> None:
    """Both write, both forget, we prune, and then both go on."""
    chance = random.Random(7)
    source = tmp_path / "source"
    source.mkdir()
    restic.init(cheap=True)
    repository = Repository.open(store, restic.password)
    kept = with_garbage(repository, chance)
    for round_ in range(4):
        for number in chance.sample(range(20), 8):
            (source / str(number)).write_bytes(chance.randbytes(100_000))
        restic.run("backup", source)
        if round_ % 2 == 0:
            restic.run("forget", "latest")
    assert pruned(repository).repacked
    restic.check()
    restored = tmp_path / "restored"
    newest = restic.json("snapshots", "--path", source)[-1]
    restic.run("restore", newest["id"], "--target", restored)
    for file in source.iterdir():
        assert (restored / file.relative_to("/")).read_bytes() == file.read_bytes()
    restic.run("backup", source)
    restic.run("prune")
    repository = Repository.open(store, restic.password)
    for name, files in kept.items():
        assert files_of(repository, name) == files


class Cut(LocalStore):
    """Ends with one of its changes, before or after it is done."""

    def __init__(self, folder: Path, last: int) -> None:
        super().__init__(folder)
        self.last = last
        self.done = count()

    def write(self, *args: object, **named: object) -> None:
        self._last()
        super().write(*args, **named)  # type: ignore[arg-type]

    def delete(self, kind: Kind, name: str) -> None:
        self._last()
        super().delete(kind, name)

    def _last(self) -> None:
        if next(self.done) >= self.last:
            raise StoreFailed("cut off")


def test_cut_off_before_each_change_it_leaves_what_restic_calls_whole(
    restic: Restic, tmp_path: Path
) -> None:
    whole = restic.repository
    repository = new_repository(LocalStore(whole), restic.password)
    kept = with_garbage(repository, random.Random(3), rounds=4)
    steps = changes_of_a_prune(whole, tmp_path / "counted", restic)
    for last in range(steps):
        folder = tmp_path / f"cut-{last}"
        copytree(whole, folder)
        with suppress(StoreFailed):
            pruned(Repository.open(Cut(folder, last), restic.password))
        left = Restic(restic.binary, folder)
        told = left.run("check", "--read-data")
        assert "no errors were found" in told, told
        after = Repository.open(LocalStore(folder), restic.password)
        for name, files in kept.items():
            assert files_of(after, name) == files
        pruned(after)
        left.check()


def changes_of_a_prune(whole: Path, folder: Path, restic: Restic) -> int:
    copytree(whole, folder)
    store = Cut(folder, 1000)
    pruned(Repository.open(store, restic.password))
    return next(store.done)
