"""The OpenAPI 3.1 document, made from the route table and the wire's structs."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from serve_apps.requests import CODES, VERDICTS
from serve_apps.routes import Parameter, Route
from serve_apps.wire import ARROW, JSON, MAX_JSON_BARS, PROBLEM, Problem

VERSION = "1.0.0"
_REFS = "#/components/schemas/{name}"
_ACCOUNT = {
    401: "no_token, bad_token",
    403: "missing_scope",
    404: "unknown_session, unknown_decision, unknown_agent, no_session",
    408: "slow_body",
    409: "another_body, changed_bar, out_of_order, session_ended, other_session, changed_news, "
    "no_session",
    413: "too_large, too_many_bars",
    415: "media_type, content_encoding",
    422: "bad_json, bad_request, unknown_symbol, bad_price, bad_bar, bad_timestamp, "
    "future_timestamp, stale_timestamp, symbol_twice, arrow_malformed, arrow_compressed, …",
    429: "rate_limited",
    503: "overloaded, open_round, busy, deadline, not_ready, no_journal: ask again later",
}


def document(table: Sequence[Route]) -> dict[str, Any]:
    """The document as plain types."""
    structs = [t for route in table for t in (route.answer, route.takes) if _is_struct(t)]
    _, components = msgspec.json.schema_components([*structs, Problem], ref_template=_REFS)
    _tighten(components)
    paths: dict[str, dict[str, Any]] = {}
    for route in table:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Sapphire MCP coordinator",
            "version": VERSION,
            "description": "Bars in, recorded decisions out. Errors are problem details "
            "(RFC 9457) whose code is a stable reason.",
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _tighten(schemas: dict[str, Any]) -> None:
    """Says what the structs' types cannot say: enumerations, and bounds checked with a code."""
    if "DecideRequest" in schemas:
        fields = schemas["DecideRequest"]["properties"]
        fields["bars"] |= {"minItems": 1, "maxItems": MAX_JSON_BARS}
        fields["quarantined"] |= {"maxItems": MAX_JSON_BARS}
    if "VerdictOut" in schemas:
        fields = schemas["VerdictOut"]["properties"]
        fields["verdict"]["enum"] = list(VERDICTS)
        fields["code"]["enum"] = list(CODES)
        fields["side"]["enum"] = [-1, 0, 1]
        fields["p"] |= {"minItems": 3, "maxItems": 3}


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.about,
        "responses": _responses(route),
    }
    if route.scope is not None:
        operation["security"] = [{"token": []}]
        operation["description"] = f"Needs a token with the scope {route.scope}."
    if route.parameters:
        operation["parameters"] = [_parameter(parameter) for parameter in route.parameters]
    if route.takes_media:
        content = {media: {"schema": _schema(route.takes, media)} for media in route.takes_media}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": parameter.where,
        "required": parameter.required,
        "description": parameter.about,
        "schema": parameter.schema,
    }


def _responses(route: Route) -> dict[str, Any]:
    answer = {media: {"schema": _schema(route.answer, media)} for media in route.media}
    responses: dict[str, Any] = {"200": {"description": "OK", "content": answer}}
    if route.name == "decide":
        responses["200"]["headers"] = {
            "Idempotency-Replayed": {
                "description": "true: all of it stood in the log before",
                "schema": {"type": "string", "enum": ["true"]},
            }
        }
    for status in (s for s in route.statuses if s < 400):
        responses[str(status)] = {"description": HTTPStatus(status).phrase, "content": answer}
    for status in route.errors:
        if route.scope is None:  # readiness: not an error of the request
            responses[str(status)] = {"description": "Not ready", "content": answer}
            continue
        reference = {"$ref": _REFS.format(name="Problem")}
        responses[str(status)] = {
            "description": f"{HTTPStatus(status).phrase}: {_ACCOUNT[status]}",
            "content": {PROBLEM: {"schema": reference}},
        }
    return responses


def _schema(kind: Any, media: str) -> dict[str, Any]:
    if media == ARROW:
        return {"type": "string", "format": "binary", "description": "an Arrow IPC stream"}
    if media != JSON:
        return {"type": "string"}
    if _is_struct(kind):
        return {"$ref": _REFS.format(name=kind.__name__)}
    return kind if isinstance(kind, dict) else {"type": "object"}
