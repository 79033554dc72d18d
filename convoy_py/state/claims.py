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

from convoy_py.errors import Conflict, NotFound, Unavailable
from convoy_py.linux import files
from convoy_py.models.claims import Claim, Held, Member, Mode
from convoy_py.state import register

CLAIM = "claim"
RECORD = "volume.json"
# How often a change is tried that others were quicker than.
ATTEMPTS = 50
_TAG_BYTES = 4
# Whether a record is the one that is to be replaced.
IsKnown = Callable[[bytes], bool]


def _lost(home: Path) -> Unavailable:
    """Others change a claim all the time."""
    return Unavailable(f"{home}: other hosts change it all the time; repeat the command")


def _changed(home: Path) -> Conflict:
    return Conflict(f"{home} was changed by another host meanwhile; repeat the command")


def read(home: Path) -> Claim | None:
    """The claim of what lies in a folder; None if there is none. Raises Unavailable."""
    try:
        return _parsed(home, register.read(home / CLAIM))
    except FileNotFoundError:
        return None


def _readable(home: Path) -> Claim | None:
    """The same, and None, too, if it cannot be told."""
    try:
        return read(home)
    except Unavailable:
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
        """Whether what lies there is a volume that this host removed."""
        return False

    def is_back(self, home: Path) -> bool:
        """Whether what lies in the trash was restored by this host."""
        return False

    def is_purged(self, home: Path) -> bool:
        """Whether this host was to purge what lies in the trash."""
        return False

    def is_ours(self, home: Path) -> bool:
        """Whether no other host can have anything half done there."""
        return True

    def make(self, staging: Path, record: bytes) -> None:
        """Write the first, durably, in a folder that is yet to get its name."""
        files.durable_make(staging / RECORD, record)

    def write(self, home: Path, record: bytes, is_known: IsKnown | None = None) -> None:
        """Replace it, durably; raises Conflict if it is not the one that `is_known`."""
        files.durable_replace(home / RECORD, record)

    def remove(self, home: Path) -> None:
        """From now on there is no such volume; its folder goes next."""

    def bring_back(self, home: Path, record: bytes, is_known: IsKnown) -> None:
        """Undo that in the trash; its folder goes next. Raises Conflict as `write` does."""
        self.write(home, record)

    def purge(self, home: Path) -> None:
        """From now on nobody brings it back; its folder goes next. Raises Conflict if it is."""

    def tell(self) -> None:
        """Have other hosts look, for something moved."""


class SharedRecords:
    """Those of a shared root, as one of its hosts reads and changes them."""

    def __init__(self, me: Member, told: Callable[[], None]) -> None:
        """`told` is to be called after each change: others look then."""
        self._me = me
        self._told = told
        # Is told the volume of which a change may yet be made, for there was no answer.
        self.doubted: Callable[[str], None] = lambda _: None

    def read(self, home: Path) -> bytes:
        return self._read(home)[1]

    def _read(self, home: Path) -> tuple[Claim, bytes]:
        for _ in range(ATTEMPTS):
            claim = read(home)
            if claim is None:
                raise FileNotFoundError(home / CLAIM)
            try:
                return claim, _record(home, claim.tag).read_bytes()
            except FileNotFoundError:
                if read(home) == claim:
                    raise
        raise _lost(home)

    def has(self, home: Path) -> bool:
        return (home / CLAIM).exists()  # be it readable or not

    def is_gone(self, home: Path) -> bool:
        claim = read(home)
        return claim is not None and claim.mode in (Mode.GONE, Mode.PURGED)

    def is_ours(self, home: Path) -> bool:
        claim = _readable(home)
        return claim is not None and bool(claim.users) and self._is_mine(claim)

    def is_left(self, home: Path) -> bool:
        claim = _readable(home)
        return claim is not None and claim.mode is Mode.GONE and self._is_mine(claim)

    def is_back(self, home: Path) -> bool:
        claim = _readable(home)
        is_volume = claim is not None and claim.mode not in (Mode.GONE, Mode.PURGED)
        return claim is not None and is_volume and self._is_mine(claim)

    def is_purged(self, home: Path) -> bool:
        claim = _readable(home)
        return claim is not None and claim.mode is Mode.PURGED and self._is_mine(claim)

    def _is_mine(self, claim: Claim) -> bool:
        """Whether a claim names this host alone, in whichever of its lives."""
        return all(each.host == self._me.host for each in claim.members)

    def make(self, staging: Path, record: bytes, mode: Mode = Mode.ONE) -> None:
        tag = _new_tag()
        files.durable_make(_record(staging, tag), record)
        if not register.make(staging / CLAIM, str(Claim(0, tag, mode, (self._me,)))):
            _record(staging, tag).unlink()  # another host was quicker
            return
        self._copy(staging, record)

    def write(self, home: Path, record: bytes, is_known: IsKnown | None = None) -> None:
        """Replace it, durably; of a folder that has none it becomes the first."""
        if read(home) is None:
            self.make(home, record)
            return
        self._renew(home, record, Claim.tagged, is_known)
        self._told()

    def _renew(
        self,
        home: Path,
        record: bytes,
        changed: Callable[[Claim, str], Claim],
        is_known: IsKnown | None,
    ) -> None:
        """Have another record count, by the change of a claim that has the one that is known."""
        before, old = self._read(home) if is_known else (read(home), b"")
        if before is None or (is_known and not is_known(old)):
            raise _changed(home)
        tag = _new_tag()
        files.durable_make(_record(home, tag), record)

        def renewed(claim: Claim) -> Claim:
            # Where there was no answer at first, the claim may have the new one already.
            if claim.tag == tag:
                return claim
            if claim.tag != before.tag:
                raise Held
            return changed(claim, tag)

        try:
            self._change(home, renewed)  # the point of no return
        except Held:
            with suppress(OSError):
                _record(home, tag).unlink()
            raise _changed(home) from None
        with suppress(OSError):
            _record(home, before.tag).unlink()
        self._copy(home, record)

    def remove(self, home: Path) -> None:
        try:
            self._change(home, lambda claim: claim.gone(self._me))  # the point of no return
        except Held:
            raise Unavailable(f"{home}: another host uses it; repeat the command") from None
        self._told()

    def bring_back(self, home: Path, record: bytes, is_known: IsKnown) -> None:
        claim, there = self._read(home)
        if there == record and claim.mode is Mode.ONE and claim.members == (self._me,):
            return  # that was done before
        if claim.mode is Mode.PURGED:
            raise NotFound(f"{home} is being purged")
        self._renew(home, record, lambda claim, tag: claim.back(self._me, tag), is_known)

    def purge(self, home: Path) -> None:
        try:
            self._change(home, lambda claim: claim.purged(self._me))  # the point of no return
        except FileNotFoundError:
            if not home.exists() or self.has(home):
                raise  # else it has no record, and cannot be brought back
        except Held:
            raise _changed(home) from None

    def tell(self) -> None:
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
