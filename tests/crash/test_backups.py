"""Volumes of every kind are backed up and restored by a daemon, which is killed meanwhile, too."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import Random
from threading import Event, Thread

import pytest

from convoy_py.restic.stores.base import is_id
from convoy_py.restic.stores.local import LocalStore
from tests.crash.conftest import FLAGS
from tests.crash.disks import daemon_on
from tests.crash.rounds import SEED, TIMEOUT, chance, rounds
from tests.crash.verbs import job
from tests.crash.volumes import KINDS
from tests.fakes_restic import new_repository
from tests.harness import Daemon, Refused, Unanswered, eventually
from tests.restic import BINARIES, Restic

pytestmark = pytest.mark.root

_OPERATOR = "operator"
_ROUNDS = 8
_KEPT = 3
_RESTORES = 3
_LONGEST = 3.0  # seconds from the begin of a backup or a restore to the end of its daemon
_PASSWORD = "a password"


class Backups:
    """The repository `offsite` of a daemon, and what a user asks of it."""

    def __init__(self, daemon: Daemon, folder: Path) -> None:
        self.daemon = daemon
        self.repository = folder / "repository"
        self._password = folder / "password"
        self._password.write_text(f"{_PASSWORD}\n")

    def add(self) -> None:
        """A new one, whose password takes no session long to try."""
        new_repository(LocalStore(self.repository), _PASSWORD)
        named = {"Name": "offsite", "Location": str(self.repository)}
        job(self.daemon, "POST", "/v1/repositories", **named, PasswordFile=str(self._password))

    def create(self, *names: str) -> list[str]:
        """The URLs of backups of these volumes."""
        done = job(self.daemon, "POST", "/v1/backups", Sources=list(names))
        return [backup["BackupURL"] for backup in done["Backups"]]

    def restore(self, backup: str, name: str, **options: str) -> None:
        job(self.daemon, "POST", "/v1/backups/restore", Backup=backup, Name=name, Options=options)

    def prove(self, *backups: str) -> None:
        """All in them comes back as it was."""
        done = job(self.daemon, "POST", "/v1/backups/prove", Backups=list(backups))
        assert done["Problems"] == []
        assert [each["BackupURL"] for each in done["Backups"]] == list(backups)

    def delete(self, backup: str) -> None:
        """With what it alone needs."""
        job(self.daemon, "POST", "/v1/backups/delete", Backups=[backup])
        self.prune()

    def forget(self, keep: int) -> None:
        """All but the last ones."""
        job(self.daemon, "POST", "/v1/backups/forget", Repository="offsite", Keep=f"{keep}last")

    def listed(self) -> list[str]:
        """The URLs of all, the oldest first."""
        done = job(self.daemon, "GET", "/v1/backups")
        found = sorted(done["Backups"], key=lambda each: each["CreatedTime"])
        return [each["BackupURL"] for each in found]

    def prune(self) -> None:
        job(self.daemon, "POST", "/v1/backups/prune")

    def locks(self) -> list[str]:
        """What is half written when a daemon dies bears no id, and counts for nobody."""
        names = os.listdir(self.repository / "locks")
        return [name for name in names if is_id(name)]

    def check(self) -> None:
        """The real restic finds nothing wrong."""
        for binary in BINARIES:
            restic = Restic(binary, self.repository, _PASSWORD)
            restic.check()


@pytest.fixture
def daemon(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Daemon]:
    """With its root on a filesystem of the kind that is asked for."""
    with daemon_on(tmp_path, request.param, [*FLAGS, "--trash-keep=0"]) as daemon:
        daemon.start()
        yield daemon


@pytest.fixture
def backups(daemon: Daemon, tmp_path: Path) -> Backups:
    backups = Backups(daemon, tmp_path)
    backups.add()
    return backups


def _fill(folder: Path, moments: Random) -> None:
    """Files of all sizes, and what else a folder has."""
    for number, size in enumerate((0, 1, 4096, 600_000, 3_000_000)):
        (folder / f"file {number}").write_bytes(moments.randbytes(size))
    (folder / "below/deeper").mkdir(parents=True)
    os.link(folder / "file 2", folder / "below/linked")
    (folder / "below/link").symlink_to("../nowhere")
    with (folder / "sparse").open("wb") as file:
        file.truncate(4_000_000)
        file.seek(2_000_000)
        file.write(b"in the middle")
    os.chown(folder / "file 1", 1234, 5678)
    (folder / "file 1").chmod(0o4750)
    os.setxattr(folder / "file 1", "user.note", b"kept")


def _change(folder: Path, moments: Random) -> None:
    with (folder / "file 4").open("r+b") as file:
        file.seek(moments.randrange(2_000_000))
        file.write(moments.randbytes(5000))
    (folder / "file 3").unlink()
    (folder / "new").write_bytes(moments.randbytes(10_000))


def _told(folder: Path) -> Mapping[str, object]:
    """All that is to come back, by path."""
    found = {}
    for path in sorted([folder, *folder.rglob("*")]):
        stat = path.lstat()
        content = (
            os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else ""
        )
        xattrs = {} if path.is_symlink() else {x: os.getxattr(path, x) for x in os.listxattr(path)}
        links = stat.st_nlink if path.is_file() else 0
        times = stat.st_mtime_ns if path != folder else 0
        found[str(path.relative_to(folder))] = (
            *(stat.st_mode, stat.st_uid, stat.st_gid, times, links, content),
            xattrs,
        )
    return found


@pytest.mark.parametrize(
    ("daemon", "kind"),
    [
        *(("host", "directory"), ("host", "ext4"), ("host", "btrfs")),
        *(("xfs", "directory"), ("xfs", "ext4"), ("xfs", "xfs")),
        *(("btrfs", "directory"), ("btrfs", "ext4")),
    ],
    indirect=["daemon"],
)
def test_every_kind_of_volume_comes_back_as_every_other(
    daemon: Daemon, backups: Backups, kind: str
) -> None:
    """What the first backup and the second one have, of which only what changed was read."""
    moments = chance("backups", kind)
    daemon.create("db", **KINDS[kind])
    folder = daemon.mount("db", _OPERATOR)
    _fill(folder, moments)
    (first,) = backups.create("db")
    then = _told(folder)
    _change(folder, moments)
    (second,) = backups.create("db")
    now = _told(folder)
    backups.check()
    listed = daemon.listed()
    backups.prove(first, second)
    assert daemon.listed() == listed
    other = "ext4" if kind == "directory" else "directory"
    for backup, told, options in ((first, then, {}), (second, now, KINDS[other])):
        name = f"of-{backup.split('backup-')[1][:8]}"
        backups.restore(backup, name, **options)
        assert _told(daemon.mount(name, _OPERATOR)) == told
        daemon.unmount(name, _OPERATOR)
    daemon.unmount("db", _OPERATOR)
    backups.restore(first, "db")
    assert _told(daemon.mount("db", _OPERATOR)) == then
    daemon.unmount("db", _OPERATOR)
    backups.delete(first)
    backups.check()
    backups.prove(second)


@pytest.mark.timeout(TIMEOUT)
@pytest.mark.parametrize("daemon", ["xfs"], indirect=True)
def test_what_was_acknowledged_can_be_restored_whenever_the_daemon_dies(
    daemon: Daemon, backups: Backups, tell: Callable[[str], None]
) -> None:
    """While it backs up, restores, proves, prunes, forgets; no half volume is left, and no lock."""
    moments = chance("backups", "kills")
    tell(f"backups: CRASH_SEED={SEED}")
    daemon.create("db", **KINDS["ext4"])
    folder = daemon.mount("db", _OPERATOR)
    _fill(folder, moments)
    (url,) = backups.create("db")
    kept = {url: _told(folder)}
    kills: Counter[str] = Counter()
    for number in rounds(_ROUNDS):
        oldest = next(iter(kept))
        others: dict[str, Callable[[], None]] = {
            "restore": partial(backups.restore, oldest, "other"),
            "prove": partial(backups.prove, oldest),
            "prune": backups.prune,
            "forget": partial(backups.forget, _KEPT),
        }
        verb = list(others)[number // 2 % len(others)] if number % 2 else "backup"
        kills[verb] += 1
        if verb != "backup":
            there = backups.listed()
            _killed_during(daemon, moments, others[verb])
            if "other" in daemon.listed():
                daemon.remove("other")
            if verb == "forget":
                left = backups.listed()
                assert set(there[-_KEPT:]) <= set(left)
                kept = {url: told for url, told in kept.items() if url in left}
            continue
        _changed = folder / f"round {number % 40}"
        _changed.write_bytes(moments.randbytes(100_000))
        made = _killed_during(daemon, moments, lambda: backups.create("db"))
        if made:
            kept[made[0]] = _told(folder)
    for url, told in kept.items():
        backups.restore(url, "other")
        assert _told(daemon.mount("other", _OPERATOR)) == told
        daemon.unmount("other", _OPERATOR)
        daemon.remove("other")
    backups.prune()
    eventually(lambda: not backups.locks(), "what a crash left is unlocked")  # restic asks for all
    backups.check()
    assert backups.locks() == []
    snapshots = daemon.root / "volumes/db/snapshots"
    eventually(lambda: len(list(snapshots.iterdir())) <= 1, "the rest are swept away")
    daemon.unmount("db", _OPERATOR)
    tell(
        f"backups: kills {dict(kills)}, {len(kept)} that were acknowledged are there, all restored"
    )


@pytest.mark.timeout(TIMEOUT)
@pytest.mark.parametrize("daemon", ["xfs"], indirect=True)
def test_what_docker_was_told_of_is_restored_whenever_the_daemon_dies(
    daemon: Daemon, backups: Backups
) -> None:
    """At any moment it is listed; what a Mount shows is all of it, or the Mount is refused."""
    moments = chance("backups", "kills of restores")
    daemon.create("db", **KINDS["ext4"])
    folder = daemon.mount("db", _OPERATOR)
    _fill(folder, moments)
    (url,) = backups.create("db")
    told = _told(folder)
    for number in rounds(_RESTORES):
        name = f"of-{number}"
        daemon.create(name, backup=url)
        for _ in range(2):
            Event().wait(moments.uniform(0, _LONGEST))
            daemon.kill()
            daemon.start()
            assert name in daemon.listed()
            assert daemon.get(name)["Status"]["state"] in ("restoring", "ready")
        assert _told(daemon.mount(name, _OPERATOR)) == told
        daemon.unmount(name, _OPERATOR)
        daemon.remove(name)
    daemon.unmount("db", _OPERATOR)
    assert backups.locks() == []
    assert list((daemon.root / "restores").iterdir()) == []


def _killed_during(
    daemon: Daemon, moments: Random, work: Callable[[], list[str] | None]
) -> list[str]:
    """Kill the daemon meanwhile, and start the next one; what was acknowledged."""
    made: list[str] = []

    def worker() -> None:
        with suppress(Unanswered, Refused):
            made.extend(work() or [])

    thread = Thread(target=worker)
    thread.start()
    Event().wait(moments.uniform(0, _LONGEST))
    daemon.kill()
    thread.join()
    daemon.start()
    daemon.listed()
    return made
