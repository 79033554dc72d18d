"""The admin API's routes about jobs: follow them, and end them early."""

from http import HTTPStatus
from typing import Any

from convoy_py.api.admin import Admin
from convoy_py.api.rest import Call, Reply, Route
from convoy_py.api.status import job_info
from convoy_py.engine.running.jobs import Job
from convoy_py.models.job import JobState
from convoy_py.wire import endpoints
from convoy_py.wire.base import Message, Nothing
from convoy_py.wire.jobs import JobInfo, JobList


async def job_list(admin: Admin, call: Call[Nothing]) -> Reply[JobList]:
    return Reply(JobList(jobs=[job_info(view) for view in admin.verbs.jobs.list()]))


async def job_inspect(admin: Admin, call: Call[Nothing]) -> Reply[JobInfo]:
    job = admin.verbs.jobs.get(call.job)
    return Reply(_info(job), subject=job.volume)


async def job_cancel(admin: Admin, call: Call[Nothing]) -> Reply[JobInfo]:
    job = admin.verbs.jobs.cancel(call.job)
    return Reply(_info(job), HTTPStatus.ACCEPTED, job.volume)


def _info(job: Job[Any]) -> JobInfo:
    result = job.result if job.state is JobState.DONE else None
    # What the engine started for itself comes to something of its own.
    return job_info(job.view(), result if isinstance(result, Message) else None)


ROUTES = (
    Route(endpoints.LIST_JOBS, job_list),
    Route(endpoints.INSPECT_JOB, job_inspect),
    Route(endpoints.CANCEL_JOB, job_cancel),
)
