"""Becomes one of the hosts of a shared root: which one that is, and that nobody else is it.

A daemon that cannot be sure of that does not start, and says why.
"""

import logging
from collections.abc import Callable

from convoy_py.engine.memory.lease import Ending, Watch
from convoy_py.errors import Unavailable
from convoy_py.state.hosts import HostStore
from convoy_py.state.records import About

log = logging.getLogger("convoy.hosts")

_LOOK_SECONDS = 1.0


class Joining:
    """One start of a daemon. Does disk I/O."""

    def __init__(
        self,
        store: HostStore,
        about: About,
        boottime: Callable[[], float],
        is_idle: Callable[[], bool],
        sleep: Callable[[float], None],
    ) -> None:
        """`is_idle`: whether nothing is mounted here."""
        self._store = store
        self._about = about
        self._boottime = boottime
        self._is_idle = is_idle
        self._sleep = sleep

    def numbered(self, who: str) -> tuple[int, int | None]:
        """Be the host of this name: its number, and as which life of it this boot went on last.

        `who` is told to whoever would be the same one. Raises RootLocked, Unavailable.
        """
        about, found, before = self._about, self._store.find(self._about.name), self._store.joined()
        ours = None
        if before and found and (before.host, about.boot) == (found[0], found[1].boot):
            ours = before.incarnation
        if before and ours is None and not self._is_idle():
            raise Unavailable(
                f"volumes are mounted here, and this machine has them as another host than "
                f"{about.name} (number {before.host}), or from another root: start the daemon with "
                "the settings host and root that it had, or unmount them first"
            )
        number = found[0] if found else self._store.make(about)
        self._store.lock(number, about.name, who)
        if found:
            self._refuse_another(number, found[1])
            self._store.tell(number, about)
        return number, ours

    def _refuse_another(self, number: int, other: About) -> None:
        """Raise Unavailable unless the host of this name is this machine, and was the last one."""
        watch = Watch(self._store.lease(number), self._boottime)
        watch.look()
        found = watch.term
        assert found is not None, "it was read"
        if found.ending is Ending.LEFT:
            return
        if other.machine != self._about.machine:
            raise Unavailable(
                f"the host {other.name} of this root is another machine ({other.machine or '?'}); "
                "give this one another name (setting host)"
            )
        if other.boot == self._about.boot or found.ending is not None:
            return
        # Machines that are copies have one id, or none: one that lives renews its lease.
        log.warning("the lease of host %s is from another boot: it is waited out", other.name)
        while not watch.is_expired():
            self._sleep(_LOOK_SECONDS)
            watch.look()
            if watch.term != found:
                raise Unavailable(
                    f"another machine with this one's id is the host {other.name} of this root, "
                    "and alive; give this one another name (setting host)"
                )
