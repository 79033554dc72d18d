"""Describes the admin API as an OpenAPI 3.1 document, made from its routes and their messages."""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from convoy_py import __version__
from convoy_py.api.requests import Nothing
from convoy_py.api.rest import JSON, Route
from convoy_py.models.names import AT, NAME_PATTERN
from convoy_py.wire.admin import Failure

_REFERENCE = "#/components/schemas/{model}"
Mode = Literal["validation", "serialization"]


def document(routes: Iterable[Route]) -> dict[str, Any]:
    """The whole document; every route is in it."""
    routes = list(routes)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "convoy",
            "version": __version__,
            "description": "Volumes of the convoy daemon on this host, over its Unix socket.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {"schemas": _schemas(routes)},
    }


def _operation(route: Route) -> dict[str, Any]:
    told: dict[str, Any] = {
        "operationId": f"{route.operation}_flat" if route.flat else route.operation,
        "summary": route.summary,
        "parameters": _path_parameters(route) + _query_parameters(route),
        "responses": {
            str(int(code)): {"description": route.summary, **_answer(route, code)}
            for code in route.statuses
        },
    }
    told["responses"]["default"] = {
        "description": "The request failed; Kind tells how",
        **_content(Failure, JSON),
    }
    if route.form is not Nothing and route.has_body:
        told["requestBody"] = _content(route.form, JSON)
    return told


def _answer(route: Route, code: int) -> dict[str, Any]:
    """The content of a success; in a job that is done, its Result is described too."""
    told = _content(route.answer, route.media)
    if route.result is None or code != HTTPStatus.OK:
        return told
    result = {"$ref": _REFERENCE.format(model=route.result.__name__)}
    schema = told["content"][route.media]["schema"]
    both = {"allOf": [schema, {"type": "object", "properties": {"Result": result}}]}
    return {"content": {route.media: {"schema": both}}}


def _content(model: type[BaseModel] | None, media: str) -> dict[str, Any]:
    if model is None and media == JSON:
        return {}
    schema = {"$ref": _REFERENCE.format(model=model.__name__)} if model else {"type": "string"}
    return {"content": {media: {"schema": schema}}}


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    full = route.snapshots and "snapshot" not in route.variables
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
        for variable in route.variables
    ]


def _query_parameters(route: Route) -> list[dict[str, Any]]:
    if route.has_body:
        return []
    form = route.form.model_json_schema()
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


def _schemas(routes: Iterable[Route]) -> dict[str, Any]:
    used: dict[tuple[type[BaseModel], Mode], None] = {(Failure, "serialization"): None}
    for route in routes:
        if route.answer is not None:
            used[(route.answer, "serialization")] = None
        if route.result is not None:
            used[(route.result, "serialization")] = None
        if route.has_body and route.form is not Nothing:
            used[(route.form, "validation")] = None
    _, schemas = models_json_schema(list(used), ref_template=_REFERENCE)
    definitions: dict[str, Any] = schemas["$defs"]
    return definitions
