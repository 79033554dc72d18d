"""What is measured of others' processes."""

import pytest

from bench.archivers import Took, _process


def test_a_process_is_measured() -> None:
    """Its time and its memory."""
    took = _process(["sh", "-c", "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done"], {})
    assert took.wall > 0
    assert took.cpu > 0
    assert 2**16 < took.peak < 2**28


def test_what_fails_is_no_figure() -> None:
    with pytest.raises(RuntimeError, match="failed: 3"):
        _process(["sh", "-c", "exit 3"], {})


def test_processes_one_after_the_other() -> None:
    """Their times add up, their memory does not."""
    assert Took(1.0, 0.5, 7) + Took(2.0, 0.25, 9) == Took(3.0, 0.75, 9)
