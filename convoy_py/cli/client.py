"""Typed calls to the daemon's admin API: what is answered at once, and jobs from start to end."""

from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from time import sleep
from urllib.parse import quote

from pydantic import ValidationError

from convoy_py.cli.exchange import Exchange, M, error_of, mountable_path, volume_path
from convoy_py.cli.work import Work
from convoy_py.errors import Cancelled, NotFound
from convoy_py.models.job import JobState
from convoy_py.models.names import check_name, split_source
from convoy_py.wire.admin import (
    CreateVolume,
    Info,
    Mounted,
    MountVolume,
    SnapshotInfo,
    VolumeInfo,
    VolumeList,
)
from convoy_py.wire.copies import (
    JobInfo,
    JobList,
    PlanInfo,
    ProtectVolume,
    Purged,
    PurgeTrash,
    Removed,
    RenameVolume,
    RestoreTrash,
    SnapshotList,
    TrashList,
)

# The daemon answers every call within 30 s, if only to say that the work goes on.
TIMEOUT = 60.0

# Seconds between two looks at a job, growing: a short one is told at once, a long one costs little.
FIRST_PAUSE, LAST_PAUSE = 0.2, 1.0

Tell = Callable[[JobInfo], None]


class Client:
    """The daemon behind one socket.

    Every call raises the daemon's error as the ConvoyError of its kind; DaemonUnreachable if
    nothing listens; Denied if the socket may not be used; Unavailable if the connection ends or
    `timeout` (seconds) passes without an answer; OperationFailed for an answer that is not
    convoy's. `trace` is told one line per exchange.
    """

    def __init__(
        self, path: Path, timeout: float = TIMEOUT, trace: Callable[[str], None] | None = None
    ) -> None:
        self._daemon = Exchange(path, timeout, trace)

    def info(self) -> Info:
        return self._daemon.ask(Info, "GET", "/v1/info")

    def volumes(self) -> dict[str, VolumeInfo]:
        """All volumes by name, in the order of their names."""
        return dict(sorted(self._daemon.ask(VolumeList, "GET", "/v1/volumes").volumes.items()))

    def create(self, wanted: CreateVolume) -> VolumeInfo:
        """The volume; made now, or there already with the same options."""
        return self._daemon.ask(VolumeInfo, "POST", "/v1/volumes", wanted)

    def inspect(self, name: str) -> VolumeInfo:
        """A volume, or a snapshot such as db@nightly as if it were one."""
        return self._daemon.ask(VolumeInfo, "GET", mountable_path(name))

    def delete(self, name: str, *, keep_data: bool = False) -> None:
        self._daemon.do("DELETE", volume_path(name) + ("?reference=true" if keep_data else ""))

    def rename(self, name: str, new: str) -> VolumeInfo:
        wanted = RenameVolume(name=check_name(new))
        return self._daemon.ask(VolumeInfo, "POST", volume_path(name) + "/rename", wanted)

    def protect(self, name: str, *, on: bool) -> VolumeInfo:
        wanted = ProtectVolume(on=on)
        return self._daemon.ask(VolumeInfo, "POST", volume_path(name) + "/protect", wanted)

    def mount(self, name: str, hold: MountVolume) -> str:
        """The mountpoint of a volume, or of a snapshot such as db@nightly."""
        return self._daemon.ask(Mounted, "POST", mountable_path(name) + "/mount", hold).mount_point

    def umount(self, name: str, hold: MountVolume) -> None:
        self._daemon.do("POST", mountable_path(name) + "/umount", hold)

    def snapshots(self, volume: str = "") -> list[SnapshotInfo]:
        """Those of one volume, or of all."""
        path = f"{volume_path(volume)}/snapshots" if volume else "/v1/snapshots"
        return self._daemon.ask(SnapshotList, "GET", path).snapshots

    def snapshot(self, name: str) -> SnapshotInfo:
        """`db@nightly`, or `nightly` where only one volume has it."""
        return self._daemon.ask(SnapshotInfo, "GET", _snapshot(name))

    def delete_snapshot(self, name: str) -> None:
        self._daemon.do("DELETE", _snapshot(name))

    def plan(self, volume: str) -> PlanInfo:
        return self._daemon.ask(PlanInfo, "GET", volume_path(volume) + "/plan")

    def trash(self) -> list[Removed]:
        return self._daemon.ask(TrashList, "GET", "/v1/trash").volumes

    def restore(self, wanted: RestoreTrash) -> VolumeInfo:
        return self._daemon.ask(VolumeInfo, "POST", "/v1/trash/restore", wanted)

    def purge(self, wanted: PurgeTrash) -> list[str]:
        """The keys of what is gone for good."""
        return self._daemon.ask(Purged, "POST", "/v1/trash/purge", wanted).keys

    def jobs(self) -> list[JobInfo]:
        return self._daemon.ask(JobList, "GET", "/v1/jobs").jobs

    def job(self, job_id: str) -> JobInfo:
        return self._daemon.ask(JobInfo, "GET", _job(job_id))

    def cancel(self, job_id: str) -> JobInfo:
        """The job, which ends at its next step."""
        return self._daemon.ask(JobInfo, "DELETE", _job(job_id))

    def start(self, work: Work[M]) -> JobInfo:
        """The job of `work`, which has ended already if that took less than a second."""
        return self._daemon.ask(JobInfo, work.method, work.target, work.message)

    def finish(self, work: Work[M], job: JobInfo, tell: Tell) -> M:
        """What `work` comes to, once its job has ended; `tell` hears of it at each look.

        Raises the job's error as the ConvoyError of its kind; Cancelled also where the job
        ended with its daemon.
        """
        pause = FIRST_PAUSE
        while job.state == JobState.RUNNING:
            tell(job)
            sleep(pause)
            pause = min(pause * 1.5, LAST_PAUSE)
            job = self._again(job)
        if job.state != JobState.DONE:
            raise error_of(job.kind, job.error)
        try:
            return work.answer.model_validate(job.result, extra="ignore")
        except ValidationError as error:
            raise self._daemon.not_ours(HTTPStatus.OK) from error

    def _again(self, job: JobInfo) -> JobInfo:
        try:
            now = self.job(job.id)
        except NotFound:
            now = None
        # A daemon that was started anew counts its jobs from the beginning.
        if now is None or (now.verb, now.volume, now.started) != (
            job.verb,
            job.volume,
            job.started,
        ):
            raise Cancelled(
                f"{told(job)} was cut off: the daemon was started anew, and no job outlives it; "
                "repeat the command"
            )
        return now


def told(job: JobInfo) -> str:
    """What to call a job in a sentence."""
    return f"job {job.id} ({f'{job.verb} {job.volume}'.strip()})"


def _snapshot(name: str) -> str:
    split_source(name)
    return f"/v1/snapshots/{quote(name, safe='@')}"


def _job(job_id: str) -> str:
    return f"/v1/jobs/{quote(job_id, safe='')}"
