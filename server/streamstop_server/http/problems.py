"""Problems: every error as ``application/problem+json`` (RFC 9457).

``type`` is ``urn:streamstop:problem:<name>``. Besides the members of the RFC there are ``field`` (which part of the
request is wrong) and, after a Redis that did not answer, ``may_have_been_done`` and ``job_ids``.
"""

import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import RouteContext, iter_route_contexts
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException

from streamstop import (
    IdempotencyConflict,
    InternalError,
    InvalidCommand,
    NotCancellable,
    NotRequeueable,
    QueueUnavailable,
    RequestUnderWay,
    StreamstopError,
    UnknownAccount,
    UnknownDeadLetter,
    UnknownOperation,
    UnknownShutdown,
)
from streamstop_server.http.headers import add_headers

MEDIA_TYPE = "application/problem+json"
_PARAMETER = re.compile(r"\{[^}]+\}")
#: Seconds after which a client may try again when Redis does not answer.
RETRY_AFTER_S = 2

#: The most specific class first: status and name.
_OF_ERRORS: Mapping[type[StreamstopError], tuple[int, str]] = {
    UnknownOperation: (422, "unknown-operation"),
    UnknownAccount: (422, "unknown-account"),
    InvalidCommand: (422, "invalid-value"),
    IdempotencyConflict: (422, "idempotency-key-reused"),
    RequestUnderWay: (409, "request-under-way"),
    UnknownShutdown: (404, "unknown-shutdown"),
    UnknownDeadLetter: (404, "unknown-dead-letter"),
    NotCancellable: (409, "not-cancellable"),
    NotRequeueable: (409, "not-requeueable"),
    QueueUnavailable: (503, "queue-unavailable"),
    InternalError: (500, "internal-error"),
    StreamstopError: (500, "internal-error"),
}


#: Parts of a mistake's place that are no member of what was sent: where it was, and the forms that a body may have.
_UNNAMED = {"body", "query", "path", "header", "one", "many"}

#: What pydantic says of a person's form rather than of a request.
_OF_MISTAKES = {"missing": "is required", "extra_forbidden": "is not known; /openapi.json lists what is"}

_OF_ROUTER = {404: "there is nothing at this path", 405: "this path does not take this method"}


class ProblemDocument(BaseModel):
    """An error, as RFC 9457 has it."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    field: str | None = None


class Problem(Exception):
    """An answer other than the one that was asked for."""

    def __init__(
        self,
        status: int,
        name: str,
        detail: str,
        *,
        field: str | None = None,
        headers: Mapping[str, str] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(detail)
        self.status, self.name, self.detail, self.field = status, name, detail, field
        self.headers = dict(headers or {})
        self.members = members

    @classmethod
    def of(cls, error: StreamstopError) -> "Problem":
        """Return the problem that an error of the client is."""
        status, name = next(found for kind, found in _OF_ERRORS.items() if isinstance(error, kind))
        if isinstance(error, QueueUnavailable):
            members: dict[str, Any] = {"may_have_been_done": bool(error.job_ids) or "may or may not" in str(error)}
            if error.job_ids:
                members["job_ids"] = list(error.job_ids)
            return cls(status, name, str(error), headers={"Retry-After": str(RETRY_AFTER_S)}, **members)
        if isinstance(error, RequestUnderWay):
            return cls(status, name, str(error), headers={"Retry-After": "1"})
        if status == HTTPStatus.INTERNAL_SERVER_ERROR:
            return cls(status, name, "streamstop met a bug of its own, or a key that another program has written")
        return cls(status, name, str(error), field=getattr(error, "field", None))

    def response(self) -> JSONResponse:
        """Return the answer."""
        document = {
            "type": f"urn:streamstop:problem:{self.name}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            **({} if self.field is None else {"field": self.field}),
            **self.members,
        }
        return JSONResponse(document, status_code=self.status, headers=self.headers, media_type=MEDIA_TYPE)


def of_validation(error: RequestValidationError) -> Problem:
    """Return the problem of a request that does not have the form that the API describes."""
    first = error.errors()[0]
    place = [part for part in first["loc"] if part not in _UNNAMED]
    if first["type"] == "json_invalid":
        return Problem(400, "invalid-json", f"the body is not JSON: {first['ctx']['error']}")
    field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).removeprefix(".") or None
    text = _OF_MISTAKES.get(first["type"], first["msg"])
    return Problem(422, "invalid-request", f"{field or 'the body'}: {text}", field=field)


def of_http(error: HTTPException) -> Problem:
    """Return the problem of what the router refuses: no such route (404), or not by this method (405)."""
    status = HTTPStatus(error.status_code)
    name = status.phrase.lower().replace(" ", "-")
    detail = _OF_ROUTER.get(status, error.detail)
    return Problem(status, name, detail, headers=error.headers)


def as_problem(error: Exception) -> Problem:
    """Return the problem that any exception of a request is."""
    match error:
        case Problem():
            return error
        case StreamstopError():
            return Problem.of(error)
        case RequestValidationError():
            return of_validation(error)
        case HTTPException():
            return of_http(error)
        case _:
            return Problem(500, "internal-error", "streamstop met a bug of its own; its log has the details")


def install(app: FastAPI, page: Callable[[Request, Problem], Response | None]) -> None:
    """Answer every error with a problem, or with what `page` makes of it for a person."""

    async def answer(request: Request, error: Exception) -> Response:
        problem = as_problem(error)
        caller = getattr(request.state, "caller", None)
        if problem.name == "unknown-account" and caller is not None and caller.accounts is not None:
            problem.detail = problem.detail.partition(" (")[0]  # the names of the accounts that there are
        if problem.status == HTTPStatus.METHOD_NOT_ALLOWED:
            problem.headers["Allow"] = ", ".join(_methods(request))
        response = page(request, problem) or problem.response()
        add_headers(response.headers, request.url.scheme)
        return response

    for kind in (Problem, StreamstopError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, answer)


def _methods(request: Request) -> list[str]:
    """Return the methods of a path. The router names those of one of its routes alone.

    Of ``/{name}`` and ``/{name}:drain``, which both match, the second is meant.
    """
    routes = [route for route in iter_route_contexts(request.app.routes) if _matches(route, request.scope["path"])]
    literal = {id(route): len(_PARAMETER.sub("", route.path or "")) for route in routes}
    longest = max(literal.values(), default=0)
    methods = {method for route in routes if literal[id(route)] == longest for method in route.methods or ()}
    return sorted(methods | ({"HEAD"} if "GET" in methods else set()))


def _matches(route: RouteContext, path: str) -> bool:
    return route.path_regex.fullmatch(path) is not None
