"""Which signals are heard, and which of them end a daemon that nobody listens to yet."""

import select
import signal
from collections.abc import Iterator

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


@pytest.fixture
def heeding(monkeypatch: pytest.MonkeyPatch) -> Iterator[Signals]:
    """Signals of which none reaches this process's handlers."""
    monkeypatch.setattr(signals, "_heeded", lambda _: [])
    heard = Signals()
    yield heard
    signal.set_wakeup_fd(-1)
    heard._reading.close()
    heard._writing.close()


def test_first_signal_that_ends_us_does_so_until_somebody_serves(heeding: Signals) -> None:
    """Later ones, and those that mean nothing, do not disturb the end."""
    heard = heeding
    heard._arrived(signal.SIGHUP, None)
    with pytest.raises(SystemExit):
        heard._arrived(signal.SIGTERM, None)
    heard._arrived(signal.SIGTERM, None)
    heard._served = False
    heard.serve()
    heard._arrived(signal.SIGTERM, None)


def test_what_came_is_read_once_and_wakes_up(heeding: Signals) -> None:
    """Whoever waits for the descriptor hears of a signal that Python alone was told of."""
    heeding.serve()
    for number in (signal.SIGHUP, signal.SIGTERM):
        heeding._arrived(number, None)
    assert select.select([heeding], [], [], 0)[0] == [heeding]
    assert heeding.read() == [signal.SIGHUP, signal.SIGTERM]
    assert select.select([heeding], [], [], 0)[0] == []
    assert heeding.read() == []
