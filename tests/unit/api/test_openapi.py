"""The OpenAPI document says what the API does."""

import re
from collections.abc import Iterator
from typing import Any

from convoy_py.api.openapi import document
from convoy_py.api.routes import ROUTES
from convoy_py.api.status import status
from convoy_py.linux.outside import Outside
from convoy_py.models.filesystem import Filesystem
from convoy_py.models.volume import Spec, Usage
from convoy_py.wire.base import Nothing
from tests.fakes import FakeVolumes
from tests.unit.api.rest import ask
from tests.unit.api.wire import Socket

DOCUMENT = document(ROUTES)


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        for child in node.values():
            yield from references(child)
    elif isinstance(node, list):
        for child in node:
            yield from references(child)


async def test_it_is_served(admin: Socket) -> None:
    """What is served is what is made from the table."""
    answer = await ask(admin, "GET", "/v1/openapi.json")
    assert (answer.status, answer.json) == (200, DOCUMENT)
    assert answer.headers["content-type"] == "application/json"


def test_every_route_is_described_once() -> None:
    """The table is the only source of both."""
    assert [(route.endpoint.method, route.endpoint.path) for route in ROUTES] == [
        (method, path) for method, path, _ in operations()
    ]
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(set(names)) == len(names)


def test_it_has_the_shape_of_openapi() -> None:
    """Version, info, and for each operation its responses, parameters and body."""
    assert DOCUMENT["openapi"] == "3.1.0"
    assert {"title", "version"} <= set(DOCUMENT["info"])
    for method, path, operation in operations():
        assert operation["summary"]
        assert operation["responses"]["default"]["content"]
        successes = set(operation["responses"]) - {"default"}
        assert successes
        assert all(re.fullmatch(r"[25]\d\d", status) for status in successes)
        in_path = {p["name"] for p in operation["parameters"] if p["in"] == "path"}
        assert in_path == set(re.findall(r"\{(\w+)\}", path))
        assert all({"name", "in", "schema"} <= set(p) for p in operation["parameters"])
        takes_nothing = method != "POST" or path.endswith("/trim")
        assert ("requestBody" in operation) == (not takes_nothing)


def test_every_reference_leads_to_a_schema() -> None:
    """And no schema is there that nothing refers to."""
    schemas = DOCUMENT["components"]["schemas"]
    found = {reference.removeprefix("#/components/schemas/") for reference in references(DOCUMENT)}
    assert found == set(schemas)
    assert {"Failure", "CreateVolume", "VolumeInfo", "Info"} <= found
    assert Nothing.__name__ not in found


def test_the_keys_are_those_of_the_wire() -> None:
    """Convoy's names, and nothing beside them in a request."""
    schemas = DOCUMENT["components"]["schemas"]
    assert set(schemas["CreateVolume"]["properties"]) == {"Name", "Options", "Adopt"}
    assert schemas["CreateVolume"]["additionalProperties"] is False
    assert set(schemas["OptionHelp"]["properties"]) == {"Key", "Aliases", "Values", "Meaning"}
    remove = DOCUMENT["paths"]["/v1/volumes/{name}"]["delete"]
    assert [p["name"] for p in remove["parameters"] if p["in"] == "query"] == ["reference"]


def test_status_has_the_properties_that_are_described() -> None:
    """All that Get may tell of a volume, and nothing else."""
    usage = Usage.model_validate(dict.fromkeys(Usage.model_fields, 1))
    spec = Spec(backend="loopback", size=1, fs=Filesystem.EXT4)
    volumes = FakeVolumes()
    volumes.add("db", spec=spec, usage=usage)
    view = volumes.get("db").model_copy(
        update={"reason": "lost", "doing": "a trim", "hosts": ("a",)}
    )
    described = DOCUMENT["components"]["schemas"]["VolumeInfo"]["properties"]["Status"]
    assert described["type"] == "object"
    assert set(described["properties"]) == set(status(view, 0.0, Outside()))


def test_jobs_are_described_with_their_results() -> None:
    """Of one that is done, what its Result is; of one that runs on, only the job."""
    answers = DOCUMENT["paths"]["/v1/volumes/{name}/rollback"]["post"]["responses"]
    job = {"$ref": "#/components/schemas/JobInfo"}
    (told, more) = answers["200"]["content"]["application/json"]["schema"]["allOf"]
    assert told == answers["202"]["content"]["application/json"]["schema"] == job
    assert more["properties"] == {"Result": {"$ref": "#/components/schemas/RolledBack"}}


def test_parameters_are_described() -> None:
    """What has to be given, and which names a path takes."""
    diff = DOCUMENT["paths"]["/v1/volumes/{name}/diff"]["get"]["parameters"]
    assert [(p["name"], p["in"], p["required"]) for p in diff] == [
        ("name", "path", True),
        ("from", "query", True),
        ("to", "query", False),
    ]

    def taken(path: str, method: str, name: str) -> bool:
        (parameter, *_) = DOCUMENT["paths"][path][method]["parameters"]
        return re.fullmatch(parameter["schema"]["pattern"], name) is not None

    assert taken("/v1/volumes/{name}/mount", "post", "db@nightly")
    assert taken("/v1/snapshots/{name}", "get", "nightly")
    assert not taken("/v1/volumes/{name}/rollback", "post", "db@nightly")
    assert not taken("/v1/volumes/{name}/snapshots/{snapshot}", "get", "db@nightly")
    assert taken("/v1/jobs/{id}", "get", "17")
