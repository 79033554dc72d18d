"""One line per record, whatever is in it."""

import errno
import json
import logging
import re
from collections.abc import Iterator
from logging.handlers import WatchedFileHandler
from pathlib import Path

import pytest

from convoy_py.logs import AUDIT, configure, event

MOMENT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
OURS = logging.getLogger("convoy.test")


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    """Puts the process's logging back as pytest has it."""
    root = logging.getLogger()
    names = ("convoy", AUDIT)
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in names}
    root.handlers.clear()
    yield
    for handler in root.handlers:
        handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    for name in names:
        logging.getLogger(name).setLevel(levels[name])


def failure() -> Exception:
    """An error that was really raised, so that it has a traceback."""
    with pytest.raises(RuntimeError) as caught:
        _unlucky()
    return caught.value


def _unlucky() -> None:
    raise RuntimeError("no\nluck")


def test_text_is_a_moment_a_level_a_message_and_fields(capsys: pytest.CaptureFixture[str]) -> None:
    """Fields that are not known are left out."""
    configure("info", "text", None)
    event(OURS, logging.INFO, "create", volume="db", seconds=0.0031, pid=None, error="")
    assert re.fullmatch(f"{MOMENT} INFO create volume=db seconds=0.0031\n", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("plain-1.0:x/y", "plain-1.0:x/y"),
        ("two words", '"two words"'),
        ("a=b", '"a=b"'),
        ('say "x"', '"say \\"x\\""'),
        ("back\\slash", "back\\slash"),
        ("a\nb\x1b[31m\u2028", '"a\\nb\\x1b[31m\\u2028"'),
        ("\ud800", '"\\ud800"'),
        ("caf\udce9", '"caf\\xe9"'),
        (0.0, "0"),
        (25.0, "25"),
        (True, "True"),
        (7, "7"),
    ],
)
def test_text_values_are_quoted_where_they_must_be(
    capsys: pytest.CaptureFixture[str], value: object, shown: str
) -> None:
    """No value can end its line, or look like another field."""
    configure("info", "text", None)
    event(OURS, logging.INFO, "x", v=value)
    assert capsys.readouterr().out.endswith(f" x v={shown}\n")


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_traceback_is_in_the_same_line(capsys: pytest.CaptureFixture[str], form: str) -> None:
    """Of an error of ours the whole traceback is kept; of a foreseen one its text."""
    configure("info", form, None)
    event(OURS, logging.ERROR, "mount", failure=failure())
    event(OURS, logging.WARNING, "mount", failure=failure())
    unforeseen, foreseen = capsys.readouterr().out.splitlines()
    assert "Traceback" in unforeseen
    assert "test_logs.py" in unforeseen
    assert "Traceback" not in foreseen
    assert "no\\nluck" in foreseen


def test_json_is_one_object_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """The fields stand beside time, level, logger and message, and cannot displace them."""
    configure("info", "json", None)
    event(OURS, logging.WARNING, "a\nb", volume="\ud800", path=Path("/x"), time="mine")
    (line,) = capsys.readouterr().out.splitlines()
    told = json.loads(line)
    assert re.fullmatch(MOMENT, told.pop("time"))
    assert told == {
        "level": "warning",
        "logger": "convoy.test",
        "message": "a\nb",
        "volume": "\ud800",
        "path": "/x",
    }


def test_json_has_no_bytes_of_file_names(capsys: pytest.CaptureFixture[str]) -> None:
    """Other programs refuse half a surrogate pair; the bytes are told by their numbers."""
    configure("info", "json", None)
    event(OURS, logging.INFO, "no \udce9", path=Path("/\udce9"), error="not \udce9")
    told = json.loads(capsys.readouterr().out)
    assert (told["message"], told["path"], told["error"]) == (r"no \xe9", r"/\xe9", r"not \xe9")


def test_a_message_with_line_breaks_stays_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Records of libraries are formatted the same way."""
    configure("info", "text", None)
    logging.getLogger("aiohttp.server").warning("one\ntwo %s", "\x1b[2J")
    assert capsys.readouterr().out.endswith(" WARNING one\\ntwo \\x1b[2J\n")


def test_levels(capsys: pytest.CaptureFixture[str]) -> None:
    """Ours as set, libraries from warnings on, audit lines always."""
    configure("error", "text", None)
    OURS.warning("ours")
    logging.getLogger("aiohttp").info("theirs")
    logging.getLogger(AUDIT).info("audit")
    configure("debug", "text", None)
    OURS.debug("ours again")
    logging.getLogger("asyncio").debug("theirs again")
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(" ")[2] for line in lines] == ["INFO audit", "DEBUG ours again"]


def test_configuring_again_does_not_double_the_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """Each record is written once."""
    configure("info", "text", None)
    configure("info", "text", None)
    OURS.info("once")
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_a_rotated_file_is_opened_anew(tmp_path: Path) -> None:
    """logrotate need not tell the daemon; nobody but its owner and group reads the file."""
    log = tmp_path / "convoy.log"
    configure("info", "text", log)
    OURS.info("before")
    log.rename(tmp_path / "convoy.log.1")
    OURS.info("after")
    assert (tmp_path / "convoy.log.1").read_text().endswith("INFO before\n")
    assert log.read_text().endswith("INFO after\n")
    assert (tmp_path / "convoy.log.1").stat().st_mode & 0o007 == 0


def test_a_file_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    """The daemon does not start without the log that was asked for."""
    with pytest.raises(FileNotFoundError):
        configure("info", "text", tmp_path / "nosuch" / "convoy.log")


def test_a_log_for_which_there_is_no_room_begins_when_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The daemon starts on a full disk, and no call fails for want of its line."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    log = tmp_path / "log"
    with monkeypatch.context() as patched:
        patched.setattr(Path, "touch", full)
        patched.setattr(WatchedFileHandler, "_open", full)
        configure("info", "text", log)
        OURS.info("lost")
    assert "No space left on device" in capsys.readouterr().err
    OURS.info("kept")
    assert "kept" in log.read_text()
