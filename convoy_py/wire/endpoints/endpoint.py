"""What a row of the table of calls says: the daemon serves by it, the command line asks by it."""

import re
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from convoy_py import wire

if TYPE_CHECKING:
    from pydantic import BaseModel

Form = TypeVar("Form", bound="BaseModel")
Answer = TypeVar("Answer", bound="BaseModel")


@dataclass(frozen=True)
class Endpoint(Generic[Form, Answer]):
    """`form` is the body of a POST, the query of any other method; what fails is a Failure.

    `statuses` are those of an `answer`, which is Nothing where there is no body, or none of ours.
    """

    method: str
    path: str
    summary: str
    asked: Callable[[], type[Form]]
    told: Callable[[], type[Answer]]
    _: KW_ONLY
    statuses: tuple[int, ...] = (200,)
    snapshots: bool = False  # the path may name a snapshot, and does if it has a {snapshot}
    noun: str = "volume"  # what the path names, or else the message

    @property
    def form(self) -> type[Form]:
        return self.asked()

    @property
    def answer(self) -> type[Answer]:
        return self.told()

    @property
    def changes(self) -> bool:
        return self.method not in ("GET", "*")

    @property
    def has_body(self) -> bool:
        return self.method == "POST"

    @property
    def variables(self) -> list[str]:
        """What stands in braces in the path."""
        return re.findall(r"\{(\w+)\}", self.path)


class Direct(Endpoint[Form, Answer]):
    """What is answered at once."""


@dataclass(frozen=True, kw_only=True)
class Long(Endpoint[Form, Answer]):
    """What may take long: it is answered by a JobInfo, whose result in the end is the `answer`."""

    statuses: tuple[int, ...] = (200, 202)


def nothing() -> "type[wire.base.Nothing]":
    return wire.base.Nothing
