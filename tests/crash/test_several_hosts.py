"""Two hosts and a restic work on one repository at once: nothing that a snapshot needs is lost."""

import json
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from uuid import uuid4

import pytest

from convoy_py.models.session import Access, Backup, Data, Forget, Prune, Source, Task
from convoy_py.restic.repository import Repository
from convoy_py.restic.stores.local import LocalStore
from tests.crash.rounds import SEED, TIMEOUT, chance, rounds
from tests.fakes_restic import new_repository
from tests.pruning import Files, files_of
from tests.restic import BINARIES, Restic
from tests.sessions import session

_ROUNDS = 2
_STEPS = 5  # of each, at a time
_KEPT = 2
# What one forgets and prunes is what another is about to back up.
_POOL = {b"%d" % number: Random(number).randbytes(30_000 + number) for number in range(10)}


class Actor:
    """One host, one step after the other; `kept` is what has to be there of it, the newest last."""

    def __init__(self, place: Path, folder: Path, name: str) -> None:
        self.kept: dict[str, Files] = {}
        self.done: Counter[str] = Counter()
        self._place = place
        self._folder = folder
        self._name = name
        folder.mkdir()

    def begin(self, chance: Random) -> None:
        """Back up: a repository without any snapshot is not pruned."""
        assert self._did("backup", chance)

    def acts(self, chance: Random) -> None:
        """Some steps at random."""
        for _ in range(_STEPS):
            verb = chance.choice(("backup", "backup", "forget", "prune"))
            self.done[verb if self._did(verb, chance) else "locked out"] += 1

    def _did(self, verb: str, chance: Random) -> bool:
        if verb == "backup":
            files = dict(chance.sample(sorted(_POOL.items()), 4))
            name = self.back_up(files)
            self.kept |= {name: files} if name else {}
            return bool(name)
        if verb == "prune":
            return self.prune()
        before = self.kept
        self.kept = dict([*before.items()][-_KEPT:])  # of the others any may be gone
        return self.forget()

    def back_up(self, files: Files) -> str:
        """The id of the backup; empty if the repository was locked."""
        raise NotImplementedError

    def forget(self) -> bool:
        """All of its own but the newest."""
        raise NotImplementedError

    def prune(self) -> bool:
        raise NotImplementedError


class Ours(Actor):
    """By sessions; each backup is compared with the one before."""

    _base: Data | None = None

    def back_up(self, files: Files) -> str:
        data = Data(uuid=str(uuid4()), path=self._folder / uuid4().hex)
        if self._base:
            shutil.copytree(self._base.path, data.path)
        else:
            data.path.mkdir()
        _fill(data.path, files)
        source = Source(
            volume="v",
            volume_id=f"of-{self._name}",
            created=datetime.now(UTC),  # noqa: TID251 - restic's are of this time, too
            data=data,
            bases=(self._base,) if self._base else (),
            description="{}",
        )
        told = self._task(Backup(sources=(source,)))
        if not told:
            return ""
        self._base = data
        return str(told["backups"][0]["id"])

    def forget(self) -> bool:
        return bool(self._task(Forget(keep=f"{_KEPT}last")))

    def prune(self) -> bool:
        return bool(self._task(Prune()))

    def _task(self, task: Task) -> dict[str, list[dict[str, object]]]:
        """What is done; nothing if others had the repository locked."""
        place = str(self._place)
        access = Access(location=place, password="right", host=self._name, patience=60.0)
        last, left = session(access, task)
        assert left == []
        if last["event"] == "failed" and last["kind"] in ("busy", "unavailable"):
            return {}
        assert (last["event"], last.get("problems")) == ("done", []), last
        return dict(last)


class Theirs(Actor):
    """By restics of two versions."""

    def back_up(self, files: Files) -> str:
        _fill(self._folder, files)
        told = self._run("--json", "backup", "--host", self._name, self._folder)
        words = [json.loads(line) for line in told.splitlines()]
        ids = [word["snapshot_id"] for word in words if word["message_type"] == "summary"]
        return ids[0] if ids else ""

    def forget(self) -> bool:
        return bool(self._run("forget", "--host", self._name, "--keep-last", str(_KEPT)))

    def prune(self) -> bool:
        return bool(self._run("prune"))

    def _run(self, *words: str | Path) -> str:
        binary = BINARIES[sum(self.done.values()) % 2]
        command = [binary, "--no-cache", "-r", self._place, *words]
        password = {**os.environ, "RESTIC_PASSWORD": "right"}
        done = subprocess.run(command, env=password, capture_output=True, text=True, check=False)
        if done.returncode and "locked" in done.stderr:
            return ""
        assert done.returncode == 0, done.stderr
        return done.stdout or "done"


def _fill(folder: Path, files: Files) -> None:
    """Let a folder have these files; those that it has stay as they are."""
    for path in folder.iterdir():
        if os.fsencode(path.name) not in files:
            path.unlink()
    for name, data in files.items():
        path = folder / os.fsdecode(name)
        if not path.exists():
            path.write_bytes(data)


@pytest.mark.timeout(TIMEOUT)
def test_several_hosts_and_restic_lose_nothing_that_is_needed(
    tmp_path: Path, tell: Callable[[str], None]
) -> None:
    """Whoever backs up, forgets and prunes beside whom."""
    done: Counter[str] = Counter()
    for number in rounds(_ROUNDS):
        folder = tmp_path / str(number)
        folder.mkdir()
        place = folder / "repository"
        new_repository(LocalStore(place))
        actors = [
            Ours(place, folder / "one", "one"),
            Ours(place, folder / "two", "two"),
            Theirs(place, folder / "three", "three"),
        ]
        actors[0].begin(chance("hosts", number))
        _all_at_once(actors, number)
        _look(place, actors)
        done += sum((actor.done for actor in actors), Counter())
        shutil.rmtree(folder)
    assert done["backup"]
    assert done["prune"]
    tell(f"several hosts: {dict(done)}; CRASH_SEED={SEED}")


def _all_at_once(actors: list[Actor], number: int) -> None:
    with ThreadPoolExecutor(len(actors)) as threads:
        acting = [
            threads.submit(actor.acts, chance("hosts", number, place))
            for place, actor in enumerate(actors)
        ]
    for each in acting:
        each.result()


def _look(place: Path, actors: list[Actor]) -> None:
    told = Restic(BINARIES[1], place).run("check", "--read-data")
    assert "no errors were found" in told, told
    repository = Repository.open(LocalStore(place), "right")
    for actor in actors:
        for name, files in actor.kept.items():
            found = files_of(repository, name)
            assert {key: found.get(key) for key in files} == files
