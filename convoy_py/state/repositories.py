"""Keeps what is known of repositories: a record each, what is secret beside it, and their locks.

A repository is known by its record: what lies beside comes before that, and goes after it.
"""

import logging
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from convoy_py.linux import files
from convoy_py.models.names import is_valid_name
from convoy_py.state.ballast import relieved
from convoy_py.state.formats import Unreadable
from convoy_py.state.records import LOCKS, PROOFS, REPOSITORY, Locks, Proof, Proofs, Repository
from convoy_py.state.store import Store

log = logging.getLogger("convoy.state")

_RECORD, _LOCKS, _PASSWORD, _CREDENTIALS = ".json", ".locks", ".password", ".credentials"
_PROOFS = ".proofs"


class RepositoryStore:
    """The repositories of one root. Methods do disk I/O and run in worker threads."""

    def __init__(self, store: Store) -> None:
        self.folder = store.notes / "repositories"
        self.ballast = store.ballast
        self._changing = store.changing

    def load(self) -> dict[str, Repository]:
        """All that can be read, by name; the others are logged."""
        names = sorted(path.stem for path in self.folder.glob(f"*{_RECORD}"))
        found = {name: self.find(name) for name in names if is_valid_name(name)}
        return {name: record for name, record in found.items() if record}

    def find(self, name: str) -> Repository | None:
        """One, if it is recorded and can be read."""
        path = self._path(name, _RECORD)
        try:
            return REPOSITORY.decode(path.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            log.warning("repository %s is not known here: %s", name, error)
        except Unreadable as problem:
            log.warning("repository %s is not known here: %s", name, problem.at(path))
        return None

    def has_record(self, name: str) -> bool:
        """Whether there is one, even if it cannot be read."""
        return os.path.lexists(self._path(name, _RECORD))

    @relieved
    def save(self, record: Repository, password: str = "", credentials: str = "") -> None:
        """Record a repository, with what is to be kept of its secrets; durable on return."""
        secrets = ((_PASSWORD, password), (_CREDENTIALS, credentials))
        with self._changing():
            self.folder.mkdir(mode=0o700, exist_ok=True)
            for ending, secret in secrets:
                if secret:
                    files.durable_replace(self._path(record.name, ending), secret.encode())
            # The point of no return: whoever finds the record finds what it needs.
            files.durable_replace(self._path(record.name, _RECORD), REPOSITORY.encode(record))
            self._drop(record.name, *(ending for ending, secret in secrets if not secret))

    @relieved
    def forget(self, name: str) -> None:
        """The repository itself stays as it is."""
        with self._changing():
            self._path(name, _RECORD).unlink(missing_ok=True)  # the point of no return
            self._drop(
                name, _PASSWORD, _CREDENTIALS, _LOCKS, _PROOFS
            )  # what is left goes at the next start
            try:
                files.fsync_dir(self.folder)
            except OSError as error:
                raise files.Unsettled.after(error, self.folder) from error

    def sweep(self) -> None:
        """Delete secrets and notes of what is not recorded, as a crash leaves them."""
        for path in self.folder.glob("*"):
            if path.name.startswith(".") or not self.has_record(path.stem):
                with suppress(OSError):
                    path.unlink()

    def _drop(self, name: str, *endings: str) -> None:
        for ending in endings:
            with suppress(OSError):
                self._path(name, ending).unlink()

    def password(self, record: Repository) -> str:
        """Raises OSError."""
        kept = self._path(record.name, _PASSWORD)
        path = Path(record.password_file) if record.password_file else kept
        return password_in(path.read_text())

    def credentials(self, record: Repository) -> dict[str, str]:
        """Lines of NAME=VALUE; raises OSError."""
        if record.credentials_file:
            return parsed(Path(record.credentials_file).read_text())
        if record.keeps_credentials:
            return parsed(self._path(record.name, _CREDENTIALS).read_text())
        return {}

    def locks(self, name: str) -> tuple[str, ...]:
        """Those that a session had when it was cut off, or has."""
        try:
            return LOCKS.decode(self._path(name, _LOCKS).read_bytes()).locks
        except FileNotFoundError:
            return ()
        except Unreadable as problem:
            log.warning("locks of repository %s: %s; they end by their age", name, problem)
            return ()

    @relieved
    def note_locks(self, name: str, locks: tuple[str, ...]) -> None:
        """To be durable before a lock is written: then a crash leaves none that nobody knows."""
        with self._changing():
            self.folder.mkdir(mode=0o700, exist_ok=True)
            files.durable_replace(self._path(name, _LOCKS), LOCKS.encode(Locks(locks=locks)))

    def proofs(self, name: str) -> dict[str, Proof]:
        """Which backups were proven, by their ids."""
        try:
            return PROOFS.decode(self._path(name, _PROOFS).read_bytes()).proofs
        except FileNotFoundError:
            return {}
        except (OSError, Unreadable) as problem:
            log.warning("proofs of repository %s: %s; none counts", name, problem)
            return {}

    def all_proofs(self, names: Iterable[str]) -> dict[str, dict[str, Proof]]:
        """Of several repositories, by their names."""
        return {name: self.proofs(name) for name in names}

    @relieved
    def save_proofs(self, name: str, proofs: dict[str, Proof]) -> None:
        """In place of those that there were; durable on return."""
        with self._changing():
            files.durable_replace(self._path(name, _PROOFS), PROOFS.encode(Proofs(proofs=proofs)))

    def _path(self, name: str, ending: str) -> Path:
        return self.folder / f"{name}{ending}"


def password_in(text: str) -> str:
    """The password in a file, as restic finds it there."""
    return text.removeprefix("\ufeff").strip()


def parsed(text: str) -> dict[str, str]:
    """What a file of NAME=VALUE lines says; empty lines and those with # are for people."""
    lines = (line.strip() for line in text.splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name.strip(): value.strip() for name, _, value in pairs}
