"""What the admin API's handlers have at hand: the verbs, and how long work is answered for."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from time import monotonic
from typing import Any

from convoy_py.api.rest import Call, Reply
from convoy_py.api.status import job_info, snapshot_info, volume_info
from convoy_py.config import Configuration
from convoy_py.engine.running.jobs import Progress
from convoy_py.engine.verbs import Verbs
from convoy_py.linux.outside import Outside
from convoy_py.metrics import Metrics
from convoy_py.models.snapshot import SnapshotView
from convoy_py.models.volume import View
from convoy_py.wire.endpoints import Answer
from convoy_py.wire.snapshots import SnapshotInfo
from convoy_py.wire.volumes import VolumeInfo

# Seconds for which a job is waited for: what ends by then is answered as if it were none.
PATIENCE_SECONDS = 1.0


@dataclass(frozen=True)
class Admin:
    """`clock` is POSIX time, `started` of the monotonic clock; both in seconds."""

    verbs: Verbs
    metrics: Metrics
    configuration: Configuration
    clock: Callable[[], float]
    outside: Outside
    started: float = field(default_factory=monotonic)

    def volume(self, view: View) -> VolumeInfo:
        return volume_info(view, self.clock(), self.outside)

    def snapshot(self, view: SnapshotView) -> SnapshotInfo:
        return snapshot_info(view, self.outside)

    async def job(
        self, verb: str, call: Call[Any], work: Callable[[Progress], Awaitable[Answer]]
    ) -> Reply[Answer]:
        """Start `work` as a job, and answer with the job; what `work` returns is its Result.

        Raises what the work raises within that time; Unavailable when the daemon is stopping.
        """
        jobs = self.verbs.jobs
        job = jobs.start(verb, call.subject, work)
        if await jobs.wait(job, PATIENCE_SECONDS):
            return Reply(job_info(job.view(), job.result))
        return Reply(job_info(job.view()), HTTPStatus.ACCEPTED)
