"""Keeps what is known of repositories: a record each, what is secret beside it, and their locks."""

import logging
from pathlib import Path

from convoy_py.linux import files
from convoy_py.models.names import is_valid_name
from convoy_py.state.formats import Unreadable
from convoy_py.state.records import LOCKS, REPOSITORY, Locks, Repository

log = logging.getLogger("convoy.state")

_RECORD, _LOCKS, _PASSWORD, _CREDENTIALS = ".json", ".locks", ".password", ".credentials"


class RepositoryStore:
    """The repositories of one root. Methods do disk I/O and run in worker threads."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "repositories"

    def load(self) -> dict[str, Repository]:
        """All that can be read, by name; the others are logged."""
        found = {}
        for path in sorted(self.folder.glob(f"*{_RECORD}")):
            if not is_valid_name(path.stem):
                continue
            try:
                found[path.stem] = REPOSITORY.decode(path.read_bytes())
            except Unreadable as problem:
                log.warning("repository %s is not known here: %s", path.stem, problem.at(path))
        return found

    def save(self, record: Repository, password: str = "", credentials: str = "") -> None:
        """Record a repository, with what is to be kept of its secrets; durable on return."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        for ending, secret in ((_PASSWORD, password), (_CREDENTIALS, credentials)):
            if secret:
                files.durable_replace(self._path(record.name, ending), secret.encode())
        # Whoever finds the record finds what it needs.
        files.durable_replace(self._path(record.name, _RECORD), REPOSITORY.encode(record))

    def forget(self, name: str) -> None:
        """The repository itself stays as it is."""
        for ending in (_RECORD, _PASSWORD, _CREDENTIALS, _LOCKS):
            self._path(name, ending).unlink(missing_ok=True)
        files.fsync_dir(self.folder)

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

    def note_locks(self, name: str, locks: tuple[str, ...]) -> None:
        """To be durable before a lock is written: then a crash leaves none that nobody knows."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        files.durable_replace(self._path(name, _LOCKS), LOCKS.encode(Locks(locks=locks)))

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
