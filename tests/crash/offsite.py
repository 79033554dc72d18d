"""The repository `offsite` of a daemon: what a user asks of it, and what really lies in it."""

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from convoy_py.restic import checker, keyfiles, restorer
from convoy_py.restic.archive import DATA, IMAGE
from convoy_py.restic.errors import NoRepository
from convoy_py.restic.packs import BlobKind
from convoy_py.restic.repository import Repository
from convoy_py.restic.seal import MasterKey
from convoy_py.restic.snapshots import Snapshot
from convoy_py.restic.stores.base import Kind
from convoy_py.restic.stores.local import LocalStore
from tests.crash.contents import CANARY
from tests.crash.verbs import job
from tests.fakes_restic import new_repository
from tests.harness import Daemon

NAME = "offsite"
PROTECTED = b" protected"
_PASSWORD = "a password"
# A password takes a tenth of a second to try, and no two keys have the same name.
_keys: dict[str, MasterKey] = {}


def folder(daemon: Daemon) -> Path:
    return daemon.folder / "repository"


def make(daemon: Daemon) -> None:
    """A new one, whose password takes no session long to try, and which the daemon knows."""
    new_repository(LocalStore(folder(daemon)), _PASSWORD)
    add(daemon)


def add(daemon: Daemon) -> None:
    """Know it, and make it where there is none."""
    password = daemon.folder / "password"
    password.write_text(_PASSWORD)
    named = {"Name": NAME, "Location": str(folder(daemon)), "PasswordFile": str(password)}
    job(daemon, "POST", "/v1/repositories", **named)


def remove(daemon: Daemon) -> None:
    daemon.admin("DELETE", f"/v1/repositories/{NAME}")


def listed(daemon: Daemon) -> set[str]:
    return {each["Name"] for each in daemon.admin("GET", "/v1/repositories")["Repositories"]}


def back_up(daemon: Daemon, *names: str, raw: bool = False) -> list[str]:
    """The URLs of backups of these volumes."""
    done = job(daemon, "POST", "/v1/backups", Sources=list(names), Repository=NAME, Raw=raw)
    return [backup["BackupURL"] for backup in done["Backups"]]


def restore(daemon: Daemon, backup: str, name: str, **options: str) -> None:
    asked = {"Backup": backup, "Repository": NAME, "Name": name, "Options": options}
    job(daemon, "POST", "/v1/backups/restore", **asked)


def restore_file(daemon: Daemon, volume: str, path: str) -> None:
    asked = {"Backup": "latest", "Repository": NAME, "Path": path}
    job(daemon, "POST", f"/v1/volumes/{volume}/restore-file", **asked)


def delete(daemon: Daemon, *backups: str) -> None:
    job(daemon, "POST", "/v1/backups/delete", Backups=list(backups), Repository=NAME)


def protect(daemon: Daemon, *backups: str) -> None:
    job(daemon, "POST", "/v1/backups/protect", Backups=list(backups), Repository=NAME)


def forget(daemon: Daemon, keep: str) -> None:
    job(daemon, "POST", "/v1/backups/forget", Repository=NAME, Keep=keep)


def clear(daemon: Daemon) -> None:
    """Neither the daemon nor the disk knows of it any more."""
    if NAME in listed(daemon):
        remove(daemon)
    shutil.rmtree(folder(daemon), ignore_errors=True)


# What lies there


def snapshots(daemon: Daemon) -> Sequence[Snapshot]:
    """What is there of backups, the oldest first."""
    opened = _opened(daemon)
    return opened.snapshots() if opened else ()


def contents(daemon: Daemon) -> tuple[bytes, ...]:
    """The canaries of all backups, the oldest first; read from the repository.

    Of one that is protected and was not always, with PROTECTED at its end.
    """
    opened = _opened(daemon)
    if opened is None:
        return ()
    found = []
    for snapshot in opened.snapshots():
        if "raw" in snapshot.tags:
            content = _in_ext4(_content(opened, snapshot, [IMAGE]))
        else:
            content = _content(opened, snapshot, [DATA, CANARY.encode()])
        found.append(content + PROTECTED if "protected" in snapshot.tags else content)
    return tuple(found)


def _content(opened: Repository, snapshot: Snapshot, path: Sequence[bytes]) -> bytes:
    node = restorer.find(opened, snapshot.tree, path)
    return b"".join(opened.read_blob(BlobKind.DATA, name) for name in node.content or ())


def _in_ext4(image: bytes) -> bytes:
    """The canary in an image, read without a mount."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(image)
        file.flush()
        cat = ["debugfs", "-R", f"cat /data/{CANARY}", file.name]
        return subprocess.run(cat, check=True, capture_output=True).stdout


def problems(daemon: Daemon) -> list[str]:
    """What is wrong with it, if all of it is read."""
    opened = _opened(daemon)
    return list(checker.check(opened, lambda done, total: None, 100)) if opened else []


def locks(daemon: Daemon) -> set[str]:
    with suppress(NoRepository):  # nothing is there, or an empty folder
        return {name for name, _ in LocalStore(folder(daemon)).list(Kind.LOCK)}
    return set()


def _opened(daemon: Daemon) -> Repository | None:
    """None where there is none."""
    if not (folder(daemon) / Kind.CONFIG.value).exists():
        return None
    store = LocalStore(folder(daemon))
    names = "".join(sorted(name for name, _ in store.list(Kind.KEY)))
    if names not in _keys:
        _keys[names] = keyfiles.find(store, _PASSWORD)
    return Repository.unlock(store, _keys[names])
