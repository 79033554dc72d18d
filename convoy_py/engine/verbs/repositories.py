"""The verbs on repositories: add, list, inspect, remove; their keys, their locks, who prunes."""

import posixpath
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from convoy_py.engine.running.jobs import Progress
from convoy_py.engine.running.operations import Operations, translated
from convoy_py.engine.running.threads import Threads
from convoy_py.engine.steps.host import Host
from convoy_py.engine.steps.sessions import Sessions
from convoy_py.errors import (
    AlreadyExists,
    Conflict,
    ConvoyError,
    Denied,
    Invalid,
    NoRepository,
    NotFound,
)
from convoy_py.models.backup import RepositoryView
from convoy_py.models.names import check_name, is_valid_name
from convoy_py.models.session import (
    AddKey,
    Done,
    KeyFound,
    ListKeys,
    Open,
    RemoveKey,
    Task,
    Unlock,
)
from convoy_py.restic.errors import BadLocation
from convoy_py.restic.stores.urls import Location, parse
from convoy_py.state.records import Proof, Repository, timestamp
from convoy_py.state.repositories import RepositoryStore, parsed, password_in

_LONGEST = 2**16  # characters of a secret


@dataclass(frozen=True, repr=False)
class Secret:
    """A file of the user's, and what the command found in it, in case the daemon cannot see it."""

    file: str = ""
    content: str = ""


class Repositories:
    """The repositories that one daemon knows."""

    def __init__(
        self,
        operations: Operations,
        host: Host,
        store: RepositoryStore,
        sessions: Sessions,
        *,
        default: str = "",
        password: Secret = Secret(),
        credentials: Secret = Secret(),
    ) -> None:
        """`default` is the one that is meant where none is named.

        The secrets are those of repositories that are known by their place alone.
        """
        self._default = default
        self._operations = operations
        self._host = host
        self._store = store
        self._sessions = sessions
        self._password = password
        self._credentials = credentials
        self._known: dict[str, Repository] = {}
        self._threads: dict[str, Threads] = {}
        self._proofs: dict[str, dict[str, Proof]] = {}

    def open(self, known: dict[str, Repository], proofs: dict[str, dict[str, Proof]]) -> None:
        """Take those that are recorded, and which of their backups were proven."""
        self._known = known
        self._proofs = proofs

    def proofs(self, name: str) -> Mapping[str, Proof]:
        """Of the backups in a repository, by their ids."""
        return self._proofs.get(name, {})

    def all_proofs(self) -> list[tuple[str, Proof]]:
        """Each with the name of its repository."""
        return [(name, proof) for name, of in self._proofs.items() for proof in of.values()]

    async def remember(self, name: str, proofs: dict[str, Proof]) -> None:
        """Which backups of a repository were proven, in place of what was known of that."""
        with translated(name, "remember what was proven"):
            await self._operations.blocking.run(self._store.save_proofs, name, proofs)
        self._proofs[name] = proofs

    def get(self, name: str) -> Repository:
        """By its name, or by its place; raises NotFound, with what there is."""
        if not is_valid_name(name):
            return self.at(name)
        found = self._known.get(name)
        if found is None:
            known = ", ".join(sorted(self._known)) or "none is; `convoy repository add` adds one"
            raise NotFound(f"no such repository: {name} (known: {known})")
        return found

    def chosen(self, name: str) -> Repository:
        """The one of that name; where none is named the default, or the only one.

        Raises NotFound, Invalid.
        """
        if name:
            return self.get(name)
        if self._default:
            try:
                return self.get(self._default)
            except NotFound as error:
                raise NotFound(f"{error}; the setting default_repository names it") from None
        if len(self._known) == 1:
            return next(iter(self._known.values()))
        if not self._known:
            raise Invalid("no repository is known: `convoy repository add` adds one")
        known = ", ".join(sorted(self._known))
        raise Invalid(f"say which repository, such as by --to or --from: {known}")

    def at(self, location: str) -> Repository:
        """The one at a place, however that is spelled; raises NotFound, Invalid."""
        place = _place(location)
        for record in self._known.values():
            if _place(record.location) == place:
                return record
        raise NotFound(
            f"no repository is known at {place}: `convoy repository add NAME {place} "
            "--password-file FILE` makes it known, and makes it where there is none; with the "
            "setting backup_password_file a place is enough for `convoy`, but not for Docker"
        )

    async def reached(self, name: str, progress: Progress, *, make: bool = False) -> Repository:
        """As `chosen`; what is known by its place alone is made known by the settings' secrets.

        `make` makes it where there is none. Raises NoRepository, NotFound, Invalid.
        """
        try:
            return self.chosen(name)
        except NotFound:
            if not name or is_valid_name(name) or not self._password.file:
                raise
        place = _place(name)
        chosen, path = _name_of(place), Path(place.path)
        if place.scheme == "local":
            is_there = await self.threads_of(chosen).ask(f"folder {path}", path.is_dir)
            if not is_there:
                raise Invalid(f"VFS path {path} doesn't exist or is not a directory")
        try:
            await self.add(
                chosen, str(place), self._password, self._credentials, progress, make=make
            )
        except NotFound as error:
            raise NoRepository(str(error)) from error
        return self.get(chosen)

    def views(self) -> list[RepositoryView]:
        return [_view(record) for _, record in sorted(self._known.items())]

    def inspect(self, name: str) -> RepositoryView:
        return _view(self.get(name))

    def threads_of(self, name: str) -> Threads:
        """Those for one repository: what keeps it waiting takes none from another."""
        if name not in self._threads:
            self._threads[name] = Threads(2, 4, 1, patience=60.0, as_one=False)
        return self._threads[name]

    async def run(self, record: Repository, task: Task, progress: Progress) -> Done:
        """Have a session do what has to do with no volume of this host."""
        return await self.threads_of(record.name).run_long(
            self._sessions.run, record, task, progress
        )

    async def add(
        self,
        name: str,
        location: str,
        password: Secret,
        credentials: Secret,
        progress: Progress,
        *,
        keeper: bool = False,
        make: bool = True,
    ) -> RepositoryView:
        """Open a repository, or `make` it where there is none, and know it by a name from now on.

        Its keeper is the host that made it, or this one from now on. Raises AlreadyExists for a
        name that means another; doing it again is done already.
        """
        check_name(name, "repository")
        if not password.file and not password.content:
            raise Invalid(f"repository {name}: name the file with its password (--password-file)")
        place = _place(location)
        if place.user or place.password:
            raise Invalid(
                f"repository {name}: a place is shown in lists and URLs, so who comes is told by "
                "RESTIC_REST_USERNAME and RESTIC_REST_PASSWORD in the file of --credentials-file"
            )
        location = str(place)
        async with self._operations.locked(f"repository/{name}"):
            if (known := self._known.get(name)) and known.location != location:
                raise AlreadyExists(f"repository {name} exists already, at {known.location}")
            host = self._sessions.host if keeper else ""
            await self._opened(name, location, password, credentials, progress, host, make=make)
        return self.inspect(name)

    def check_keeper(self, record: Repository) -> None:
        """Raises Denied unless this host is the one that prunes a repository."""
        here = self._sessions.host
        if record.keeper != here:
            who = f"host {record.keeper}" if record.keeper else "nobody that is known here"
            raise Denied(
                f"repository {record.name}: one host prunes, and that is {who}, not {here}; "
                f"`convoy repository add {record.name} {record.location} --keeper`, with the files "
                "as before, makes it this one"
            )

    async def keys(self, name: str, progress: Progress) -> Sequence[KeyFound]:
        """The passwords by which a repository opens, and which of them is in use here."""
        return (await self.run(self.get(name), ListKeys(), progress)).keys

    async def add_key(self, name: str, password: str, progress: Progress) -> KeyFound:
        """Have it open by one more; the one that is known here stays in use."""
        if not (word := password_in(password)):
            raise Invalid(f"repository {name}: the new password is empty")
        (key,) = (await self.run(self.get(name), AddKey(new_password=word), progress)).keys
        return key

    async def remove_key(self, name: str, key: str, progress: Progress) -> KeyFound:
        """By the first digits of its id; the one in use is refused."""
        (gone,) = (await self.run(self.get(name), RemoveKey(key=key), progress)).keys
        return gone

    async def left_locked(self) -> list[str]:
        """The names of those in which a session may have a lock, or one that was cut off."""

        def noted() -> list[str]:
            found = []
            for name in sorted(self._known):
                with suppress(OSError):  # each session tells that by itself
                    if self._store.locks(name):
                        found.append(name)
            return found

        return await self._operations.blocking.run(noted)

    async def let_go(self, name: str, progress: Progress) -> None:
        """Take away the locks of sessions that were cut off, as each session does first."""
        await self.run(self.get(name), ListKeys(), progress)

    async def unlock(self, name: str, progress: Progress, *, everything: bool) -> Done:
        """Remove stale locks, or all: `unlocked` are gone, `locked` stay."""
        return await self.run(self.get(name), Unlock(everything=everything), progress)

    async def remove(self, name: str) -> None:
        """Forget a repository, which stays as it is, with all backups in it."""
        async with self._operations.locked(f"repository/{name}"):
            self.get(name)
            async with self._as_on_disk(name):
                with translated(name, "remove"):
                    await self._operations.blocking.run(self._store.forget, name)
            del self._known[name]
            if threads := self._threads.pop(name, None):
                threads.close()
            self._proofs.pop(name, None)

    async def is_gone(self, name: str) -> bool:
        """Whether none of this name is recorded, not even one that cannot be read."""
        has_record = self._store.has_record
        return not await self._operations.blocking.run(has_record, name)

    async def is_nobodys(self, name: str) -> bool:
        """The same, and no other host of a shared root can know it."""
        return self._operations.claims is None and await self.is_gone(name)

    @asynccontextmanager
    async def _as_on_disk(self, name: str) -> AsyncIterator[None]:
        """Where the block fails, have memory be what the disk has of that repository."""
        try:
            yield
        except (OSError, ConvoyError):
            found = await self._operations.blocking.run(self._store.find, name)
            if found:
                self._known[name] = found
            elif await self.is_gone(name):
                self._known.pop(name, None)
            raise

    async def _opened(
        self,
        name: str,
        location: str,
        password: Secret,
        credentials: Secret,
        progress: Progress,
        keeper: str,
        *,
        make: bool,
    ) -> None:
        threads = self.threads_of(name)
        with translated(name, "add"):
            kept, secret = await threads.run(_read, password)
            kept_credentials, secrets = await threads.run(_read, credentials)
        word = password_in(secret)
        if not word:
            raise Invalid(f"repository {name}: the password in {password.file} is empty")
        opened = await threads.run_long(
            self._sessions.run_with,
            name,
            location,
            word,
            parsed(secrets),
            Open(create=make),
            progress,
        )
        known = self._known.get(name)
        if known and known.id != opened.repository:
            raise Conflict(f"at {location} is another repository than {name} was: remove it first")
        record = Repository(
            name=name,
            location=opened.location,
            id=opened.repository,
            created=timestamp(self._host.wall_clock()),
            password_file=None if kept else password.file,
            credentials_file=None if kept_credentials else credentials.file or None,
            keeps_credentials=kept_credentials,
            keeper=keeper or (known.keeper if known else "") or opened.made_by,
        )
        async with self._as_on_disk(name):
            with translated(name, "add"):
                await self._operations.blocking.run(
                    self._store.save,
                    record,
                    secret if kept else "",
                    secrets if kept_credentials else "",
                )
        self._known[name] = record


def _name_of(place: Location) -> str:
    """A name that no other place gets, and that a person knows it by."""
    last = re.sub(r"[^a-zA-Z0-9_.-]", "-", posixpath.basename(place.path.rstrip("/")))[:64]
    return f"at-{last or place.bucket}-{sha256(str(place).encode()).hexdigest()[:8]}"


def _place(text: str) -> Location:
    try:
        return parse(text)
    except BadLocation as error:
        raise Invalid(str(error)) from error


def _read(secret: Secret) -> tuple[bool, str]:
    """Whether a secret has to be kept, for the daemon does not see its file; and what it is."""
    if not secret.file:
        return bool(secret.content), secret.content
    try:
        with open(secret.file, encoding="utf-8") as file:  # noqa: PTH123
            return False, file.read(_LONGEST)
    except OSError:
        if not secret.content:
            raise
        return True, secret.content


def _view(record: Repository) -> RepositoryView:
    return RepositoryView(
        name=record.name,
        location=record.location,
        id=record.id,
        created=record.created,
        password_file=record.password_file or "",
        credentials_file=record.credentials_file or "",
        keeper=record.keeper,
    )
