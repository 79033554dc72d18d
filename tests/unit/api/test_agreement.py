"""Every call that the command line may make is served."""

from collections import Counter

from convoy_py.api.routes import ROUTES
from convoy_py.wire import endpoints
from convoy_py.wire.endpoints import Endpoint


def test_every_call_is_served_once() -> None:
    """What it takes and answers is checked by the types."""
    told = [each for each in vars(endpoints).values() if isinstance(each, Endpoint)]
    assert Counter(route.endpoint for route in ROUTES) == Counter(told)
