"""The OpenAPI document: the errors of every route, and what FastAPI does not say of them by itself."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from streamstop._core.commands import ACCOUNT_NAME
from streamstop.operations import OPERATIONS
from streamstop_server.http.problems import MEDIA_TYPE, ProblemDocument

#: The shortest duration in seconds: one microsecond.
SHORTEST_S = 1e-6
#: What the schema says of an account and of an operation. The client checks them, for its errors say more.
ACCOUNT: dict[str, Any] = {"pattern": ACCOUNT_NAME}
OPERATION: dict[str, Any] = {"enum": list(OPERATIONS)}
_SCHEMA = {"$ref": "#/components/schemas/ProblemDocument"}
#: Of each error: when it happens, and the name and detail of an example.
_ERRORS: Mapping[int, tuple[str, str, str]] = {
    400: ("The body is not JSON.", "invalid-json", "the body is not JSON: Expecting value"),
    401: ("There is no token, or nobody knows it.", "unauthorized", "a bearer token is required"),
    403: (
        "The token lacks the scope, or does not cover the account.",
        "forbidden",
        "the token billing lacks the scope operate",
    ),
    404: ("There is no such thing.", "unknown-shutdown", "there is no shutdown s-1, or it ended over seven days ago"),
    408: ("The body did not arrive within 30 s.", "request-timeout", "the body did not arrive within 30 s"),
    409: (
        "It cannot be done in this state.",
        "not-cancellable",
        "job live-cn.live.StopMPUTask.5c0f was already claimed by a worker",
    ),
    413: ("The body is larger than 16 MiB.", "content-too-large", "the body must not be larger than 16777216 bytes"),
    415: ("The body is not application/json.", "unsupported-media-type", "the body must be application/json"),
    422: (
        "A field is wrong: `field` names it, and `detail` says what is allowed.",
        "invalid-value",
        "priority must be a whole number from 0 (first) to 9, not 10",
    ),
    503: (
        "Redis does not answer, or too many clients wait: try again after `Retry-After` seconds. "
        "`may_have_been_done` says whether the request may have been carried out.",
        "queue-unavailable",
        "Redis did not answer within 5 s (redis:6379, database 0): nothing was enqueued",
    ),
}
_WITH_BODY = {400, 408, 413, 415}
_WITH_TOKEN = {401, 403}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the errors of a route for its ``responses``, besides those that every route has."""
    return {status: _error(status) for status in statuses}


def openapi(app: FastAPI) -> dict[str, Any]:
    """Return the document of the application, made once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes, tags=app.openapi_tags
        )
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas["ProblemDocument"] = ProblemDocument.model_json_schema()
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        for operations in document["paths"].values():
            for operation in operations.values():
                _add_errors(operation)
        app.openapi_schema = document
    return app.openapi_schema


def _add_errors(operation: dict[str, Any]) -> None:
    """Add what every route of its kind may answer: with a token, with a body, with parameters."""
    responses = operation["responses"]
    always = {503}
    if "security" in operation:
        always |= _WITH_TOKEN
    if "requestBody" in operation:
        always |= _WITH_BODY | {422}
    if "parameters" in operation:
        always.add(422)
    for status in always:
        known = responses.get(str(status))
        if known is None or "application/json" in known.get("content", {}):  # as FastAPI words 422
            responses[str(status)] = _error(status)
    operation["responses"] = dict(sorted(responses.items()))


def _error(status: int) -> dict[str, Any]:
    description, name, detail = _ERRORS[status]
    title = HTTPStatus(status).phrase
    example = {"type": f"urn:streamstop:problem:{name}", "title": title, "status": status, "detail": detail}
    return {"description": description, "content": {MEDIA_TYPE: {"schema": _SCHEMA, "example": example}}}
