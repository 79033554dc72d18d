"""Keeps this host alive on a shared root, and knows of the others whether they are.

The beat runs in a thread of its own: neither a busy daemon nor storage of others that hangs may
keep it from being believed alive.
"""

import logging
import platform
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from convoy_py import __version__
from convoy_py.backends.mountpoints import GUARDED
from convoy_py.engine.memory.lease import LEASE_SECONDS, Fenced, Foreign, Lease, Watch
from convoy_py.engine.steps.joining import Joining
from convoy_py.errors import ConvoyError, Unavailable, Unsupported, failed
from convoy_py.linux import mounts, peers
from convoy_py.linux.probe import Abilities, abilities
from convoy_py.logs import event
from convoy_py.models.claims import Member
from convoy_py.models.hosts import HostState, HostView
from convoy_py.settings import Settings
from convoy_py.state.claims import SharedRecords
from convoy_py.state.formats import Unreadable
from convoy_py.state.hosts import HostStore
from convoy_py.state.news import News
from convoy_py.state.records import About
from convoy_py.state.store import Store

log = logging.getLogger("convoy.hosts")

# How often a lease is renewed in its time.
BEATS = 6
_PATIENCE_SECONDS = 2.0


def join(settings: Settings, store: Store, who: str) -> "Membership":
    """Be one of the hosts of a shared root, which is open.

    `who` is told to whoever would be the same one. Raises RootLocked, Unavailable, and Unsupported
    for a filesystem that cannot be shared.
    """
    try:
        able = abilities(store.root)
    except OSError as error:
        raise failed(f"the root {store.root} cannot be shared", error) from error
    if not able.swaps:
        raise Unsupported(
            f"the root {store.root} cannot be shared: on its filesystem a rename that comes second "
            "does not fail, and two hosts would have one volume"
        )
    boot = peers.boot_id()
    hosts = HostStore(store.root, settings.run_dir, boot)
    name = settings.host or platform.node()
    about = About(name=name, machine=peers.machine_id(), boot=boot, version=__version__)
    membership = Membership(
        hosts,
        about,
        _boottime,
        who=who,
        is_idle=lambda: not _mounted(settings.mounts),
        is_there=store.presence.look,
        seconds=settings.lease,
    )
    me = membership.me
    news = News(store.root, me)
    news.open()
    records = SharedRecords(me, news.tell)
    store.share(f"{me.host}-", hosts.home(me.host), records, exchanges=able.exchanges)
    membership.abilities = able
    return membership


def _mounted(folder: Path) -> bool:
    """Whether a volume is mounted below a folder of mountpoints."""
    own = {folder.name, GUARDED}
    return any(Path(mount.mountpoint).name not in own for mount in mounts.below(folder.resolve()))


def _boottime() -> float:
    """Seconds, also those that the machine slept."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Membership:
    """One life of this host among the hosts of a root."""

    def __init__(
        self,
        store: HostStore,
        about: About,
        boottime: Callable[[], float],
        *,
        who: str,
        is_idle: Callable[[], bool],
        is_there: Callable[[], bool] = lambda: True,
        seconds: int = LEASE_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Become the host of this name, and alive; `who` is told to who would be the same one.

        `is_idle`: whether nothing is mounted here; `is_there`: whether at the root's path lies what
        was opened; `seconds` is for how long a lease is good. Does disk I/O. Raises RootLocked,
        Unavailable.
        """
        self._beat_seconds = seconds / BEATS
        self._store = store
        self._boottime = boottime
        self._about, self._who = about, who
        self._is_there = is_there
        self._number, ours = Joining(store, about, boottime, is_idle, sleep).numbered(who)
        self._lease = Lease(store.lease(self._number), boottime, seconds)
        self.me = Member(self._number, self._joined(ours, is_idle=is_idle))
        self._abouts = {self._number: about}
        self._watches: dict[int, Watch] = {}
        self._watching = threading.Lock()  # a watch is one thread's at a time
        self.lost: Callable[[], None] = lambda: None  # what is to be done once we are fenced
        self._stopped = threading.Event()
        self._problem = ""
        self.is_fenced = False
        self.is_foreign = False  # whether the lease is another's, as far as was seen
        self.abilities: Abilities | None = None  # of the root's filesystem
        self._thread = threading.Thread(target=self._run, name="convoy-beat", daemon=True)

    def _joined(self, ours: int | None, *, is_idle: Callable[[], bool]) -> int:
        noted = partial(self._store.note_joined, self._number)
        try:
            return self._lease.join(ours, noted)
        except Fenced as fenced:
            if not is_idle():
                raise Unavailable(
                    f"another host took this one for dead ({fenced}), and it has volumes mounted "
                    "that may be others' by now: stop what uses them and unmount them, or reboot"
                ) from None
            return self._lease.join(None, noted)

    def start(self) -> None:
        """Look at the others, and go on living."""
        self._thread.start()

    def stop(self, *, is_idle: bool) -> None:
        """Beat no more; say that this host has left if it uses nothing any more."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(_PATIENCE_SECONDS)
        if is_idle and not self._thread.is_alive() and self._is_there():
            try:
                self._lease.leave()
            except (OSError, ConvoyError) as error:
                event(log, logging.WARNING, "others see later that we left", failure=error)

    def beat(self) -> None:
        """Renew the lease, and look at those of the others."""
        if not self._is_there():
            self._problem = "the root is away, and this host's lease with it"
            return
        try:
            if not self._lease.renew():
                self._lease.join(self.me.incarnation)  # nobody has ended it meanwhile
            self._problem, self.is_foreign = "", False
            self._look()
        except Foreign as foreign:
            self._problem, self.is_foreign = f"another is this host on the root: {foreign}", True
        except Fenced as fenced:
            if not self.is_fenced:
                event(log, logging.ERROR, "taken for dead by another host", failure=fenced)
            self.is_fenced = True
            self._problem = (
                "another host took this one for dead: stop the containers that use its volumes, "
                "and restart the daemon"
            )
            self.lost()
        except (OSError, ConvoyError) as error:
            event(log, logging.WARNING, "no beat", failure=error)
            self._problem = f"the root does not take this host's beat: {error}"

    def is_here(self) -> bool:
        """Whether what lies at the root's path is the root of which this is a host; for sure."""
        try:
            told = self._store.about(self._number)
            return told == self._about and self._lease.is_here()
        except (OSError, Unreadable, ConvoyError):
            return False

    def reopen(self) -> None:
        """Be the only daemon that is this host, on a root that is here again; raises RootLocked."""
        self._store.lock(self._number, self._about.name, self._who)

    def fence(self, member: Member, *, is_off: bool) -> bool:
        """End a life of another host, if it was silent for long enough; whether it is over.

        `is_off`: somebody who knows says that the host is off. Raises Unavailable.
        """
        with self._watching:
            watch = self._watched(member.host)
            if watch.term is None or is_off:
                watch.look()
            return watch.is_over(member.incarnation) or watch.fence(is_off=is_off)

    def meet(self, members: Iterable[Member]) -> None:
        """Learn what hosts are called that nobody has seen yet."""
        if any(member.host not in self._abouts for member in members):
            self._abouts = self._store.load()

    # Without I/O, from any thread

    def refuse(self) -> None:
        """Raise Unavailable if nobody need believe that this host lives."""
        if not self._lease.is_alive():
            raise Unavailable(f"{self._problem or 'this host is not alive on the root'}; repeat")

    @property
    def problem(self) -> str:
        """What keeps others from believing that this host lives, or soon will."""
        return self._problem

    def is_over(self, member: Member) -> bool:
        """Whether it has left, was fenced, or lives anew; a no may be out of date."""
        watch = self._watches.get(member.host)
        return watch is not None and watch.is_over(member.incarnation)

    def alive(self) -> set[int]:
        """The numbers of the hosts that may be alive, as far as is known."""
        return {view.number for view in self.views() if view.state is HostState.ALIVE}

    def name(self, number: int) -> str:
        about = self._abouts.get(number)
        return about.name if about else f"host {number}"

    def phrase(self, member: Member) -> str:
        """A host, and when it was last seen."""
        watch = self._watches.get(member.host)
        if watch is None or watch.term is None:
            return f"{self.name(member.host)} (never seen)"
        return f"{self.name(member.host)} (seen {watch.silent():.0f} s ago)"

    def views(self) -> list[HostView]:
        """All hosts, by number."""
        return [self._view(number) for number in sorted(self._abouts)]

    def _view(self, number: int) -> HostView:
        about, watch = self._abouts[number], self._watches.get(number)
        view = partial(HostView, number=number, name=about.name, version=about.version)
        if number == self.me.host:
            state = HostState.ALIVE if self._lease.is_alive() else HostState.SILENT
            return view(state=state, seen=0.0, incarnation=self.me.incarnation, here=True)
        if watch is None or watch.term is None:
            return view(state=HostState.SILENT, seen=None, incarnation=0)
        ending = watch.term.ending
        if ending is None:
            state = HostState.SILENT if watch.is_expired() else HostState.ALIVE
        else:
            state = HostState(ending.value)
        return view(state=state, seen=watch.silent(), incarnation=watch.term.incarnation)

    # The thread

    def _run(self) -> None:
        while True:
            self.beat()
            if self._stopped.wait(self._beat_seconds):
                return

    def _look(self) -> None:
        self._abouts = self._store.load()
        for number in self._abouts.keys() - {self.me.host}:
            with self._watching:
                try:
                    self._watched(number).look()
                except ConvoyError as error:
                    event(log, logging.DEBUG, "a host's lease is not read", failure=error)

    def _watched(self, number: int) -> Watch:
        watch = self._watches.get(number)
        if watch is None:
            watch = Watch(self._store.lease(number), self._boottime)
            self._watches = {**self._watches, number: watch}
        return watch
