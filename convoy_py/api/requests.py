"""Reads what clients send, within limits; anything that cannot be read is one Invalid."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from convoy_py.errors import Invalid
from convoy_py.linux.peers import is_hung_up

M = TypeVar("M", bound=BaseModel)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

LARGEST_BODY = 64 * 1024
# Far above what a body takes on a Unix socket, far below the engines' own limits.
READ_SECONDS = 10.0


async def read_body(request: web.Request) -> bytes:
    """The whole body; raises Invalid if it is too large, too slow, or breaks off."""
    try:
        if request.content.is_eof():  # it came with its headers, as the engines' bodies do
            return await request.read()
        async with asyncio.timeout(READ_SECONDS):
            return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise Invalid(f"request body larger than {LARGEST_BODY} bytes") from None
    except TimeoutError:
        raise Invalid(f"request body not received within {READ_SECONDS:.0f} s") from None
    except (OSError, web.RequestPayloadError):
        raise Invalid("request body broke off") from None


def parse(form: type[M], source: bytes | Mapping[str, str]) -> M:
    """The message in a JSON body or in a query; raises Invalid, naming the first bad field."""
    try:
        if isinstance(source, bytes):
            return form.model_validate_json(source)
        return form.model_validate(source)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = "".join(f"{part}: " for part in first["loc"])
        raise Invalid(f"request not understood: {where}{first['msg']}") from None


def is_gone(request: web.Request) -> bool:
    """Whether the client hung up, so that no answer will reach it."""
    transport = request.transport
    return (
        transport is None
        or transport.is_closing()
        or is_hung_up(transport.get_extra_info("socket"))
    )
