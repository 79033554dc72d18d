"""What the bench makes of the moments at which a writer's writes ended."""

from pathlib import Path

import pytest

from bench.writer import Writes, writing

# Writes of 1, 1, 6, 1 and 1 seconds.
WRITES = Writes((0.0, 1.0, 2.0, 8.0, 9.0, 10.0))


@pytest.mark.parametrize(
    ("begin", "end", "seconds"),
    [(0.5, 1.5, 1.0), (1.5, 2.5, 6.0), (3.0, 4.0, 6.0), (7.0, 9.5, 6.0), (8.5, 9.5, 1.0)],
)
def test_the_longest_write_is_one_that_was_under_way(
    begin: float, end: float, seconds: float
) -> None:
    """Also one that began long before and ended long after."""
    assert WRITES.longest(begin, end) == seconds


def test_the_whole_time_has_its_longest() -> None:
    """Whatever is asked for beyond it."""
    assert WRITES.longest(-5.0, 50.0) == 6.0


def test_the_rate_counts_what_ended_in_that_time() -> None:
    """Per second, and none twice where one time follows on another."""
    assert WRITES.rate(0.0, 10.0) == 0.5
    assert WRITES.rate(0.0, 2.0) == 1.0
    assert WRITES.rate(2.0, 6.0) == 0.0


def test_a_writer_tells_what_it_did_and_leaves_nothing(tmp_path: Path) -> None:
    """The moments are in order, and there is one more of them than there were writes."""
    with writing(tmp_path) as writer:
        pass
    moments = writer.writes.moments
    assert len(moments) >= 1
    assert list(moments) == sorted(moments)
    assert list(tmp_path.iterdir()) == []
