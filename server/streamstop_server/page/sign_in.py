"""Signing in with a token, and out."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from streamstop_server.access.auth import SESSION_S, authenticator
from streamstop_server.access.tokens import Scope
from streamstop_server.page.forms import form_of, own_path
from streamstop_server.page.shell import check_same_origin, cookie_name, render

router = APIRouter()


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
    if Scope.READ not in found.scopes:
        mistake = f"The token {found.name} has no scope read, so it shows no screen. It is for the API alone."
        return render(request, "sign_in.html", status=403, next=back, mistake=mistake)
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
