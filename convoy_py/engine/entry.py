"""One volume in the daemon's memory: its record, who holds it, and what was last seen of it."""

from dataclasses import dataclass

from convoy_py.backends.base import Backend, Place
from convoy_py.errors import BrokenVolume
from convoy_py.models.volume import State, Usage, View
from convoy_py.state.records import Record, References


@dataclass(slots=True)
class Entry:
    """Get and List are answered from this alone. Changed only under the volume's lock.

    `record`, `backend` and `place` are None together: where the record cannot be read.
    """

    name: str
    references: References
    record: Record | None = None
    backend: Backend | None = None
    place: Place | None = None
    reason: str = ""  # why it is broken
    mounted: bool = False  # as the kernel said when it was last asked
    lingering: bool = False  # an unmount is not complete: something holds the mount or the device
    usage: Usage | None = None
    mounted_at: float = 0.0  # clock of the last Mount, seconds
    held_at: float = 0.0  # clock of the last Mount, or look, that showed someone who holds it
    suspects: frozenset[str] = frozenset()  # mount IDs that nobody held at the janitor's last look

    def usable(self) -> tuple[Backend, Place]:
        """The volume's backend and place; raises BrokenVolume if its record cannot be read."""
        if self.backend is None or self.place is None:
            raise BrokenVolume(self.name, self.reason)
        return self.backend, self.place

    @property
    def state(self) -> State:
        if self.reason:
            return State.BROKEN
        return State.MOUNTED if self.mounted else State.READY

    def mountpoint(self) -> str:
        """What a container sees, or "" while the volume is not mounted."""
        if not self.mounted or self.backend is None or self.place is None:
            return ""
        return str(self.backend.exposed(self.place))

    def view(self) -> View:
        return View(
            name=self.name,
            state=self.state,
            backend=self.record.spec.backend if self.record else "",
            created=self.record.created if self.record else None,
            mountpoint=self.mountpoint(),
            home=str(self.place.home) if self.place else "",
            references=self.references.total,
            spec=self.record.spec if self.record else None,
            usage=self.usage,
            reason=self.reason,
        )
