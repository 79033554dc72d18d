"""The two event loops that a daemon may run on, for tests of what each does its own way."""

from importlib.util import find_spec

import pytest

from tests.launches import launch_fast, launch_plain

_needs_uvloop = pytest.mark.skipif(find_spec("uvloop") is None, reason="uvloop is not installed")

LAUNCHES = (
    pytest.param(launch_plain, id="asyncio"),
    pytest.param(launch_fast, id="uvloop", marks=_needs_uvloop),
)
