"""The calls of the volume API, and what every failure of one looks like."""

from typing import Any

from tests.unit.api.wire import Answer

ID = "f00d" * 16


NAMED = ("Create", "Remove", "Mount", "Unmount", "Path", "Get")


ALL = ("Activate", "Capabilities", "List", *NAMED)


# What each call asks of the engine.
DEPENDS = {"Create": "create", "Remove": "remove", "Mount": "mount", "Unmount": "unmount"}


DEPENDS |= {"Path": "get", "List": "list"}


def message(call: str, name: str = "db") -> dict[str, Any]:
    if call in {"Mount", "Unmount"}:
        return {"Name": name, "ID": ID}
    if call == "Create":
        return {"Name": name, "Opts": None}
    return {"Name": name} if call in NAMED else {}


def assert_failed(answer: Answer | None, *parts: str) -> None:
    assert answer is not None
    assert answer.status == 500
    assert answer.headers["content-type"] == "application/vnd.docker.plugins.v1.2+json"
    assert list(answer.json) == ["Err"]
    assert answer.json["Err"].isprintable()
    for part in parts:
        assert part in answer.json["Err"]
