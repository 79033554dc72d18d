"""What lies on disk changes with its format's number alone, and old formats stay readable.

tests/golden/<kind>-<format>/ holds files of a format, each beside what it is read as, and FIELDS.
"""

import json
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
from pydantic import BaseModel, RootModel

from convoy_py.state import records
from convoy_py.state.formats import Format, Newer, Sealed, Unreadable
from convoy_py.state.records import FREEZE, Freeze, Record, decode
from tests.unit.state.test_records import RECORD

GOLDEN = Path(__file__).parents[2] / "golden"
FORMATS: list[Format[Any]] = [each for each in vars(records).values() if isinstance(each, Format)]
FILES = sorted(GOLDEN.glob("*/*.json"))

of_each_format = pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.kind)


def _fields(model: type[BaseModel], within: str = "") -> Iterator[str]:
    """All that may lie on disk, with the types, nested and at the leaves: what a format is."""
    for name, field in model.model_fields.items():
        yield from _described(field.annotation, f"{within}{name}")


def _described(kind: Any, path: str) -> Iterator[str]:
    named: list[str] = []
    for each in get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,):
        if isinstance(each, type) and issubclass(each, BaseModel):
            yield from _fields(each, f"{path}.")
            named.append("{}")
        elif get_origin(each) is dict:
            key, value = get_args(each)
            yield from _described(value, f"{path}.{_name(key)}")
            named.append("{}")
        else:
            named.append(_name(each))
    yield f"{path}: {' | '.join(named)}"


def _name(kind: Any) -> str:
    origin, within = get_origin(kind), get_args(kind)
    if origin is Literal:
        return " | ".join(map(repr, within))
    if origin is Annotated:
        return _name(within[0])
    if origin in (Union, UnionType):
        return " | ".join(map(_name, within))
    if origin is tuple:
        return f"[{', '.join('…' if each is ... else _name(each) for each in within)}]"
    assert origin is None, f"{kind}: say here how it is told"
    if issubclass(kind, Enum):
        return " | ".join(repr(member.value) for member in kind)
    return "null" if kind is NoneType else kind.__name__


@of_each_format
def test_no_field_changes_without_a_new_format(form: Format[Any]) -> None:
    """An older daemon would take a file of it for a broken one, not for one of a newer daemon."""
    here = f"{form.kind}-{form.version}"
    fields = GOLDEN / here / "FIELDS"
    assert sorted(_fields(form.model)) == fields.read_text().splitlines(), (
        f"new format: add a migration. What {form.model.__name__} has on disk is not what format "
        f"{form.version} has ({fields}): give its Format in state/records.py one more step, and "
        f"tests/golden/{form.kind}-{form.version + 1} what this test tells as FIELDS, and files; "
        f"never change {here}, for such files were written; and tell it in docs/state-format.md"
    )


@of_each_format
def test_every_format_ever_written_has_golden_files(form: Format[Any]) -> None:
    """A format whose files are not kept could not be shown to be readable."""
    formats = {path.parent.name for path in FILES if path.parent.name.startswith(f"{form.kind}-")}
    assert formats == {f"{form.kind}-{n}" for n in range(1, form.version + 1)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_golden_files_are_readable(path: Path) -> None:
    """What any version ever wrote is read by this one."""
    kind, _, _ = path.parent.name.rpartition("-")
    (form,) = (form for form in FORMATS if form.kind == kind)
    value = form.decode(path.read_bytes())
    if isinstance(value, Record):
        value = decode(path.read_bytes(), path.stem)
    expected = json.loads(path.with_suffix(".expected").read_text())
    assert value.model_dump(mode="json") == expected


@of_each_format
def test_the_present_format_is_written_as_its_golden_file(form: Format[Any]) -> None:
    """To the letter: what is written today is what is shown to be readable."""
    golden = [path.read_bytes() for path in GOLDEN.glob(f"{form.kind}-{form.version}/*.json")]
    assert any(form.encode(form.decode(data)) == data for data in golden)


@of_each_format
def test_a_newer_format_is_refused_with_its_number(form: Format[Any]) -> None:
    """Whatever else it has become; after a downgrade the old daemon does not guess."""
    newer = {"format": form.version + 1, "of": "a newer daemon"}
    with pytest.raises(
        Newer, match=f"its format {form.version + 1} is newer than {form.version}, the newest known"
    ):
        form.decode(json.dumps(newer).encode())


@of_each_format
@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"{", b"5", b"null", b'"x"', b"{}", b'{"format": 1}', b"\xff\xfe", b"[" * 100_000),
        *(b"[1]", b"[[]]", b'["x", []]', b'["stopped", [["x"]]]', b'{"format": 1, "more": 1}'),
        *(b'{"format": %s}' % number for number in (b"0", b"-1", b"1.0", b"true", b'"1"', b"null")),
    ],
    ids=lambda data: data[:24].decode(errors="replace"),
)
def test_what_is_none_of_its_files_is_unreadable(form: Format[Any], data: bytes) -> None:
    """The reader does not trip over the wrong types."""
    if form is not FREEZE or data != b"[]":
        with pytest.raises(Unreadable) as caught:
            form.decode(data)
        assert caught.type is Unreadable


def test_a_step_leads_from_each_format_to_the_next() -> None:
    """A file takes those that it needs, and bears a number from that format on which has it."""

    class New(RootModel[dict[str, list[str]]]):
        """As `Freeze`, within an object."""

    form = Format("freeze", New, lambda names: {"names": names}, numbered_from=2)
    old = FREEZE.encode(Freeze(("a",)))
    assert old == b'["a"]\n'
    assert form.decode(old).root == {"names": ["a"]}
    assert form.encode(form.decode(old)) == b'{"format": 2, "names": ["a"]}\n'
    assert form.decode(form.encode(form.decode(old))).root == {"names": ["a"]}
    with pytest.raises(Newer, match="its format 2 is newer than 1"):
        FREEZE.decode(form.encode(form.decode(old)))


def test_a_sealed_file_of_an_older_format_is_checked_before_its_steps() -> None:
    """Its checksum is of what was written."""
    later = Sealed(
        "volume", Record, *[lambda content: {**content, "protected": True}] * records.VOLUME.version
    )
    data = records.VOLUME.encode(RECORD)
    assert later.version == records.VOLUME.version + 1
    assert later.decode(data) == RECORD.model_copy(update={"protected": True})
