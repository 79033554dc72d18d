"""The blocking steps by which one host of a shared root claims volumes, and lets go of them."""

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from convoy_py.engine.steps.membership import Membership
from convoy_py.errors import OperationFailed, Unsupported, VolumeElsewhere
from convoy_py.linux import mounts
from convoy_py.models.claims import MOST_HOLDERS, Claim, Crowded, Held, Member, Mode, Version
from convoy_py.models.names import is_valid_name
from convoy_py.state import claims
from convoy_py.state.store import Store


class Claiming:
    """What one life of a host has of the volumes. Methods do disk I/O and run in worker threads."""

    def __init__(
        self, store: Store, mounts_dir: Path, membership: Membership, told: Callable[[], None]
    ) -> None:
        """`told` is to be called after each change: others look then."""
        self.me = membership.me
        self.held: dict[str, Claim] = {}  # by volume; what is not in it may be ours all the same
        self._store = store
        self._mounts_dir = mounts_dir
        self._told = told
        self._membership = membership
        self.known: dict[str, Version] = {}  # up to which memory follows each volume
        self._doubtful: set[str] = set()  # what became of our last change of these nobody knows

    def use(self, name: str, mode: Mode) -> Claim | None:
        """Claim a volume, alone or with others; None if there is no such volume.

        Raises VolumeElsewhere, naming the hosts; Unavailable.
        """
        self._membership.refuse()

        def used(claim: Claim) -> Claim:
            if claim.mode is Mode.GONE:
                raise FileNotFoundError(name)
            return claim.used(self.me, mode, self._membership.is_over, anew=name in self._doubtful)

        try:
            claim = self._changed(name, used)
        except FileNotFoundError:
            self.held.pop(name, None)
            return None
        except Held as held:
            raise VolumeElsewhere(name, map(self._membership.phrase, held.others)) from None
        except Crowded:
            raise Unsupported(f"volume {name} is used by {MOST_HOLDERS} hosts already") from None
        self.held[name] = claim
        return claim

    def refuse_others(self, name: str) -> None:
        """Raise VolumeElsewhere if another host uses a volume now."""
        claim = self.look(name)
        if claim is not None:
            try:
                claim.used(self.me, Mode.ONE, self._membership.is_over)
            except Held as held:
                raise VolumeElsewhere(name, map(self._membership.phrase, held.others)) from None

    def tell(self, name: str) -> None:
        """Have others look at a volume that is claimed, for something of it changed."""
        self.held[name] = self._changed(name, Claim.told)

    def share(self, name: str) -> Claim:
        """Go on with others, if it is claimed alone."""
        self.held[name] = claim = self._changed(name, lambda claim: claim.opened(self.me))
        return claim

    def leave(self, name: str) -> Claim | None:
        """Let go of a volume; nothing of it may be mounted or open here."""
        if mounts.is_mountpoint(self._mounts_dir / name):
            raise OperationFailed(f"volume {name}: something is mounted there")
        claim = None
        with suppress(FileNotFoundError):  # else it was renamed, or is in the trash
            claim = self._changed(name, lambda claim: claim.left(self.me))
        self.held.pop(name, None)
        return claim

    def names(self, members: Iterable[Member]) -> list[str]:
        """What hosts are called, in the order of their numbers."""
        return [self._membership.name(member.host) for member in members]

    def everything(self) -> dict[str, Claim]:
        """The claims of all volumes, as they are."""
        names = filter(is_valid_name, os.listdir(self._store.volumes))  # noqa: PTH208 - names
        found = {name: self.look(name) for name in names}
        return {name: claim for name, claim in found.items() if claim is not None}

    def look(self, name: str) -> Claim | None:
        """The claim as it is; None if there is no such volume."""
        claim = claims.read(self._store.home(name))
        if claim is None or claim.mode is Mode.GONE:
            return None
        self._membership.meet(claim.users)
        return claim

    def _changed(self, name: str, wanted: Callable[[Claim], Claim]) -> Claim:
        was: list[Claim] = []

        def noted(claim: Claim) -> Claim:
            was.append(claim)
            return wanted(claim)

        try:
            claim = claims.change(self._store.home(name), noted)
        except (FileNotFoundError, Held, Crowded):
            raise
        except BaseException:
            self._doubtful.add(name)
            raise
        self._membership.meet(claim.users)
        if claim != was[-1]:
            if self.known.get(name) == was[-1].version:
                self.known[name] = claim.version  # what changed is ours
            self._doubtful.discard(name)
            self._told()
        return claim
