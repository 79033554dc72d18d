"""What all backends have in common: the point of no return, an owner, and nested subvolumes."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from convoy_py.backends.common import own, put_in_place, refuse_nested, returning
from convoy_py.errors import ConvoyError, NoSpace, Unsettled, Unsupported
from convoy_py.linux import btrfs, files
from convoy_py.models.volume import Spec
from tests.unit.backends.conftest import MakePlace

EIO = OSError(5, "Input/output error")


@pytest.mark.parametrize("error", [EIO, NoSpace("the host is full")])
def test_what_fails_before_the_point_of_no_return_is_told_as_it_is(error: Exception) -> None:
    with pytest.raises(type(error)) as told, returning("volume db has gone back"):
        raise error
    assert told.value is error


@pytest.mark.parametrize(
    ("error", "passes", "reason"),
    [
        (EIO, True, "Input/output error"),
        (OSError("odd"), True, "odd"),
        (NoSpace("the host is full"), True, "the host is full"),
        (files.Unsettled(5, "Input/output error"), False, "Input/output error"),
    ],
)
def test_what_fails_after_it_leaves_the_outcome_open(
    error: Exception, *, passes: bool, reason: str
) -> None:
    """As does what passed it by itself."""
    told = f"db has gone back, but something failed then, and a power cut may undo it: {reason}$"

    def work() -> None:
        with returning("db has gone back") as passed:
            if passes:
                passed()
            raise error

    with pytest.raises(Unsettled, match=told):
        work()


@pytest.mark.parametrize(
    ("failing", "error", "content"),
    [
        ("exchange", OSError, "old"),
        ("fsync_dir of the old", Unsettled, "new"),
        ("fsync_dir of the new", Unsettled, "new"),
    ],
)
def test_data_that_is_put_in_place_is_there_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str, error: type, content: str
) -> None:
    """And whoever fails says which."""
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "data").write_text(name)

    def guarded(name: str, call: Callable[..., None], *where: Path) -> None:
        if failing in (name, f"{name} of the {where[0].name}"):
            raise EIO
        call(*where)

    for name in ("exchange", "fsync_dir"):
        call = getattr(files, name)
        monkeypatch.setattr(files, name, lambda *at, n=name, c=call: guarded(n, c, *at))
    with pytest.raises((OSError, ConvoyError)) as told, returning("it is done") as passed:
        put_in_place(tmp_path / "new/data", tmp_path / "old/data", passed)
    assert isinstance(told.value, error)
    assert (tmp_path / "old/data").read_text() == content


@pytest.mark.parametrize(
    ("wanted", "before", "calls"),
    [
        ({}, None, []),
        ({"uid": 5}, None, [("owner", 5, -1)]),
        ({"gid": 6}, None, [("owner", -1, 6)]),
        ({"mode": 0o700}, None, [("mode", 0o700)]),
        (
            {"uid": 0, "gid": 0, "mode": 0},
            {},
            [("owner", 0, 0), ("mode", 0)],
        ),
        ({"uid": 5, "gid": 6, "mode": 0o700}, {"uid": 5, "gid": 6, "mode": 0o700}, []),
        ({"uid": 5, "gid": 7}, {"uid": 5, "gid": 6, "mode": 0o711}, [("owner", -1, 7)]),
    ],
)
def test_owner_and_mode_are_changed_where_they_differ(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    wanted: dict[str, int],
    before: dict[str, int] | None,
    calls: list[tuple[str, ...]],
) -> None:
    """And what is there is on the disk then."""
    done: list[tuple[object, ...]] = []
    monkeypatch.setattr(os, "fchown", lambda _, *owner: done.append(("owner", *owner)))
    monkeypatch.setattr(os, "fchmod", lambda _, mode: done.append(("mode", mode)))
    monkeypatch.setattr(os, "fsync", lambda _: done.append(("sync",)))
    known = None if before is None else Spec.model_validate({"backend": "x", **before})
    own(0, Spec.model_validate({"backend": "x", **wanted}), known)
    assert done == [*calls, ("sync",)]


@pytest.mark.parametrize(
    ("nested", "told"),
    [
        (["a"], r"\(a\)"),
        (["a", "b", "c"], r"\(a, b, c\)"),
        (["a", "b", "c", "d", "e"], r"\(a, b, c and 2 more\)"),
    ],
)
def test_subvolumes_that_would_be_left_out_are_named(
    place: MakePlace, monkeypatch: pytest.MonkeyPatch, nested: list[str], told: str
) -> None:
    db = place()
    monkeypatch.setattr(btrfs, "nested", lambda _: nested)
    with pytest.raises(Unsupported, match=rf"volume db: .* {told}; make plain folders"):
        refuse_nested(db, db.home)
    monkeypatch.setattr(btrfs, "nested", lambda _: [])
    refuse_nested(db, db.home)
