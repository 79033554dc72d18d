"""All verbs of one daemon, as the edges call them."""

from dataclasses import dataclass

from convoy_py.engine.running.jobs import Jobs
from convoy_py.engine.verbs.adoptions import Adoptions
from convoy_py.engine.verbs.backups import Backups
from convoy_py.engine.verbs.copies import Copies
from convoy_py.engine.verbs.daemon import Daemon
from convoy_py.engine.verbs.proofs import Proofs
from convoy_py.engine.verbs.releases import Releases
from convoy_py.engine.verbs.repositories import Repositories
from convoy_py.engine.verbs.restores import Restores
from convoy_py.engine.verbs.room import Room
from convoy_py.engine.verbs.schedules import Schedules
from convoy_py.engine.verbs.snapshots import Snapshots
from convoy_py.engine.verbs.space import SpaceVerbs
from convoy_py.engine.verbs.takeovers import Takeovers
from convoy_py.engine.verbs.trash import TrashBin
from convoy_py.engine.verbs.uses import Uses
from convoy_py.engine.verbs.volumes import Volumes


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
    repositories: Repositories
    backups: Backups
    proofs: Proofs
    restores: Restores
    schedules: Schedules
    space: SpaceVerbs
    takeovers: Takeovers
    trash: TrashBin
    room: Room
    jobs: Jobs
