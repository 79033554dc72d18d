"""All verbs of one daemon, as the edges call them."""

from dataclasses import dataclass

from convoy_py.engine.adoptions import Adoptions
from convoy_py.engine.copies import Copies
from convoy_py.engine.daemon import Daemon
from convoy_py.engine.jobs import Jobs
from convoy_py.engine.releases import Releases
from convoy_py.engine.room import Room
from convoy_py.engine.snapshots import Snapshots
from convoy_py.engine.space import SpaceVerbs
from convoy_py.engine.trash import TrashBin
from convoy_py.engine.uses import Uses
from convoy_py.engine.volumes import Volumes


@dataclass(frozen=True)
class Verbs:
    """One object per noun."""

    daemon: Daemon
    volumes: Volumes
    uses: Uses
    snapshots: Snapshots
    copies: Copies
    adoptions: Adoptions
    releases: Releases
    space: SpaceVerbs
    trash: TrashBin
    room: Room
    jobs: Jobs
