"""The command in this process, against a recording daemon, with no setting from outside."""

import os
import pty
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from convoy_py import config
from convoy_py.cli.app import convoy
from convoy_py.cli.client import calls
from tests.unit.cli.fake_daemon import FakeDaemon, running

Run = Callable[..., Result]
Told = Callable[[Result], str]
Screen = Callable[..., tuple[int, str]]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith("CONVOY_"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(config, "DEFAULT_FILE", tmp_path / "absent.toml")


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the command would have waited between its looks at a job, in seconds."""
    taken: list[float] = []
    monkeypatch.setattr(calls, "sleep", taken.append)
    return taken


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDaemon]:
    path = tmp_path / "convoy.sock"
    monkeypatch.setenv("CONVOY_SOCKET", str(path))
    with running(path) as fake:
        yield fake


@pytest.fixture
def served() -> list[config.Configuration]:
    """What the `daemon` command handed over to be served."""
    return []


@pytest.fixture
def run(served: list[config.Configuration]) -> Run:
    """Run the command; a daemon that it starts ends at once with exit code 7."""

    def serve(configuration: config.Configuration) -> int:
        served.append(configuration)
        return 7

    def invoke(*arguments: str, env: Mapping[str, str | None] | None = None) -> Result:
        result = CliRunner().invoke(convoy, arguments, obj=serve, env=env)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """Run the command where both its outputs are one terminal: exit code, and what it showed.

    That is without colours, and with all that was shown only for a while.
    """
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")

    def show(*arguments: str) -> tuple[int, str]:
        ours, theirs = pty.openpty()
        shown = bytearray()
        reader = threading.Thread(target=_read_all, args=(ours, shown))
        reader.start()
        try:
            with os.fdopen(theirs, "w") as terminal, monkeypatch.context() as patch:
                patch.setattr(sys, "stdout", terminal)
                patch.setattr(sys, "stderr", terminal)
                with pytest.raises(SystemExit) as ended:
                    convoy.main(arguments)
        finally:
            reader.join()
            os.close(ours)
        text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode())
        return int(ended.value.code or 0), text.replace("\r\n", "\n")

    return show


def _read_all(terminal: int, shown: bytearray) -> None:
    try:
        while chunk := os.read(terminal, 65536):
            shown += chunk
    except OSError:  # EIO: the other side is closed
        pass


@pytest.fixture
def told() -> Told:
    """The one line that a failed command told on stderr, with nothing on stdout."""

    def line(result: Result) -> str:
        assert result.stdout == ""
        assert result.stderr.startswith("convoy: ")
        assert result.stderr.count("\n") == 1
        return result.stderr.removeprefix("convoy: ").strip()

    return line


@pytest.fixture
def module() -> Mapping[str, Any]:
    """Keyword arguments that let a subprocess run `python -m convoy_py` from this checkout."""
    return {"cwd": Path(__file__).parents[3], "env": os.environ | {"COLUMNS": "200"}}
