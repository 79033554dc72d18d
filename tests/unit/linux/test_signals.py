"""Which signals are heard, and which of them end a daemon that nobody listens to yet."""

import signal

import pytest

from convoy_py.linux import signals
from convoy_py.linux.signals import Signals


@pytest.mark.parametrize("is_ignored", [True, False])
def test_what_was_ignored_stays_so_but_for_sigterm(
    monkeypatch: pytest.MonkeyPatch, *, is_ignored: bool
) -> None:
    """As by nohup; what does no harm is not heard at all."""
    handler = signal.SIG_IGN if is_ignored else signal.SIG_DFL
    monkeypatch.setattr(signal, "getsignal", lambda _: handler)
    heeded = signals._heeded([signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD])
    assert heeded == ([signal.SIGTERM] if is_ignored else [signal.SIGTERM, signal.SIGHUP])


def test_first_signal_that_ends_us_does_so_until_somebody_serves() -> None:
    """Later ones, and those that mean nothing, do not disturb the end."""
    heard = object.__new__(Signals)
    heard._served = False
    heard._arrived(signal.SIGHUP, None)
    with pytest.raises(SystemExit):
        heard._arrived(signal.SIGTERM, None)
    heard._arrived(signal.SIGTERM, None)
    heard._served = False
    heard.serve()
    heard._arrived(signal.SIGTERM, None)
