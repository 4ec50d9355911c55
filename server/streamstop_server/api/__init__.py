"""The API, version 1."""

from typing import Any

from fastapi import APIRouter

from streamstop_server.api import controls, dead_letters, events, jobs, lanes, rooms, shutdowns, workers
from streamstop_server.problems import MEDIA_TYPE, ProblemDocument

#: What every route may answer besides.
_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {
        "description": description,
        "model": ProblemDocument,
        "content": {MEDIA_TYPE: {}},
    }
    for status, description in {
        401: "There is no token, or nobody knows it.",
        403: "The token lacks the scope, or does not cover the account.",
        422: "A field is wrong; `field` names it.",
        503: "Redis does not answer; `may_have_been_done` says whether something may have been enqueued.",
    }.items()
}

router = APIRouter(prefix="/v1", responses=_ERRORS)
for part in (jobs, rooms, shutdowns, lanes, controls, events, dead_letters, workers):
    router.include_router(part.router)
