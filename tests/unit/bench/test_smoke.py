"""The parts of the bench that need neither an engine nor minutes run, with small numbers."""

import pytest

from bench.__main__ import main

pytestmark = pytest.mark.root


@pytest.mark.parametrize("part", ["calls", "idle", "command"])
def test_a_part_runs(
    part: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It prints a table, whoever of the rivals is there."""
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert main(["--quick", part]) == 0
    assert "aim" in capfd.readouterr().out
