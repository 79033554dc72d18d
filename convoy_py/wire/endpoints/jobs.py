"""The calls of jobs."""

from convoy_py import wire
from convoy_py.wire.endpoints.endpoint import Direct, nothing

LIST_JOBS = Direct(
    "GET",
    "/v1/jobs",
    "The jobs that run and the last that have ended, without their results",
    nothing,
    lambda: wire.jobs.JobList,
)
INSPECT_JOB = Direct(
    "GET",
    "/v1/jobs/{id}",
    "One job, also one that failed; with its result once it is done",
    nothing,
    lambda: wire.jobs.JobInfo,
)
CANCEL_JOB = Direct(
    "DELETE",
    "/v1/jobs/{id}",
    "Have a job end at its next step; nothing is left of what it made",
    nothing,
    lambda: wire.jobs.JobInfo,
    statuses=(202,),
)
