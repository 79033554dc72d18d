"""The daemon's log: one line per record, text or JSON, to standard output or to a file.

What concerns a volume or a call is told by `event`, its facts as fields beside the message, so that
JSON can be searched by them. Request bodies are logged by nobody; an option's value only where an
error quotes it.
"""

import errno
import json
import logging
import sys
from datetime import UTC, datetime
from logging.handlers import WatchedFileHandler
from pathlib import Path

from convoy_py.escapes import encodable, printable

OURS = "convoy"
AUDIT = "convoy.audit"
_FIELDS = "convoy_fields"
# So many characters of a field are written, but for a traceback.
LONGEST_CHARACTERS = 1024


def configure(level: str, form: str, file: Path | None) -> None:
    """Send every record to `file` (reopened when it was rotated away) or to standard output.

    `level` is debug, info, warning or error; `form` is text or json. Audit lines are written at
    every level; libraries are heard from warnings on. Raises OSError if the file cannot be opened.
    """
    handler = logging.StreamHandler(sys.stdout) if file is None else _to_file(file)
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger(OURS).setLevel(level.upper())
    logging.getLogger(AUDIT).setLevel(logging.INFO)


def _to_file(file: Path) -> logging.Handler:
    try:
        file.touch(mode=0o640)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        return _File(file, encoding="utf-8", delay=True)
    return _File(file, encoding="utf-8")


class _File(WatchedFileHandler):
    """What cannot be written, as on a full disk, is told on stderr: no work ends for want of it."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            super().emit(record)
        except OSError:
            self.handleError(record)


def event(
    logger: logging.Logger,
    level: int,
    message: str,
    *,
    failure: BaseException | None = None,
    **fields: object,
) -> None:
    """Log `message` with `fields`; those that are None or "" are left out, long text is cut.

    A `failure` is told in the field `error`, and at level ERROR with its traceback in `trace`.
    """
    if logger.isEnabledFor(level):
        known = {key: _short(value) for key, value in fields.items() if value not in (None, "")}
        if failure is not None:
            known["error"] = _short(str(failure))
        trace = failure if level >= logging.ERROR else None
        logger.log(level, message, exc_info=trace, extra={_FIELDS: known})


def _short(value: object) -> object:
    """A client chooses how long a name is that it asks for."""
    return (
        f"{value[:LONGEST_CHARACTERS]}…"
        if isinstance(value, str) and len(value) > LONGEST_CHARACTERS
        else value
    )


class _Lines(logging.Formatter):
    """What both forms share: the moment, the fields, the traceback as one more field."""

    def moment(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC)
        return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def fields(self, record: logging.LogRecord) -> dict[str, object]:
        found: dict[str, object] = dict(getattr(record, _FIELDS, {}))
        if record.exc_info:
            found["trace"] = self.formatException(record.exc_info)
        return found


class TextLines(_Lines):
    """`2026-01-02T03:04:05.678Z INFO create volume=db seconds=0.003`."""

    def format(self, record: logging.LogRecord) -> str:
        facts = "".join(f" {k}={_value(v)}" for k, v in self.fields(record).items())
        message = printable(record.getMessage())
        return f"{self.moment(record)} {record.levelname} {message}{facts}"


class JsonLines(_Lines):
    """One JSON object in a line: time, level, logger, message, and the fields beside them."""

    def format(self, record: logging.LogRecord) -> str:
        told = {
            **{key: _encodable(value) for key, value in self.fields(record).items()},
            "time": self.moment(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": encodable(record.getMessage()),
        }
        return json.dumps(told, default=lambda value: encodable(str(value)))


def _encodable(value: object) -> object:
    return encodable(value) if isinstance(value, str) else value


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6f}".rstrip("0").rstrip(".")
    text = str(value)
    plain = text.isprintable() and text and not set(text) & set(' "=')
    return text if plain else '"' + printable(text.replace("\\", "\\\\").replace('"', '\\"')) + '"'
