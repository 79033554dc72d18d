"""Keeps which hosts share a root: a number each, what is told of it, and its lease.

<root>/hosts/<number>/              exclusive: it is built aside, and not empty
<root>/hosts/<number>/about.json    its name, its machine, and the version of its daemon
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
        with suppress(FileNotFoundError):
            for name in os.listdir(self._folder):  # noqa: PTH208 - names are wanted
                if name.isdecimal() and (about := self._find(int(name))):
                    found[int(name)] = about
        return found

    def take(self, about: About, who: str) -> int:
        """Be the host of this name, and return its number; the lowest that is free if it is new.

        Raises RootLocked if another daemon is this host; Unavailable if another machine is.
        """
        number = self._numbered(about)
        home = self.home(number)
        try:
            self._lock = files.lock_file(home / "lock", who)
        except BlockingIOError as error:
            raise RootLocked(
                f"the root as host {about.name} (setting host)", error.strerror or "unknown"
            ) from None
        files.durable_replace(home / ABOUT, HOST.encode(about))
        return number

    def close(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def joined(self, number: int) -> int | None:
        """As which incarnation this boot was this host before; None if it was not."""
        try:
            joined = JOINED.decode(self._joined.read_bytes())
        except Newer as problem:
            raise Unavailable(str(problem.at(self._joined))) from None
        except (FileNotFoundError, Unreadable):
            return None
        is_ours = (joined.boot, joined.host) == (self._boot, number)
        return joined.incarnation if is_ours else None

    def note_joined(self, number: int, incarnation: int) -> None:
        note = Joined(boot=self._boot, host=number, incarnation=incarnation)
        files.durable_replace(self._joined, JOINED.encode(note), durable=False)

    def _find(self, number: int) -> About | None:
        try:
            return HOST.decode((self.home(number) / ABOUT).read_bytes())
        except (OSError, Unreadable):
            return None

    def _numbered(self, about: About) -> int:
        known = self.load()
        for number, other in known.items():
            if other.name != about.name:
                continue
            if about.machine != other.machine and not self.lease(number).read().endswith(".left"):
                raise Unavailable(
                    f"the host {about.name} of this root is another machine ({other.machine}); "
                    "give this one another name (setting host)"
                )
            return number
        self._folder.mkdir(mode=0o700, exist_ok=True)
        number = 1
        while number in known or not self._made(number, about):
            number += 1
        return number

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
                if self._find(number) != about:
                    return False
        finally:
            with suppress(OSError):  # it has its name
                files.remove_tree(aside)
        files.fsync_dir(self._folder)
        return True
