"""The blocking steps by which one host of a shared root claims volumes, and lets go of them."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path, PurePath

from convoy_py.engine.steps.membership import Membership
from convoy_py.engine.steps.renewing import TAKEN_FROM
from convoy_py.errors import (
    Conflict,
    OperationFailed,
    Unavailable,
    Unsupported,
    VolumeElsewhere,
    VolumeNotFound,
)
from convoy_py.linux import backing, mounts, shutdown
from convoy_py.logs import event
from convoy_py.models.claims import (
    Claim,
    Crowded,
    HalfTaken,
    Held,
    Member,
    Mode,
    Version,
)
from convoy_py.models.names import is_valid_name
from convoy_py.state import claims
from convoy_py.state.store import SNAPSHOTS, Store

log = logging.getLogger("convoy.hosts")

# A device detaches itself some moments after the last unmount; together 1 s.
ATTEMPTS, LOOK_SECONDS = 200, 0.005


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
        # What is ours by a swap that we know to be the last: a claim that was only read may be of
        # before we gave it back, or be changed yet by a swap of ours that was given up.
        self._sure: set[str] = set()
        self._ending: set[str] = set()  # images whose filesystem is ended, or is to be: once each
        if isinstance(store.records, claims.SharedRecords):
            store.records.doubted = self._sure.discard

    def use(self, name: str, mode: Mode) -> Claim | None:
        """Claim a volume, alone or with others; None if there is no such volume.

        Raises VolumeElsewhere, naming the hosts; Unavailable.
        """
        self._membership.refuse()

        def used(claim: Claim) -> Claim:
            if claim.mode is Mode.GONE:
                raise FileNotFoundError(name)
            return claim.used(self.me, mode, self._membership.is_over, anew=name not in self._sure)

        try:
            claim = self._changed(name, used)
        except FileNotFoundError:
            self._store.presence.refuse()  # without its disk nothing is found
            self.held.pop(name, None)
            return None
        except Held as held:
            raise self._elsewhere(name, held.others) from None
        except HalfTaken:
            raise Conflict(
                f"volume {name}: its takeover was cut off; repeat `convoy takeover {name}`"
            ) from None
        except Crowded:
            raise Unsupported(f"volume {name} is used by as many hosts as it can be") from None
        self.held[name] = claim
        return claim

    def confirm(self, name: str) -> None:
        """See to it that no change of before, done late, takes what is held; as `use`."""
        held = self.held.get(name)
        if held is not None and held.mode in (Mode.ONE, Mode.MANY) and name not in self._sure:
            self.use(name, held.mode)

    def users(self, name: str) -> list[str]:
        """The other hosts that have a volume, each with when it was last seen."""
        claim = self.look(name)
        users = claim.users if claim else ()
        return [self._membership.phrase(each) for each in users if each != self.me]

    def take(self, name: str, *, is_off: bool) -> list[str]:
        """Begin to take a volume from hosts that are over, or are ended by that; their names.

        `is_off`: somebody who knows says that they write nothing any more. Raises VolumeElsewhere
        if one may be alive, Conflict if no other host has it, VolumeNotFound.
        """
        self._membership.refuse()
        claim = self.look(name)
        if claim is None:
            raise VolumeNotFound(name)
        others = [each for each in claim.users if each != self.me]
        if not others and claim.mode is not Mode.TAKEN:
            raise Conflict(f"volume {name}: no other host has it, so there is nothing to take over")
        alive = [each for each in others if not self._membership.fence(each, is_off=is_off)]
        if alive:
            raise self._elsewhere(name, alive)
        if claim.mode is not Mode.MANY:
            self.held[name] = self._changed(name, self._taken)
        return self.names(others)

    def _elsewhere(self, name: str, others: Iterable[Member]) -> VolumeElsewhere:
        return VolumeElsewhere(name, map(self._membership.phrase, others))

    def _taken(self, claim: Claim) -> Claim:
        return claim.taken(self.me, self._membership.is_over)

    def settle(self, name: str) -> None:
        """A volume that was taken has data that no other host can reach."""
        self.held[name] = self._changed(name, lambda claim: claim.settled(self.me))

    def lost(self) -> None:
        """End the filesystems of our images, for others took this host for dead.

        One that cannot be ended goes on, into data that nobody else uses by then.
        """
        for name, claim in list(self.held.items()):
            mountpoint = self._mounts_dir / name
            is_image = claim.mode is Mode.ONE and name not in self._ending
            if is_image and mounts.is_mountpoint(mountpoint):
                # A device that hangs has its thread wait; each beat comes here.
                self._ending.add(name)
                threading.Thread(target=self._end, args=(name, mountpoint), daemon=True).start()

    def _end(self, name: str, mountpoint: Path) -> None:
        try:
            shutdown.shut_down(mountpoint)
        except OSError as error:
            event(log, logging.WARNING, "its writers go on", volume=name, failure=error)
            self._ending.discard(name)
        else:
            event(log, logging.ERROR, "ended: another host has it now", volume=name)

    def refuse_others(self, name: str) -> None:
        """Raise VolumeElsewhere if another host uses a volume now."""
        claim = self.look(name)
        if claim is not None:
            try:
                claim.used(self.me, Mode.ONE, self._membership.is_over)
            except (HalfTaken, Crowded):
                pass  # which is told by who claims it
            except Held as held:
                raise self._elsewhere(name, held.others) from None

    def tell(self, name: str) -> None:
        """Have others look at a volume that is claimed, for something of it changed."""
        self.held[name] = self._changed(name, Claim.told)

    def has_alone(self, name: str) -> bool:
        """Whether a volume is claimed alone, for sure; without I/O."""
        held = self.held.get(name)
        return held is not None and held.mode is Mode.ONE and name in self._sure

    def share(self, name: str) -> Claim:
        """Go on with others, if it is claimed alone."""
        self.held[name] = claim = self._changed(name, lambda claim: claim.opened(self.me))
        return claim

    def leave(self, name: str) -> Claim | None:
        """Let go of a volume; nothing of it may be mounted or open here."""
        if mounts.is_mountpoint(self._mounts_dir / name):
            raise OperationFailed(f"volume {name}: something is mounted there")
        self._refuse_attached(name)
        claim = None
        self._sure.discard(name)
        with suppress(FileNotFoundError):  # else it was renamed, or is in the trash
            claim = self._changed(name, lambda claim: claim.left(self.me))
        self.held.pop(name, None)
        self._sure.discard(name)
        return claim

    def _refuse_attached(self, name: str) -> None:
        """Raise OperationFailed while a device has a volume's image; waits for one that goes."""
        for _ in range(ATTEMPTS):
            if not any(map(_is_ours, backing.below(self._store.home(name)))):
                return
            time.sleep(LOOK_SECONDS)
        raise OperationFailed(f"volume {name}: a device has its image attached")

    def leads(self, claim: Claim) -> bool:
        """Whether of the hosts that live this one has a volume first, or had it last.

        Of what only dead hosts have it is the first of all that live.
        """
        alive = self._membership.alive()
        found = [each.host for each in claim.members if each.host in alive] or sorted(alive)
        return found[:1] == [self.me.host]

    def names(self, members: Iterable[Member]) -> list[str]:
        """What hosts are called, in the order of their numbers."""
        return [self._membership.name(member.host) for member in members]

    def everything(self) -> dict[str, Claim]:
        """The claims of all volumes, as they are, but for those that cannot be read."""
        self._store.presence.refuse()
        found: dict[str, Claim] = {}
        for name in filter(is_valid_name, os.listdir(self._store.volumes)):  # noqa: PTH208 - names
            try:
                claim = self.look(name)
            except Unavailable as error:
                event(log, logging.DEBUG, "not followed", volume=name, failure=error)
            else:
                found |= {name: claim} if claim else {}
        self._store.presence.refuse()
        return found

    def look(self, name: str) -> Claim | None:
        """The claim as it is; None if there is no such volume."""
        claim = claims.read(self._store.home(name))
        if claim is None or claim.mode is Mode.GONE:
            self._store.presence.refuse()
            return None
        self._membership.meet(claim.users)
        return claim

    def _changed(self, name: str, wanted: Callable[[Claim], Claim]) -> Claim:
        was: list[Claim] = []

        def noted(claim: Claim) -> Claim:
            was.append(claim)
            return wanted(claim)

        self._store.presence.refuse()  # what lies there may be another root's
        try:
            claim = claims.change(self._store.home(name), noted)
        except (FileNotFoundError, Held, HalfTaken, Crowded):
            raise
        except BaseException:
            self._sure.discard(name)
            raise
        with suppress(OSError):  # it was made, whatever they are called
            self._membership.meet(claim.users)
        if claim != was[-1]:
            if self.known.get(name) == was[-1].version:
                self.known[name] = claim.version  # what changed is ours
            self._sure.add(name)
            self._told()
        return claim


def _is_ours(image: PurePath) -> bool:
    """Whether an image in a volume's home is not what a host has that the volume was taken from."""
    folder, *below = image.parts
    return not (folder == SNAPSHOTS and below[0].lstrip(".").startswith(TAKEN_FROM))
