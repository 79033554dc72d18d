"""Every error that a user can meet, in a few kinds; each edge maps kinds, never classes.

ConvoyError
├── NotFound        VolumeNotFound, SnapshotNotFound, NoRepository
├── Invalid         InvalidName, InvalidOption, InvalidSetting, HelpAsked
├── Conflict        OptionsDiffer, DataDiffers, AlreadyExists
├── InUse           VolumeInUse, VolumeElsewhere
├── Unsupported
├── NoSpace         HostFull
├── Unavailable     StillRunning, NoAnswer, RootLocked, DaemonUnreachable
├── Denied          VolumeProtected
├── Corrupt         BrokenVolume
├── Cancelled
└── OperationFailed (the system refused what should have worked)
    └── Unsettled   (it was done, but not all that goes with it)
"""

import errno
import os
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import ClassVar

from convoy_py.escapes import escaped


class Kind(StrEnum):
    """What sort of failure it is; the tables of the edges are keyed by this."""

    NOT_FOUND = "not-found"
    INVALID = "invalid"
    CONFLICT = "conflict"
    IN_USE = "in-use"
    UNSUPPORTED = "unsupported"
    NO_SPACE = "no-space"
    UNAVAILABLE = "unavailable"
    DENIED = "denied"
    CORRUPT = "corrupt"
    CANCELLED = "cancelled"
    FAILED = "failed"


class ConvoyError(Exception):
    """The base: one line of text that a user can act on, and a kind."""

    kind: ClassVar[Kind] = Kind.FAILED


class NotFound(ConvoyError):
    kind = Kind.NOT_FOUND


class VolumeNotFound(NotFound):
    def __init__(self, name: str) -> None:
        super().__init__(f"no such volume: {name}")


class SnapshotNotFound(VolumeNotFound):
    """`existing` are the names of those that its volume has."""

    def __init__(self, name: str, existing: Iterable[str] = ()) -> None:
        ConvoyError.__init__(
            self, f"no such snapshot: {name}; there are {', '.join(existing) or 'none'}"
        )


class NoRepository(NotFound):
    """There is none at a place that may have one."""


class Invalid(ConvoyError):
    kind = Kind.INVALID


class InvalidName(Invalid):
    def __init__(self, name: str, what: str = "volume") -> None:
        super().__init__(
            f"invalid {what} name {name!r}: use 1 to 128 of a-z A-Z 0-9 _ . - "
            "and begin with a letter or a digit"
        )


class InvalidOption(Invalid):
    """A volume option that is unknown, malformed or contradicts another."""


class HelpAsked(InvalidOption):
    """The answer to `-o help`, which concerns no volume."""


class InvalidSetting(Invalid):
    def __init__(self, setting: str, source: str, reason: str) -> None:
        super().__init__(f"setting {setting} from {source}: {reason}")


class Conflict(ConvoyError):
    kind = Kind.CONFLICT


class OptionsDiffer(Conflict):
    """Create named an existing volume; `differences` maps option to (recorded, asked)."""

    def __init__(self, name: str, differences: Mapping[str, tuple[str, str]]) -> None:
        super().__init__(f"volume {name} already exists with other options: {_listed(differences)}")


class DataDiffers(Conflict):
    """Adopting found other data than was asked for; `differences` as above."""

    def __init__(self, name: str, differences: Mapping[str, tuple[str, str]]) -> None:
        super().__init__(f"volume {name}: adopting keeps the data as it is: {_listed(differences)}")


class AlreadyExists(Conflict):
    """Something that is not a volume of ours stands where one would go."""


class InUse(ConvoyError):
    kind = Kind.IN_USE


class VolumeInUse(InUse):
    """`holders` are phrases such as `container 0123456789ab (pid 42, postgres)`."""

    def __init__(self, name: str, holders: Iterable[str]) -> None:
        self.holders = tuple(holders)
        super().__init__(f"volume {name} is in use by {', '.join(self.holders)}")


class VolumeElsewhere(InUse):
    """Another host of the root uses it; `hosts` are phrases such as `host-b (seen 3 s ago)`."""

    def __init__(self, name: str, hosts: Iterable[str]) -> None:
        self.hosts = tuple(hosts)
        super().__init__(
            f"volume {name} is held by {', '.join(self.hosts)}: do it there, or stop what uses it"
        )


class Unsupported(ConvoyError):
    kind = Kind.UNSUPPORTED


class NoSpace(ConvoyError):
    """Something is full: an image, a quota, the inodes, or the host. No purge need be of help."""

    kind = Kind.NO_SPACE


class HostFull(NoSpace):
    """The ledger measured that the host would have to have `needs` bytes free, and has not."""

    def __init__(self, text: str, needs: int) -> None:
        super().__init__(text)
        self.needs = needs


class Unavailable(ConvoyError):
    kind = Kind.UNAVAILABLE


class StillRunning(Unavailable):
    def __init__(self, name: str, operation: str, seconds: float) -> None:
        self.told = f"volume {name}: {operation} is still running after {seconds:.0f} s and goes on"
        super().__init__(f"{self.told}; repeat the command to join it")


class StillRestoring(Unavailable):
    """A volume is not there yet; `told` is how far it is."""

    def __init__(self, name: str, told: str) -> None:
        super().__init__(f"volume {name} is {told}; come back then")


class NoAnswer(Unavailable):
    """The storage of something hangs; `what` is such as a volume's name."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}: its storage does not answer")


class RootLocked(Unavailable):
    def __init__(self, root: str, who: str) -> None:
        super().__init__(f"another daemon uses {root}: {who}; stop it or give another --root")


class RootReplaced(Unavailable):
    """The daemon is to begin anew: of what lies at the root's path it may be another host."""


class DaemonUnreachable(Unavailable):
    def __init__(self, socket: str, reason: str) -> None:
        super().__init__(
            f"no convoy daemon answers at {socket}: {reason}; start it with `convoy daemon` or "
            "name its socket with --socket"
        )


class Denied(ConvoyError):
    kind = Kind.DENIED


class VolumeProtected(Denied):
    def __init__(self, name: str) -> None:
        super().__init__(
            f"volume {name} is protected; `convoy protect {name} --off` lets it be removed"
        )


class BackupProtected(Denied):
    def __init__(self, url: str) -> None:
        super().__init__(
            f"backup {url} is protected; `convoy backup protect --off '{url}'` lets it be deleted"
        )


class Corrupt(ConvoyError):
    kind = Kind.CORRUPT


class BrokenVolume(Corrupt):
    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"volume {name} is broken: {reason}")


class Cancelled(ConvoyError):
    """A job was stopped by a user, or by the daemon's end; nothing is left of it."""

    kind = Kind.CANCELLED


class OperationFailed(ConvoyError):
    kind = Kind.FAILED


class Unsettled(OperationFailed):
    """It was done and is to be seen, but may not survive a power cut, or something is left over.

    Nothing is undone: what is left may be the only copy of something, and is for the next start.
    """


class ContainerRestarts(OperationFailed):
    """`container` is its id."""

    def __init__(self, container: str, name: str) -> None:
        super().__init__(f"{name} cannot be paused: it is about to be restarted")
        self.container = container


def failed(what: str, error: OSError) -> ConvoyError:
    """The system's refusal as an error of ours: NoSpace or OperationFailed."""
    reason = f"{error.strerror or error}"
    if error.filename:
        reason += f": {escaped(os.fsdecode(error.filename))}"
    kind = NoSpace if error.errno in (errno.ENOSPC, errno.EDQUOT) else OperationFailed
    return kind(f"{what}: {reason}")


def replaced(what: str) -> Conflict:
    """What a verb found under a name is another's, by the time that it has the name's lock."""
    return Conflict(f"{what} was replaced meanwhile; repeat the command")


def _listed(differences: Mapping[str, tuple[str, str]]) -> str:
    return ", ".join(f"{k} is {was}, asked {asked}" for k, (was, asked) in differences.items())
