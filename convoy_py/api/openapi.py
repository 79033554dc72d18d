"""Describes the admin API as an OpenAPI 3.1 document, made from its routes and their messages."""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from convoy_py import __version__
from convoy_py.api.rest import JSON, Route
from convoy_py.models.names import AT, NAME_PATTERN
from convoy_py.wire.base import Failure, Nothing
from convoy_py.wire.endpoints import Endpoint, Long
from convoy_py.wire.jobs import JobInfo

_REFERENCE = "#/components/schemas/{model}"
Mode = Literal["validation", "serialization"]


def document(routes: Iterable[Route[Any, Any]]) -> dict[str, Any]:
    """The whole document; every route is in it."""
    routes = list(routes)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        endpoint = route.endpoint
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "convoy",
            "version": __version__,
            "description": "Volumes of the convoy daemon on this host, over its Unix socket.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {"schemas": _schemas(route.endpoint for route in routes)},
    }


def _operation(route: Route[Any, Any]) -> dict[str, Any]:
    endpoint = route.endpoint
    told: dict[str, Any] = {
        "operationId": f"{route.operation}_flat" if route.flat else route.operation,
        "summary": endpoint.summary,
        "parameters": _path_parameters(endpoint) + _query_parameters(endpoint),
        "responses": {
            str(code): {"description": endpoint.summary, **_answer(route, code)}
            for code in endpoint.statuses
        },
    }
    told["responses"]["default"] = {
        "description": "The request failed; Kind tells how",
        **_content(Failure, JSON),
    }
    if endpoint.form is not Nothing and endpoint.has_body:
        told["requestBody"] = _content(endpoint.form, JSON)
    return told


def _answer(route: Route[Any, Any], code: int) -> dict[str, Any]:
    """The content of a success; in a job that is done, its Result is described too."""
    answer = route.endpoint.answer
    if not isinstance(route.endpoint, Long):
        return _content(answer, route.media)
    if code != HTTPStatus.OK:
        return _content(JobInfo, JSON)
    result = {"type": "object", "properties": {"Result": _reference(answer)}}
    return {"content": {JSON: {"schema": {"allOf": [_reference(JobInfo), result]}}}}


def _content(model: type[BaseModel], media: str) -> dict[str, Any]:
    if model is not Nothing:
        return {"content": {media: {"schema": _reference(model)}}}
    return {} if media == JSON else {"content": {media: {"schema": {"type": "string"}}}}


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REFERENCE.format(model=model.__name__)}


def _path_parameters(endpoint: Endpoint[Any, Any]) -> list[dict[str, Any]]:
    full = endpoint.snapshots and "snapshot" not in endpoint.variables
    patterns = {
        "name": f"^{NAME_PATTERN}({AT}{NAME_PATTERN})?$" if full else f"^{NAME_PATTERN}$",
        "snapshot": f"^{NAME_PATTERN}$",
        "id": "^[0-9]+$",
    }
    return [
        {
            "name": variable,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "pattern": patterns[variable]},
        }
        for variable in endpoint.variables
    ]


def _query_parameters(endpoint: Endpoint[Any, Any]) -> list[dict[str, Any]]:
    if endpoint.has_body:
        return []
    form = endpoint.form.model_json_schema()
    return [
        {
            "name": name,
            "in": "query",
            "description": schema.pop("description", ""),
            "required": name in form.get("required", ()),
            "schema": schema,
        }
        for name, schema in form.get("properties", {}).items()
    ]


def _schemas(endpoints: Iterable[Endpoint[Any, Any]]) -> dict[str, Any]:
    used: dict[tuple[type[BaseModel], Mode], None] = {(Failure, "serialization"): None}
    for endpoint in endpoints:
        if isinstance(endpoint, Long):
            used[(JobInfo, "serialization")] = None
        if endpoint.answer is not Nothing:
            used[(endpoint.answer, "serialization")] = None
        if endpoint.has_body and endpoint.form is not Nothing:
            used[(endpoint.form, "validation")] = None
    _, schemas = models_json_schema(list(used), ref_template=_REFERENCE)
    definitions: dict[str, Any] = schemas["$defs"]
    return definitions
