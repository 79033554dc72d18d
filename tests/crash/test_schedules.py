"""Two hosts of ours and a real restic on one repository, all at once, some of which are cut off."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random
from threading import Lock, Thread

import pytest

from convoy_py.restic.errors import Locked
from convoy_py.restic.locks import Locks, SystemClock
from convoy_py.restic.pruner import carry_out
from convoy_py.restic.repository import Repository
from convoy_py.restic.stores.base import Kind, Piece
from convoy_py.restic.stores.local import LocalStore
from convoy_py.restic.surplus import plan
from tests.crash.rounds import TIMEOUT, chance, rounds
from tests.fakes_restic import new_repository
from tests.pruning import Files, assert_whole, backed_up, files_of, ignore, some_files
from tests.restic import BINARIES, Restic

_SCHEDULES = 2
_STEPS = 6
_LONGEST = 1.5  # seconds until a restic that is to be killed is
_HASTE = 50  # times as fast as others wait for a lock


class Killed(BaseException):
    """The end of a host of ours."""


class Mortal(LocalStore):
    """Ends with one of its calls, and is asked in vain from then on."""

    def __init__(self, folder: Path, calls: float) -> None:
        super().__init__(folder)
        self._left = calls

    def _one_less(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise Killed

    def read(self, kind: Kind, name: str) -> bytes:
        self._one_less()
        return super().read(kind, name)

    def write(
        self, kind: Kind, name: str, pieces: Sequence[Piece], *, create: bool = False
    ) -> None:
        self._one_less()
        super().write(kind, name, pieces, create=create)

    def delete(self, kind: Kind, name: str) -> None:
        self._one_less()
        super().delete(kind, name)


class Hasty(SystemClock):
    def sleep(self, seconds: float) -> None:
        time.sleep(seconds / _HASTE)


class World:
    """One repository; `acknowledged` are the snapshots that have to be there, and their files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.acknowledged: dict[str, Files] = {}
        self.mutex = Lock()
        self.failures: list[BaseException] = []
        new_repository(LocalStore(folder))

    def forgets(self, names: Sequence[str]) -> None:
        """From now on these may be gone."""
        with self.mutex:
            for name in names:
                self.acknowledged.pop(name, None)

    def acknowledges(self, name: str, files: Files) -> None:
        with self.mutex:
            self.acknowledged[name] = dict(files)


class Ours:
    """A host of ours, of which some steps are cut off."""

    def __init__(self, world: World, name: str, chance: Random) -> None:
        self._world = world
        self._name = name
        self._chance = chance
        self._left: tuple[str, ...] = ()  # locks, as the daemon notes them
        self._files = some_files(chance)
        self._made: list[str] = []

    def step(self) -> None:
        calls = self._chance.randrange(1, 60) if self._chance.random() < 0.3 else float("inf")
        repository = Repository.open(LocalStore(self._world.folder), "right")
        repository = Repository.unlock(Mortal(self._world.folder, calls + 1), repository.master_key)
        locks = Locks(
            repository.store,
            repository.master_key,
            wait=20.0,
            remember=self._note,
            host=f"{self._name}/convoy",
            clock=Hasty(),
        )
        step = self._chance.choice([self._back_up, self._back_up, self._forget, self._prune])
        with suppress(Locked, Killed):
            locks.remove_own(self._left)
            step(repository, locks)

    def _note(self, names: Sequence[str]) -> None:
        self._left = tuple(names)

    def _back_up(self, repository: Repository, locks: Locks) -> None:
        self._files |= dict(list(some_files(self._chance).items())[: self._chance.randrange(4)])
        with locks.shared():
            repository.reload_index()
            snapshot = backed_up(repository, self._files, host=self._name)
            self._world.acknowledges(snapshot.id, self._files)
            self._made.append(snapshot.id)

    def _forget(self, repository: Repository, locks: Locks) -> None:
        with locks.exclusive() as lock:
            for name in self._made[: self._chance.randrange(1, 3)]:
                lock.check()
                self._world.forgets([name])
                repository.delete_snapshot(name)
                self._made.remove(name)

    def _prune(self, repository: Repository, locks: Locks) -> None:
        if not repository.snapshots():
            return
        with locks.exclusive() as lock:
            if repository.snapshots():
                carry_out(repository, plan(repository, ignore), lock.confirm, ignore)


class Theirs:
    """A restic, now this one and now that one, of which some steps are killed."""

    def __init__(self, world: World, source: Path, chance: Random) -> None:
        self._world = world
        self._source = source
        self._chance = chance
        self._made: list[str] = []
        self._files: dict[bytes, bytes] = {}
        source.mkdir()

    def step(self) -> None:
        self._chance.choice([self._back_up, self._back_up, self._forget, self._prune])()

    def _back_up(self) -> None:
        for name, data in some_files(self._chance, 3).items():
            (self._source / os.fsdecode(name)).write_bytes(data)
            self._files[name] = data
        for line in self._run("--json", "backup", self._source).splitlines():
            with suppress(ValueError):
                if (name := json.loads(line).get("snapshot_id")) is not None:
                    self._world.acknowledges(name, self._files)
                    self._made.append(name)

    def _forget(self) -> None:
        gone = self._made[:1]
        self._world.forgets(gone)
        self._made = self._made[1:]
        if gone:
            self._run("forget", *gone)

    def _prune(self) -> None:
        self._run("prune")

    def _run(self, *args: str | Path) -> str:
        """What it printed, if it ended well: it may be locked out, and be killed."""
        binary = self._chance.choice(BINARIES)
        is_killed = self._chance.random() < 0.3
        process = subprocess.Popen(
            [binary, "--no-cache", "-r", self._world.folder, *args],
            env={**os.environ, "RESTIC_PASSWORD": "right"},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            told, _ = process.communicate(
                timeout=self._chance.random() * _LONGEST if is_killed else 120
            )
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            Restic(binary, self._world.folder).run("unlock")  # of its dead process alone
            return ""
        return told if process.returncode == 0 else ""


def in_turn(world: World, step: Callable[[], None]) -> Callable[[], None]:
    def all_steps() -> None:
        try:
            for _ in range(_STEPS):
                step()
        except BaseException as error:  # noqa: BLE001 - the test raises it
            world.failures.append(error)

    return all_steps


def run(folder: Path, chances: Sequence[Random]) -> World:
    """One schedule, to its end."""
    folder.mkdir()
    world = World(folder / "repository")
    first, second, third = chances
    hosts: list[Ours | Theirs] = [
        Ours(world, "one", first),
        Ours(world, "two", second),
        Theirs(world, folder / "source", third),
    ]
    threads = [Thread(target=in_turn(world, host.step)) for host in hosts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return world


@pytest.mark.timeout(TIMEOUT)
def test_whatever_they_do_all_that_was_acknowledged_is_there(tmp_path: Path) -> None:
    """Backups, forgets and prunes of three, in any order, of which some are killed."""
    for number in rounds(_SCHEDULES):
        world = run(tmp_path / str(number), [chance(number, who) for who in range(3)])
        if world.failures:
            raise world.failures[0]
        store = LocalStore(world.folder)
        assert_whole(store, {})
        repository = Repository.open(store, "right")
        for name, files in world.acknowledged.items():
            assert files_of(repository, name) == files
        left = Restic(BINARIES[number % 2], world.folder)
        left.run("unlock", "--remove-all")
        told = left.run("check", "--read-data")
        assert "no errors were found" in told, told
        shutil.rmtree(tmp_path / str(number))
