"""Keeps which hosts share a root: a number each, what is told of it, and its lease.

<root>/hosts/<number>/              exclusive: it is built aside, and not empty
<root>/hosts/<number>/about.json    its name, its machine, its boot, and the version of its daemon
<root>/hosts/<number>/lease/        register: engine/memory/lease.py tells what the value says
<root>/hosts/<number>/lock          flock: one daemon on its machine is this host
<root>/hosts/<number>/…             notes that are this host's alone
<run>/host.json                     as what this boot is one of them
"""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from convoy_py.errors import RootLocked, Unavailable
from convoy_py.linux import files
from convoy_py.state import register
from convoy_py.state.formats import Newer, Unreadable
from convoy_py.state.records import HOST, JOINED, About, Joined
from convoy_py.state.register import Register
from convoy_py.state.store import HOSTS

ABOUT = "about.json"
LEASE = "lease"
JOINED_FILE = "host.json"
_NEVER = "0.left"  # a lease that nobody had yet


class HostStore:
    """The hosts of one root. Methods do disk I/O."""

    def __init__(self, root: Path, run_dir: Path, boot: str) -> None:
        self._folder = root / HOSTS
        self._joined = run_dir / JOINED_FILE
        self._boot = boot
        self._lock: int | None = None

    def home(self, number: int) -> Path:
        """Where lies what is one host's alone."""
        return self._folder / str(number)

    def lease(self, number: int) -> Register:
        return Register(self.home(number) / LEASE)

    def load(self) -> dict[int, About]:
        """All that can be read, by number."""
        found = {}
        for number in self._numbers():
            with suppress(OSError, Unreadable):
                found[number] = self.about(number)
        return found

    def find(self, name: str) -> tuple[int, About] | None:
        """The host of a name, by its number and as it was told last; None if it is a new one.

        Raises Unavailable where none is found, but one cannot be read: that may be it.
        """
        unread: list[str] = []
        for number in self._numbers():
            try:
                about = self.about(number)
            except FileNotFoundError:
                continue
            except (OSError, Unreadable) as problem:
                unread.append(str(problem))
                continue
            if about.name == name:
                return number, about
        if unread:
            raise Unavailable(
                f"whether the root has a host {name} already is not known: {unread[0]}"
            )
        return None

    def about(self, number: int) -> About:
        """What is told of a host; raises OSError, Unreadable."""
        path = self.home(number) / ABOUT
        try:
            return HOST.decode(path.read_bytes())
        except Unreadable as problem:
            raise problem.at(path) from None

    def make(self, about: About) -> int:
        """Make a new host, and return its number: the lowest that is free."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        known = set(self._numbers())
        number = 1
        while number in known or not self._made(number, about):
            number += 1
        return number

    def lock(self, number: int, name: str, who: str) -> None:
        """Be the only daemon here that is this host; `who` is told to others. Raises RootLocked."""
        self.close()  # what was locked may be out of reach by now
        try:
            self._lock = files.lock_file(self.home(number) / "lock", who)
        except BlockingIOError as error:
            raise RootLocked(
                f"the root as host {name} (setting host)", error.strerror or "unknown"
            ) from None

    def tell(self, number: int, about: About) -> None:
        """Have all know what this host is; it is locked."""
        files.durable_replace(self.home(number) / ABOUT, HOST.encode(about))

    def close(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def joined(self) -> Joined | None:
        """As what this boot had a root before, be it this one or another; None if it had none."""
        try:
            joined = JOINED.decode(self._joined.read_bytes())
        except Newer as problem:
            raise Unavailable(str(problem.at(self._joined))) from None
        except (FileNotFoundError, Unreadable):
            return None
        return joined if joined.boot == self._boot else None

    def note_joined(self, number: int, incarnation: int) -> None:
        note = Joined(boot=self._boot, host=number, incarnation=incarnation)
        files.durable_replace(self._joined, JOINED.encode(note), durable=False)

    def _numbers(self) -> list[int]:
        """Of all hosts, in their order."""
        with suppress(FileNotFoundError):
            names = os.listdir(self._folder)  # noqa: PTH208 - names are wanted
            return sorted(int(name) for name in names if name.isdecimal())
        return []

    def _made(self, number: int, about: About) -> bool:
        """Make the folder of a new host; False if another has the number."""
        aside = self._folder / f".new-{secrets.token_hex(8)}"
        aside.mkdir(mode=0o700)
        try:
            files.durable_make(aside / ABOUT, HOST.encode(about))
            register.make(aside / LEASE, _NEVER)
            try:
                aside.rename(self.home(number))
            except OSError:
                if not self.home(number).exists():
                    raise
                # The first answer may have been lost.
                if self.load().get(number) != about:
                    return False
        finally:
            with suppress(OSError):  # it has its name
                files.remove_tree(aside)
        files.fsync_dir(self._folder)
        return True
