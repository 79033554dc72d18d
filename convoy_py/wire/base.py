"""What the messages of /v1 have in common; unknown fields are refused. The CLI speaks these too.

Keys are Convoy's where Convoy had them (Name, Driver, MountPoint, CreatedTime, DriverInfo, …).
"""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict
from pydantic.alias_generators import to_pascal

HOOK = "CONTAINER: command"


class Message(BaseModel):
    """`model_validate` makes one of a value of the engine, too, by the names of its fields."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_pascal,
        populate_by_name=True,
        from_attributes=True,
        defer_build=True,  # a command uses two or three of them all
    )


class Query(BaseModel):
    """What stands behind the `?`: unlike a message it has its keys as they are."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class Nothing(Query):
    """Neither a query nor a body; or an answer without a body."""


def rfc3339(moment: datetime | None) -> str | None:
    """A moment in UTC in the only form that Docker takes; None where it is not known."""
    return moment.isoformat().replace("+00:00", "Z") if moment else None


def _moment(value: object) -> object:
    return rfc3339(value) or "" if value is None or isinstance(value, datetime) else value


Moment = Annotated[str, BeforeValidator(_moment)]  # RFC 3339, UTC; "" where it is not known


class Failure(Message):
    """Every error's body: one line, and the kind by which scripts tell errors apart."""

    error: str
    kind: str
