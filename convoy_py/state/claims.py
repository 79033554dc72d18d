"""Keeps the claims of the volumes of a shared root, and the records to which they point.

<root>/volumes/<name>/claim/<value>/        register: models/claims.py tells what the value says
<root>/volumes/<name>/volume.<tag>.json     a record, which is never changed
<root>/volumes/<name>/volume.json           a copy of it, for the eye

A change is made by the swap of the claim, and by nothing else: what comes before has names that
never were, what comes after is right whoever does it, and however late.
"""

import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from convoy_py.errors import Unavailable
from convoy_py.linux import files
from convoy_py.models.claims import Claim, Held, Member, Mode
from convoy_py.state import register

CLAIM = "claim"
RECORD = "volume.json"
# How often a change is tried that others were quicker than.
ATTEMPTS = 50
_TAG_BYTES = 4


def _lost(home: Path) -> Unavailable:
    """Others change a claim all the time."""
    return Unavailable(f"{home}: other hosts change it all the time; repeat the command")


def read(home: Path) -> Claim | None:
    """The claim of what lies in a folder; None if there is none. Raises Unavailable."""
    try:
        return _parsed(home, register.read(home / CLAIM))
    except FileNotFoundError:
        return None


def change(home: Path, wanted: Callable[[Claim], Claim]) -> Claim:
    """Have the claim be what is `wanted` of the one that is there; raises what that raises.

    Raises FileNotFoundError if there is none; Unavailable.
    """
    folder = home / CLAIM
    for _ in range(ATTEMPTS):
        value = register.read(folder)
        new = wanted(_parsed(home, value))
        if str(new) == value or register.swap(folder, value, str(new)):
            return new
    raise _lost(home)


def _parsed(home: Path, value: str) -> Claim:
    try:
        return Claim.parsed(value)
    except ValueError as error:
        raise Unavailable(f"{home}: {error}") from error


class PlainRecords:
    """The records of a root that one host has."""

    def read(self, home: Path) -> bytes:
        """Raises FileNotFoundError."""
        return (home / RECORD).read_bytes()

    def has(self, home: Path) -> bool:
        return (home / RECORD).exists()

    def is_gone(self, home: Path) -> bool:
        """Whether what lies there is no volume any more."""
        return False

    def is_left(self, home: Path) -> bool:
        """Whether this host removed it, but its folder is still there."""
        return False

    def is_ours(self, home: Path) -> bool:
        """Whether no other host can have anything half done there."""
        return True

    def make(self, staging: Path, record: bytes) -> None:
        """Write the first, durably, in a folder that is yet to get its name."""
        files.durable_make(staging / RECORD, record)

    def write(self, home: Path, record: bytes) -> None:
        """Replace it, durably."""
        files.durable_replace(home / RECORD, record)

    def remove(self, home: Path) -> None:
        """From now on there is no such volume; its folder goes next."""

    def bring_back(self, home: Path) -> None:
        """Undo that, of what has its name again."""


class SharedRecords:
    """Those of a shared root, as one of its hosts reads and changes them."""

    def __init__(self, me: Member, told: Callable[[], None]) -> None:
        """`told` is to be called after each change: others look then."""
        self._me = me
        self._told = told
        # Is told the volume of which a change may yet be made, for there was no answer.
        self.doubted: Callable[[str], None] = lambda _: None

    def read(self, home: Path) -> bytes:
        for _ in range(ATTEMPTS):
            claim = read(home)
            if claim is None:
                raise FileNotFoundError(home / CLAIM)
            try:
                return _record(home, claim.tag).read_bytes()
            except FileNotFoundError:
                if read(home) == claim:
                    raise
        raise _lost(home)

    def has(self, home: Path) -> bool:
        return read(home) is not None

    def is_gone(self, home: Path) -> bool:
        claim = read(home)
        return claim is not None and claim.mode is Mode.GONE

    def is_ours(self, home: Path) -> bool:
        claim = read(home)
        users = claim.users if claim else ()
        return bool(users) and all(each.host == self._me.host for each in users)

    def is_left(self, home: Path) -> bool:
        claim = read(home)
        if claim is None or claim.mode is not Mode.GONE:
            return False
        return claim.members[0].host == self._me.host

    def make(self, staging: Path, record: bytes) -> None:
        tag = _new_tag()
        files.durable_make(_record(staging, tag), record)
        register.make(staging / CLAIM, str(Claim(0, tag, Mode.ONE, (self._me,))))
        self._copy(staging, record)

    def write(self, home: Path, record: bytes) -> None:
        """Replace it, durably; of a folder that has none it becomes the first."""
        if read(home) is None:
            self.make(home, record)
            return
        tag = _new_tag()
        files.durable_make(_record(home, tag), record)
        tags: list[str] = []

        def tagged(claim: Claim) -> Claim:
            tags.append(claim.tag)
            return claim.tagged(tag)

        self._change(home, tagged)  # the point of no return
        # Where there was no answer at first, the claim has been seen with the new one already.
        for replaced in set(tags) - {tag}:
            with suppress(OSError):
                _record(home, replaced).unlink()
        self._copy(home, record)
        self._told()

    def remove(self, home: Path) -> None:
        try:
            self._change(home, lambda claim: claim.gone(self._me))  # the point of no return
        except Held:
            raise Unavailable(f"{home}: another host uses it; repeat the command") from None
        self._told()

    def bring_back(self, home: Path) -> None:
        self._change(home, lambda claim: claim.back(self._me))  # the point of no return
        self._told()

    def _change(self, home: Path, wanted: Callable[[Claim], Claim]) -> None:
        try:
            change(home, wanted)
        except Held:
            raise
        except BaseException:
            self.doubted(home.name)
            raise

    def _copy(self, home: Path, record: bytes) -> None:
        with suppress(OSError):
            files.durable_replace(home / RECORD, record, durable=False)


Records = PlainRecords | SharedRecords


def _new_tag() -> str:
    """By which a record is known: none comes twice, so whoever deletes one deletes no other."""
    return secrets.token_hex(_TAG_BYTES)


def _record(home: Path, tag: str) -> Path:
    return home / f"volume.{tag}.json"
