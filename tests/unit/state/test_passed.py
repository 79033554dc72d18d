"""The clock of passed time: whatever the wall clock is set to, it gains no second."""

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from convoy_py.state.passed import LONGEST_OFF, LONGEST_REBOOT, PASSED, SAVE, PassedTime
from convoy_py.state.records import Moment

DAY = 86_400.0
YEAR = 365 * DAY
NOON = datetime(2026, 1, 2, 12, 0, tzinfo=UTC).timestamp()


@dataclass
class Host:
    """A host with a root, whose clocks go as a test says."""

    root: Path
    boot: str = "first"
    boottime: float = 100.0
    wall: float = NOON

    def clock(self) -> PassedTime:
        """As a daemon that starts has it."""
        return PassedTime(self.root, self.boot, lambda: self.boottime, lambda: self.wall)

    def run(self, seconds: float) -> None:
        self.boottime += seconds
        self.wall += seconds

    def reboot(self, seconds: float) -> None:
        """Be off for so long, and read the time from the battery's clock."""
        self.boot += "+"
        self.boottime = 3.0
        self.wall += seconds


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_it_counts_what_passes(host: Host) -> None:
    """To the second, while a daemon runs and while none does."""
    clock = host.clock()
    begin = clock.now()
    host.run(DAY)
    assert clock.since(begin) == DAY
    assert host.clock().since(begin) == DAY
    host.run(DAY)
    assert host.clock().since(begin) == 2 * DAY


@pytest.mark.parametrize("jump", [10 * YEAR, 2 * DAY, 60.0, -2 * DAY, -6 * YEAR])
@pytest.mark.parametrize("restarted", [False, True])
def test_setting_the_wall_clock_changes_nothing_and_is_told(
    host: Host, caplog: pytest.LogCaptureFixture, jump: float, restarted: bool
) -> None:
    """Ahead or back, seen by the daemon that runs or by its successor; once."""
    clock = host.clock()
    begin = clock.now()
    host.run(60)
    host.wall += jump
    if restarted:
        clock = host.clock()
    clock.look()
    assert clock.since(begin) == 60
    assert f"{abs(jump):.0f} s {'more' if jump > 0 else 'less'} than" in clock.jump
    host.run(60)
    clock.look()
    assert clock.since(begin) == 120
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "went from 2026-01-02 12:0" in record.message


def test_a_clock_that_is_kept_right_is_not_told(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor is a reboot."""
    clock = host.clock()
    for _ in range(10):
        host.run(30)
        host.wall += 0.5
        clock.look()
    host.reboot(120)
    assert host.clock().jump == ""
    assert caplog.records == []


def test_of_a_short_reboot_the_wall_clock_is_believed(host: Host) -> None:
    """It takes minutes, and so much is added."""
    begin = host.clock().now()
    host.reboot(120)
    assert host.clock().since(begin) == 120


def test_a_jump_before_a_reboot_is_no_part_of_it(host: Host) -> None:
    """It is kept at once that the wall clock was set."""
    clock = host.clock()
    begin = clock.now()
    host.wall += LONGEST_REBOOT / 2
    clock.look()
    host.reboot(120)
    assert host.clock().since(begin) == 120


@pytest.mark.parametrize("off", [LONGEST_REBOOT + 1, YEAR, -1.0, -6 * YEAR])
def test_of_a_long_one_it_is_not(host: Host, off: float) -> None:
    """The host was off, or the battery of its clock died: nobody knows; it goes on from there."""
    begin = host.clock().now()
    host.reboot(off)
    clock = host.clock()
    assert clock.since(begin) == 0
    assert bool(clock.jump) is (abs(off) > 60)
    host.wall += 6 * YEAR  # NTP sets it right
    clock.look()
    host.run(DAY)
    assert clock.since(begin) == DAY


def test_what_passed_is_kept_now_and_then(host: Host) -> None:
    """Of a power cut some minutes are lost at most, and what came after them comes again."""
    clock = host.clock()
    begin = clock.now()
    for _ in range(10):
        host.run(SAVE / 2)
        clock.look()
    host.run(SAVE - 1)
    last = clock.now()
    host.reboot(2 * LONGEST_REBOOT)
    after = host.clock()
    assert after.since(begin) == 5 * SAVE
    assert after.since(last) is None


def test_it_is_not_written_at_each_look(host: Host) -> None:
    """A disk that sleeps may go on."""
    clock = host.clock()
    written = (host.root / PASSED).stat().st_ino
    for _ in range(9):
        host.run(SAVE / 10)
        clock.look()
    assert (host.root / PASSED).stat().st_ino == written


def test_a_moment_of_another_clock_is_unknown(host: Host, tmp_path: Path) -> None:
    """Be it another root's, or that of a root that lost its file."""
    (tmp_path / "other").mkdir()
    host.run(DAY)
    moment = Host(tmp_path / "other").clock().now()
    clock = host.clock()
    host.run(DAY)
    assert clock.since(moment) is None
    assert clock.since(Moment(clock=clock.now().clock, passed=1e9)) is None
    begin = clock.now()
    (host.root / PASSED).write_text("{")
    assert host.clock().since(begin) is None


def test_a_disk_that_takes_no_writes_stops_nothing(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on in memory."""

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("convoy_py.linux.files.durable_replace", full)
    clock = host.clock()
    begin = clock.now()
    host.run(DAY)
    clock.look()
    assert clock.since(begin) == DAY


@pytest.mark.parametrize(
    ("jump", "told"), [(0.0, False), (59.0, False), (61.0, True), (-61.0, True)]
)
@pytest.mark.parametrize("restarted", [False, True])
def test_a_reading_tells_whether_the_wall_clock_was_set_since(
    host: Host, jump: float, told: bool, restarted: bool
) -> None:
    """Beyond a minute, which clocks may be put right by."""
    clock = host.clock()
    reading = clock.reading()
    host.run(DAY)
    host.wall += jump
    assert (host.clock() if restarted else clock).was_set_since(reading) is told


@pytest.mark.parametrize(
    ("off", "told"),
    [(60.0, False), (8 * 3600.0, False), (20 * DAY, False), (LONGEST_OFF + 61, True), (-DAY, True)],
)
def test_a_wall_clock_is_believed_while_the_host_was_off(
    host: Host, off: float, told: bool
) -> None:
    """Within limits: it is the only one that went on."""
    reading = host.clock().reading()
    host.run(3600.0)
    host.clock()
    host.reboot(off)
    clock = host.clock()
    host.run(60.0)
    assert clock.was_set_since(reading) is told


def test_what_another_root_read_cannot_be_known(host: Host, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    reading = Host(tmp_path / "other").clock().reading()
    assert host.clock().was_set_since(reading)
