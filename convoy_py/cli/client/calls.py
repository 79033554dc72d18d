"""Typed calls to the daemon's admin API: what is answered at once, and jobs from start to end."""

from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from convoy_py import models, wire
from convoy_py.cli.client.answers import Told, read_answer
from convoy_py.cli.client.transport import Transport, error_of
from convoy_py.errors import Cancelled, Invalid, NotFound
from convoy_py.models.names import check_name, check_volume, split_source
from convoy_py.wire.endpoints import INSPECT_JOB, Answer, Direct, Endpoint, Form, Long, nothing

if TYPE_CHECKING:
    from pydantic import BaseModel

    from convoy_py.wire.jobs import JobInfo

# The daemon answers every call within 30 s, if only to say that the work goes on.
ANSWER_SECONDS = 60.0

# Seconds between two looks at a job, growing: its end is told late by a tenth of its time at most,
# and by a second.
FIRST_PAUSE, LAST_PAUSE, GROWTH = 0.02, 1.0, 1.1

Tell = Callable[["JobInfo"], None]


class Client:
    """The daemon behind one socket.

    Every call raises the daemon's error as the ConvoyError of its kind; DaemonUnreachable if
    nothing listens; Denied if the socket may not be used; Unavailable if the connection ends or
    `timeout` (seconds) passes without an answer; OperationFailed for an answer that is not
    convoy's. `trace` is told one line per exchange.
    """

    def __init__(
        self,
        path: Path,
        timeout: float = ANSWER_SECONDS,
        trace: Callable[[str], None] | None = None,
    ) -> None:
        self._daemon = Transport(path, timeout, trace)

    def ask(
        self, endpoint: Direct[Form, Answer], message: Form | None = None, *, of: str = ""
    ) -> Answer:
        """The answer; `of` is what the path names: a volume, a snapshot or a job."""
        status, body = self._send(endpoint, message, of)
        if endpoint.told is not nothing:
            return self._read(endpoint.answer, status, body)
        if status != HTTPStatus.NO_CONTENT:
            raise self._daemon.not_ours(status)
        return endpoint.answer()

    def look(self, endpoint: Direct[Any, Any], *, of: str = "") -> Told:
        """The answer as it was told, soon: no model of the wire is loaded for it."""
        status, body = self._send(endpoint, None, of)
        return read_answer(body, self._daemon.not_ours(status))

    def start(
        self, endpoint: Long[Form, Any], message: Form | None = None, *, of: str = ""
    ) -> "JobInfo":
        """The job, which has ended already if the work took less than a second."""
        return self._read(wire.jobs.JobInfo, *self._send(endpoint, message, of))

    def finish(self, endpoint: Long[Any, Answer], job: "JobInfo", tell: Tell) -> Answer:
        """What the work comes to, once its job has ended; `tell` hears of it at each look.

        Raises the job's error as the ConvoyError of its kind; Cancelled also where the job
        ended with its daemon.
        """
        pause = FIRST_PAUSE
        while job.state == models.job.JobState.RUNNING:
            tell(job)
            sleep(pause)
            pause = min(pause * GROWTH, LAST_PAUSE)
            job = self._again(job)
        if job.state != models.job.JobState.DONE:
            raise error_of(job.kind, job.error)
        try:
            return endpoint.answer.model_validate(job.result, extra="ignore")
        except ValueError as error:
            raise self._daemon.not_ours(HTTPStatus.OK) from error

    def _send(
        self, endpoint: Endpoint[Form, Any], message: Form | None, of: str
    ) -> tuple[int, bytes]:
        target, body = _target(endpoint, of), None
        if message and endpoint.has_body:
            body = _encoded(message)
        elif message and (query := message.model_dump(by_alias=True, exclude_defaults=True)):
            target += "?" + urlencode({key: _text(value) for key, value in query.items()})
        return self._daemon.send(endpoint.method, target, body)

    def _read(self, answer: type[Answer], status: int, body: bytes) -> Answer:
        try:
            # A newer daemon may tell more than this command knows; that is no reason to fail.
            return answer.model_validate_json(body, extra="ignore")
        except ValueError as error:
            raise self._daemon.not_ours(status) from error

    def _again(self, job: "JobInfo") -> "JobInfo":
        try:
            now = self.ask(INSPECT_JOB, of=job.id)
        except NotFound:
            now = None
        # A daemon that was started anew counts its jobs from the beginning.
        if now is None or (now.verb, now.volume, now.started) != (
            job.verb,
            job.volume,
            job.started,
        ):
            raise Cancelled(
                f"{name_of(job)} was cut off: the daemon was started anew, and no job outlives it; "
                "repeat the command"
            )
        return now


def name_of(job: "JobInfo") -> str:
    """What to call a job in a sentence."""
    return f"job {job.id} ({f'{job.verb} {job.volume}'.strip()})"


def _target(endpoint: Endpoint[Any, Any], of: str) -> str:
    """The path of a call; a name is checked here, as `..` would lead to another path."""
    for variable in endpoint.variables:
        if variable == "name" and endpoint.noun != "volume":
            check_name(of, endpoint.noun)
        elif variable == "name":
            (split_source if endpoint.snapshots else check_volume)(of)
        return endpoint.path.replace(f"{{{variable}}}", quote(of, safe="@"))
    return endpoint.path


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _encoded(message: "BaseModel") -> bytes:
    try:
        return message.model_dump_json(by_alias=True).encode()
    except ValueError as error:
        raise Invalid(
            "an argument is not UTF-8: no other text is taken, but for the PATH of restore-file"
        ) from error
