"""Signing in with a token, and out."""

import re
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from streamstop_server.access.auth import SESSION_S, authenticator
from streamstop_server.http.problems import Problem
from streamstop_server.page.shell import check_same_origin, cookie_name, render

router = APIRouter()

#: Browsers read a backslash as a slash, and leave out tabs and line ends.
_OWN_PATH = re.compile(r"/(?![/\\])[^\\\x00-\x20]*")


@router.get("/sign-in")
async def form(request: Request, next: Annotated[str, Query()] = "/") -> Response:  # noqa: A002
    """Show the form."""
    return render(request, "sign_in.html", next=own_path(next), mistake="")


@router.post("/sign-in")
async def sign_in(request: Request) -> Response:
    """Take the token, and set the cookie."""
    check_same_origin(request)
    fields = await form_of(request)
    known, back = authenticator(request), own_path(fields.get("next", "/"))
    request.app.state.failures.check(request)
    found = known.of_token(fields.get("token", "").strip())
    if found is None:
        request.app.state.failures.count(request)
        return render(request, "sign_in.html", status=401, next=back, mistake="This token is not known.")
    answer = RedirectResponse(back, status_code=303)
    answer.set_cookie(
        cookie_name(request),
        known.session(found),
        max_age=SESSION_S,
        path="/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    return answer


@router.post("/sign-out")
async def sign_out(request: Request) -> Response:
    """Forget the session."""
    check_same_origin(request)
    answer = RedirectResponse("/sign-in", status_code=303)
    answer.delete_cookie(
        cookie_name(request), path="/", secure=request.url.scheme == "https", httponly=True, samesite="strict"
    )
    return answer


async def form_of(request: Request) -> dict[str, str]:
    """Return the fields of a form: the last value of each."""
    body = await request.body()
    try:
        return {
            name: values[-1]
            for name, values in parse_qs(body.decode(), keep_blank_values=True, max_num_fields=100).items()
        }
    except ValueError:
        raise Problem(400, "invalid-form", "the form cannot be read") from None


def own_path(path: str) -> str:
    """Return a path of this service; whatever else it is, the first screen."""
    return path if _OWN_PATH.fullmatch(path) else "/"
