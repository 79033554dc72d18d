"""The same run of the tests however it was started."""

import signal


def pytest_configure() -> None:
    # A shell starts what runs in the background with SIGINT ignored, and so it is inherited by the
    # commands that the tests start and interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
